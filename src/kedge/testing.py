"""The pytest plugin: a running server as a fixture."""
