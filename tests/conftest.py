"""For every test: a server that a test starts is as strict with itself as can be, and runs no container by itself."""

import os

os.environ["KEDGE_STRICT_RESULTS"] = "true"
os.environ["KEDGE_CONTAINER_ENGINE"] = "none"
