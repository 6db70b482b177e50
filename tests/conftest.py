"""For every test: a server that a test starts is as strict with itself as can be, and runs no container by itself; and
no property is judged by how long its examples take, which says more about the machine than about what is tested."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("kedge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kedge")
os.environ["KEDGE_STRICT_RESULTS"] = "true"
os.environ["KEDGE_CONTAINER_ENGINE"] = "none"
