"""Script mode: how SageMaker's framework images run a training script. PURE.

Hyperparameters that begin with sagemaker_ say what to run; the others become arguments of the script. Source:
sagemaker-training (params.py, mapping.py, environment.py), which these images start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kedge.jobs.program_plan import HOST, resource_config

PROGRAM, SUBMIT_DIRECTORY = "sagemaker_program", "sagemaker_submit_directory"
CODE_DIR = "/opt/ml/code"
_OWN = "sagemaker_"


def decoded(hyperparameters: Mapping[str, str]) -> dict[str, Any]:
    """The SDK writes each value as JSON; what is none is taken as it stands."""
    found: dict[str, Any] = {}
    for name, text in hyperparameters.items():
        try:
            found[name] = json.loads(text)
        except (ValueError, RecursionError):
            found[name] = text
    return found


def program(hyperparameters: Mapping[str, str], environment: Mapping[str, str]) -> tuple[str, str]:
    """(script, address of its source), each "" where nothing names it."""
    values = decoded(hyperparameters)
    script = values.get(PROGRAM) or environment.get("SAGEMAKER_PROGRAM", "")
    source = values.get(SUBMIT_DIRECTORY) or environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
    return str(script), str(source)


def arguments(values: Mapping[str, Any]) -> tuple[str, ...]:
    """--name value of each hyperparameter, in the order of their names; -n for a name of one letter."""
    words: list[str] = []
    for name in sorted(values):
        value = values[name]
        words += [f"-{name}" if len(name) == 1 else f"--{name}"]
        words += [json.dumps(value) if isinstance(value, dict | list) else str(value)]
    return tuple(words)


def own(hyperparameters: Mapping[str, str]) -> dict[str, Any]:
    """Those that are the script's."""
    return {name: value for name, value in decoded(hyperparameters).items() if not name.startswith(_OWN)}


def environment(
    job: str, hyperparameters: Mapping[str, str], channels: Sequence[str], config: Mapping[str, Any], size: Any
) -> dict[str, str]:
    """SM_* variables. config: input/config/inputdataconfig.json. size: has instance_type, cores and gpus."""
    values = decoded(hyperparameters)
    given = own(hyperparameters)
    script = str(values.get(PROGRAM, ""))
    places = {name: f"/opt/ml/input/data/{name}" for name in channels}
    words = arguments(given)
    found: dict[str, Any] = {
        "SM_MODEL_DIR": "/opt/ml/model",
        "SM_OUTPUT_DIR": "/opt/ml/output",
        "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
        "SM_OUTPUT_INTERMEDIATE_DIR": "/opt/ml/output/intermediate",
        "SM_INPUT_DIR": "/opt/ml/input",
        "SM_INPUT_CONFIG_DIR": "/opt/ml/input/config",
        "SM_CHANNELS": sorted(places),
        "SM_HPS": given,
        "SM_HOSTS": [HOST],
        "SM_CURRENT_HOST": HOST,
        "SM_NETWORK_INTERFACE_NAME": "lo",
        "SM_NUM_CPUS": max(1, int(size.cores)),
        "SM_NUM_GPUS": size.gpus,
        "SM_CURRENT_INSTANCE_TYPE": size.instance_type,
        "SM_INPUT_DATA_CONFIG": config,
        "SM_RESOURCE_CONFIG": resource_config(size.instance_type),
        "SM_LOG_LEVEL": values.get("sagemaker_container_log_level", 20),
        "SM_USER_ARGS": list(words),
        "SM_USER_ENTRY_POINT": script,
        "SM_MODULE_NAME": script.removesuffix(".py"),
        "SM_MODULE_DIR": str(values.get(SUBMIT_DIRECTORY, "")),
        **{f"SM_CHANNEL_{_variable(name)}": place for name, place in places.items()},
        **{f"SM_HP_{_variable(name)}": value for name, value in given.items()},
    }
    found["SM_TRAINING_ENV"] = {
        "job_name": job,
        "channel_input_dirs": places,
        "hyperparameters": given,
        "model_dir": "/opt/ml/model",
        "output_data_dir": "/opt/ml/output/data",
        "current_host": HOST,
        "hosts": [HOST],
        "num_cpus": found["SM_NUM_CPUS"],
        "num_gpus": found["SM_NUM_GPUS"],
        "user_entry_point": script,
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
