"""For every test: a server that a test starts is as strict with itself as can be."""

import os

os.environ["KEDGE_STRICT_RESULTS"] = "true"
