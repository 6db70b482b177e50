"""Models of XGBoost and LightGBM as programs, read from what their libraries write of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kedge.serving.compiled import trees
from kedge.serving.compiled.program import Array, NotCompiled, Program, Step

_XGBOOST_LINKS = {
    **dict.fromkeys(("reg:squarederror", "reg:linear", "reg:absoluteerror", "reg:pseudohubererror"), "none"),
    **dict.fromkeys(("binary:logistic", "reg:logistic"), "sigmoid"),
    "binary:logitraw": "none",
    **dict.fromkeys(("multi:softprob", "multi:softmax"), "softmax"),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), "exp"),
}
_LIGHTGBM_LINKS = {
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "none"),
    "binary": "sigmoid",
    "multiclass": "softmax",
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
}
_LIGHTGBM_ZERO = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold: of a row that it is given, it takes what is no further from zero for zero."""


def of_xgboost(model: Any, method: str) -> Program:
    """model: a Booster or an estimator. Raises NotCompiled."""
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    if learner["gradient_booster"]["name"] != "gbtree":
        raise NotCompiled(f"XGBoost's {learner['gradient_booster']['name']} is not compiled.")
    objective = learner["objective"]["name"]
    if objective not in _XGBOOST_LINKS:
        raise NotCompiled(f"XGBoost's objective {objective} is not compiled.")
    link = _XGBOOST_LINKS[objective]
    params = learner["learner_model_param"]
    if int(params.get("num_target", 1)) > 1:
        raise NotCompiled("A model with several targets is not compiled.")
    outputs = max(1, int(params["num_class"]))
    described = learner["gradient_booster"]["model"]
    rounds = booster.attr("best_iteration")
    if rounds is not None:
        raise NotCompiled("XGBoost's model that stopped early is not compiled.")
    built = [
        _xgboost_tree(each, output, outputs)
        for each, output in zip(described["trees"], described["tree_info"], strict=True)
    ]
    base = _base_score(params["base_score"], link, outputs)
    program = Program(int(params["num_feature"]), trees.forest(built, base), single=True, link=link, dtype="f4")
    if model is booster or not hasattr(model, "classes_"):
        if objective == "multi:softmax":
            classes = np.arange(outputs, dtype=np.float32)
            return replace(program, answer="labels", classes=classes)
        if method != "predict":
            raise NotCompiled(f"{method} of a regressor is not compiled.")
        return replace(program, flat=outputs == 1)
    return _classifying(program, np.asarray(model.classes_), method)


def _classifying(program: Program, classes: Array, method: str) -> Program:
    if classes.dtype.kind not in "iufbU":
        raise NotCompiled("The classes are neither numbers nor texts.")
    program = replace(program, classes=classes)
    if method == "predict":
        return replace(program, answer="labels")
    if method != "predict_proba" or program.link not in ("sigmoid", "softmax"):
        raise NotCompiled(f"{method} of this classifier is not compiled.")
    return replace(program, answer="probabilities")


def _base_score(text: str, link: str, outputs: int) -> Array:
    """In the units of an answer, or in those of the sum where the answer is made of several."""
    scores = np.asarray(json.loads(text) if text.startswith("[") else [float(text)], dtype=np.float64)
    if link == "sigmoid":
        scores = np.log(scores / (1 - scores))
    elif link == "exp":
        scores = np.log(scores)
    return np.broadcast_to(scores, (outputs,)).copy()


def _xgboost_tree(tree: Mapping[str, Any], output: int, outputs: int) -> trees.Tree:
    if any(tree.get("split_type", ())) or tree.get("categories_nodes"):
        raise NotCompiled("A model with categorical columns is not compiled.")
    left = np.asarray(tree["left_children"], dtype=np.int64)
    leaf = left == -1
    conditions = np.asarray(tree["split_conditions"], dtype=np.float32)
    return trees.Tree(
        is_leaf=leaf,
        feature=np.asarray(tree["split_indices"], dtype=np.int64),
        # There x < threshold goes left, in float32: so does x <= the number before it.
        threshold=np.nextafter(conditions, np.float32(-np.inf)).astype(np.float64),
        left=left,
        right=np.asarray(tree["right_children"], dtype=np.int64),
        missing_left=np.asarray(tree["default_left"]).astype(bool),
        values=trees.at_output(np.where(leaf, conditions, 0).astype(np.float64), output, outputs),
    )


