"""A module that starts a thread when it is imported, as some libraries do: nothing can be forked after it."""

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()
