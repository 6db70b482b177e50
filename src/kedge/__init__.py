"""Kedge: SageMaker-compatible model serving on hardware you own."""

__version__ = "0.1.0"