def of_lightgbm(model: Any, method: str) -> Program:
    """model: a Booster or an estimator. Raises NotCompiled."""
    booster = model.booster_ if hasattr(model, "booster_") else model
    best = booster.best_iteration
    dumped = booster.dump_model(num_iteration=best if best > 0 else None)
    name, *options = str(dumped.get("objective", "")).split()
    settings = dict(option.partition(":")[::2] for option in options)
    if name not in _LIGHTGBM_LINKS or "sqrt" in settings:
        raise NotCompiled(f"LightGBM's objective {dumped.get('objective')} is not compiled.")
    if dumped.get("average_output"):
        raise NotCompiled("LightGBM's random forests are not compiled.")
    outputs = int(dumped["num_tree_per_iteration"])
    slope = float(settings.get("sigmoid", 1))
    built = [
        _lightgbm_tree(each["tree_structure"], number % outputs, outputs, slope)
        for number, each in enumerate(dumped["tree_info"])
    ]
    width = int(dumped["max_feature_idx"]) + 1
    near_zero = Step("near zero", {"within": np.array(_LIGHTGBM_ZERO)})
    head = trees.forest(built, np.zeros(outputs))
    program = Program(width, head, steps=(near_zero,), link=_LIGHTGBM_LINKS[name])
    if model is booster or not hasattr(model, "classes_"):
        if method != "predict":
            raise NotCompiled(f"{method} of a regressor is not compiled.")
        return replace(program, flat=outputs == 1)
    return _classifying(program, np.asarray(model.classes_), method)


def _lightgbm_tree(root: Mapping[str, Any], output: int, outputs: int, slope: float) -> trees.Tree:
    nodes: list[Mapping[str, Any]] = [root]
    places: list[tuple[int, int]] = []
    for node in nodes:
        if "split_feature" not in node:
            places.append((0, 0))
            continue
        if node["decision_type"] != "<=":
            raise NotCompiled("A model with categorical columns is not compiled.")
        if node["missing_type"] == "Zero":
            raise NotCompiled("A model for which zero is missing is not compiled.")
        if "leaf_coeff" in node:
            raise NotCompiled("LightGBM's linear trees are not compiled.")
        places.append((len(nodes), len(nodes) + 1))
        nodes += [node["left_child"], node["right_child"]]
    leaf = np.array(["split_feature" not in node for node in nodes])
    if any("leaf_coeff" in node for node in nodes):
        raise NotCompiled("LightGBM's linear trees are not compiled.")
    values = np.array([slope * float(node.get("leaf_value", 0.0)) for node in nodes])
    return trees.Tree(
        is_leaf=leaf,
        feature=np.array([node.get("split_feature", 0) for node in nodes]),
        threshold=np.array([float(node.get("threshold", 0.0)) for node in nodes]),
        left=np.array([left for left, _ in places]),
        right=np.array([right for _, right in places]),
        missing_left=np.array([_missing_left(node) for node in nodes]),
        values=trees.at_output(np.where(leaf, values, 0.0), output, outputs),
    )


def _missing_left(node: Mapping[str, Any]) -> bool:
    """A model that was trained without NaN takes it for 0."""
    if node.get("missing_type") == "None":
        return float(node["threshold"]) >= 0.0
    return bool(node.get("default_left", True))


def read(model: Any, method: str) -> Program:
    """Raises NotCompiled."""
    kind = type(model)
    library = kind.__module__.partition(".")[0]
    if library == "xgboost":
        return of_xgboost(model, method)
    if library == "lightgbm":
        return of_lightgbm(model, method)
    raise NotCompiled(f"A {kind.__name__} is not among the models that are compiled.")
