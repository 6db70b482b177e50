"""These tests need libraries that .venv has not: scripts/test-frameworks runs them, scripts/test leaves them out."""

import importlib
import importlib.util
import warnings

_NEEDED = ("xgboost", "lightgbm", "catboost", "onnx", "onnxruntime", "mlflow", "pandas")

if any(importlib.util.find_spec(name) is None for name in _NEEDED):
    collect_ignore_glob = ["test_*.py"]
else:
    with warnings.catch_warnings():
        # What they warn of while they are imported is their own affair.
        warnings.simplefilter("ignore")
        for name in ("mlflow.pyfunc", "mlflow.sklearn", "catboost", "lightgbm", "xgboost", "onnxruntime"):
            importlib.import_module(name)
