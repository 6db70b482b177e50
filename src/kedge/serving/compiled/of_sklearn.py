"""Fitted models of scikit-learn as programs. PURE. Classes are told by their names: nothing is imported for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kedge.serving.compiled import trees
from kedge.serving.compiled.program import Array, Forest, Linear, NotCompiled, Program, Step

_LINEAR_VALUES = {
    *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "Lars", "LassoLars"),
    *("BayesianRidge", "ARDRegression", "HuberRegressor", "SGDRegressor", "LinearSVR", "TheilSenRegressor"),
}
_LINEAR_LABELS = {
    *(
        "LinearSVC",
        "RidgeClassifier",
        "RidgeClassifierCV",
        "SGDClassifier",
        "Perceptron",
        "PassiveAggressiveClassifier",
    ),
    *("LogisticRegression", "LogisticRegressionCV"),
}
_LOGISTIC = {"LogisticRegression", "LogisticRegressionCV"}
_TREES = {f"{name}{kind}" for name in ("DecisionTree", "ExtraTree") for kind in ("Classifier", "Regressor")}
_FORESTS = {f"{name}{kind}" for name in ("RandomForest", "ExtraTrees") for kind in ("Classifier", "Regressor")}
_IDENTITY_LOSSES = {"squared_error", "absolute_error", "quantile", "huber"}


def read(model: Any, method: str) -> Program:
    """Raises NotCompiled."""
    steps: tuple[Step, ...] = ()
    width = int(getattr(model, "n_features_in_", 0))
    model = _best(model)
    while _name(model) == "Pipeline":
        for _, part in model.steps[:-1]:
            steps += _step(part)
        model = _best(model.steps[-1][1])
    name = _name(model)
    if name in _LINEAR_VALUES | _LINEAR_LABELS:
        found = _linear(model, name)
    elif name in _TREES | _FORESTS:
        found = _forest(model, name)
    elif name in ("GradientBoostingClassifier", "GradientBoostingRegressor"):
        found = _boosted(model)
    elif name in ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"):
        found = _boosted_by_histograms(model)
    else:
        raise NotCompiled(f"A {name} is not among the models that are compiled.")
    return replace(_answering(found, method), width=width or _columns(found.head), steps=steps)


def _name(part: Any) -> str:
    """Of scikit-learn's own classes: another's subclass may do anything."""
    kind = type(part)
    if kind.__module__.partition(".")[0] != "sklearn":
        raise NotCompiled(f"A {kind.__name__} is not scikit-learn's own.")
    return kind.__name__


def _best(model: Any) -> Any:
    while _name(model) in ("GridSearchCV", "RandomizedSearchCV"):
        model = model.best_estimator_
    return model


def _columns(head: Forest | Linear) -> int:
    return head.coefficients.shape[1] if isinstance(head, Linear) else int(head.feature.max()) + 1


def _answering(program: Program, method: str) -> Program:
    """As the method answers; a classifier comes with answer="probabilities" if it has them, else "labels"."""
    if program.classes is None:
        if method != "predict":
            raise NotCompiled(f"{method} of a regressor is not compiled.")
        return program
    classes = np.asarray(program.classes)
    labels = classes.astype(str) if classes.dtype.kind == "O" else classes
    if classes.dtype.kind == "O" and set(map(type, classes.tolist())) != {str}:
        raise NotCompiled("The classes are neither numbers nor texts.")
    program = replace(program, classes=labels, object_labels=classes.dtype.kind == "O")
    if method == "predict":
        return replace(program, answer="labels")
    if method != "predict_proba" or program.answer != "probabilities":
        raise NotCompiled(f"{method} of this classifier is not compiled.")
    return program


def _classes(model: Any) -> Array:
    if isinstance(model.classes_, list):
        raise NotCompiled("A classifier with several outputs is not compiled.")
    if len(model.classes_) < 2:
        raise NotCompiled("A classifier with a single class is not compiled.")
    return np.asarray(model.classes_)


def _linear(model: Any, name: str) -> Program:
    coefficients = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    base = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64).ravel(), (len(coefficients),))
    head = Linear(coefficients, base.copy())
    if name in _LINEAR_VALUES:
        return Program(0, head, flat=np.ndim(model.coef_) == 1)
    classes = _classes(model)
    if name not in _LOGISTIC:
        return Program(0, head, classes=classes, answer="labels")
    apart = getattr(model, "multi_class", "") == "ovr" or getattr(model, "solver", "") == "liblinear"
    link = "sigmoid" if len(coefficients) == 1 else "one-vs-rest" if apart else "softmax"
    return Program(0, head, link=link, classes=classes, answer="probabilities")


def _tree(tree: Any, values: Array) -> trees.Tree:
    """sklearn.tree._tree.Tree. values: shape (nodes, outputs)."""
    leaf = tree.children_left == -1
    missing = getattr(tree, "missing_go_to_left", None)
    return trees.Tree(
        is_leaf=leaf,
        feature=tree.feature,
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        missing_left=np.zeros(len(leaf), dtype=bool) if missing is None else np.asarray(missing).astype(bool),
        values=values,
    )


def _forest(model: Any, name: str) -> Program:
    members = model.estimators_ if name in _FORESTS else [model]
    if model.n_outputs_ != 1:
        raise NotCompiled("A model with several outputs is not compiled.")
    share = 1.0 / len(members)
    if name.endswith("Regressor"):
        built = [_tree(each.tree_, each.tree_.value[:, 0, :1] * share) for each in members]
        return Program(0, trees.forest(built, np.zeros(1)), single=True)
    classes = _classes(model)
    # With two classes the second's share says it all.
    first = 1 if len(classes) == 2 else 0
    built = [_tree(each.tree_, each.tree_.value[:, 0, first:] * share) for each in members]
    head = trees.forest(built, np.zeros(len(classes) - first))
    return Program(0, head, single=True, classes=classes, answer="probabilities", middle=0.5)


def _boosted(model: Any) -> Program:
    if model.init is not None and model.init != "zero":
        raise NotCompiled("Gradient boosting that begins with another model is not compiled.")
    outputs = model.estimators_.shape[1]
    built = [
        _tree(each.tree_, trees.at_output(each.tree_.value[:, 0, 0] * model.learning_rate, output, outputs))
        for round_ in model.estimators_
        for output, each in enumerate(round_)
    ]
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))
    head = trees.forest(built, np.asarray(start, dtype=np.float64).ravel())
    if not hasattr(model, "classes_"):
        return Program(0, head, single=True)
    if model.loss != "log_loss":
        raise NotCompiled(f"Gradient boosting of the loss {model.loss} is not compiled.")
    link = "sigmoid" if outputs == 1 else "softmax"
    return Program(0, head, single=True, link=link, classes=_classes(model), answer="probabilities")


def _boosted_by_histograms(model: Any) -> Program:
    if getattr(model, "is_categorical_", None) is not None and np.any(model.is_categorical_):
        raise NotCompiled("Gradient boosting with categorical columns is not compiled.")
    outputs = len(model._predictors[0])
    built = [
        _tree_of_nodes(each.nodes, output, outputs)
        for round_ in model._predictors
        for output, each in enumerate(round_)
    ]
    head = trees.forest(built, np.asarray(model._baseline_prediction, dtype=np.float64).ravel())
    if hasattr(model, "classes_"):
        link = "sigmoid" if outputs == 1 else "softmax"
        return Program(0, head, link=link, classes=_classes(model), answer="probabilities")
    return Program(0, head, link="none" if model.loss in _IDENTITY_LOSSES else "exp")


def _tree_of_nodes(nodes: Array, output: int, outputs: int) -> trees.Tree:
    return trees.Tree(
        is_leaf=nodes["is_leaf"].astype(bool),
        feature=nodes["feature_idx"],
        threshold=nodes["num_threshold"],
        left=nodes["left"],
        right=nodes["right"],
        missing_left=nodes["missing_go_to_left"].astype(bool),
        values=trees.at_output(nodes["value"], output, outputs),
    )


def _step(part: Any) -> tuple[Step, ...]:
    if part is None or part == "passthrough":
        return ()
    name = _name(part)
    if name not in _STEPS:
        raise NotCompiled(f"A {name} is not among the steps that are compiled.")
    return _STEPS[name](part)


def _by(name: str, values: Any) -> tuple[Step, ...]:
    return () if values is None else (Step(name, {"by": np.asarray(values, dtype=np.float64)}),)


def _min_max(part: Any) -> tuple[Step, ...]:
    steps = (*_by("multiply", part.scale_), *_by("add", part.min_))
    if not part.clip:
        return steps
    low, high = (np.float64(each) for each in part.feature_range)
    return (*steps, Step("clip", {"low": np.array(low), "high": np.array(high)}))


def _imputer(part: Any) -> tuple[Step, ...]:
    values = np.asarray(part.statistics_)
    if part.missing_values is not np.nan and not (
        isinstance(part.missing_values, float) and np.isnan(part.missing_values)
    ):
        raise NotCompiled("An imputer of something else than NaN is not compiled.")
    if part.add_indicator or values.dtype.kind not in "fiu" or np.isnan(values.astype(float)).any():
        raise NotCompiled("An imputer that adds or drops columns is not compiled.")
    return _by("impute", values)


def _encoder_arrays(part: Any) -> dict[str, Array]:
    arrays = {}
    for number, each in enumerate(part.categories_):
        values = np.asarray(each)
        if values.dtype.kind not in "fiu" or np.isnan(values.astype(float)).any():
            raise NotCompiled("An encoder of texts or of missing values is not compiled.")
        arrays[f"categories_{number}"] = values.astype(np.float64)
    return arrays


def _one_hot(part: Any) -> tuple[Step, ...]:
    if part.drop_idx_ is not None or getattr(part, "_infrequent_enabled", False):
        raise NotCompiled("A one-hot encoder that leaves categories out is not compiled.")
    unknown = np.nan if part.handle_unknown == "error" else 0.0
    return (Step("one hot", {**_encoder_arrays(part), "unknown": np.array(unknown)}),)


def _ordinal(part: Any) -> tuple[Step, ...]:
    if getattr(part, "_infrequent_enabled", False):
        raise NotCompiled("An encoder that leaves categories out is not compiled.")
    # An unknown value that becomes NaN is left to the encoder, as is one that is an error.
    unknown = np.nan if part.handle_unknown == "error" else float(part.unknown_value)
    return (Step("ordinal", {**_encoder_arrays(part), "unknown": np.array(unknown)}),)


def _function(part: Any) -> tuple[Step, ...]:
    """A ColumnTransformer passes on what remains by one without a function."""
    if part.func is not None:
        raise NotCompiled("A FunctionTransformer with a function is not compiled.")
    return ()


def _pca(part: Any) -> tuple[Step, ...]:
    steps = (*_by("subtract", part.mean_), Step("project", {"onto": np.asarray(part.components_, dtype=np.float64)}))
    if not part.whiten:
        return steps
    return (*steps, *_by("divide", np.sqrt(part.explained_variance_)))


def _selected(columns: Any, width: int) -> Array:
    if isinstance(columns, slice):
        if any(isinstance(each, str) for each in (columns.start, columns.stop)):
            raise NotCompiled("Columns that are picked by name are not compiled.")
        return np.arange(width)[columns]
    listed = np.atleast_1d(np.asarray(columns))
    if listed.dtype.kind == "b":
        return np.flatnonzero(listed)
    if listed.dtype.kind not in "iu" and len(listed):
        raise NotCompiled("Columns that are picked by name are not compiled.")
    return np.arange(width)[listed.astype(np.int64)]


def _by_columns(part: Any) -> tuple[Step, ...]:
    width = int(part.n_features_in_)
    branches = []
    for _, transformer, columns in part.transformers_:
        chosen = _selected(columns, width)
        if (isinstance(transformer, str) and transformer == "drop") or not len(chosen):
            continue
        if np.ndim(columns) == 0 and not isinstance(columns, slice):
            raise NotCompiled("A column that is given to its transformer as a flat list is not compiled.")
        branches.append((Step("select", {"columns": chosen}), *_step(transformer)))
    if not branches:
        raise NotCompiled("A ColumnTransformer that drops every column is not compiled.")
    return (Step("side by side", branches=tuple(branches)),)


def _nested(part: Any) -> tuple[Step, ...]:
    return tuple(step for _, each in part.steps for step in _step(each))


_STEPS: Mapping[str, Callable[[Any], tuple[Step, ...]]] = {
    "Pipeline": _nested,
    "ColumnTransformer": _by_columns,
    "StandardScaler": lambda part: (*_by("subtract", part.mean_), *_by("divide", part.scale_)),
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": lambda part: _by("divide", part.scale_),
    "RobustScaler": lambda part: (
        *_by("subtract", part.center_ if part.with_centering else None),
        *_by("divide", part.scale_ if part.with_scaling else None),
    ),
    "FunctionTransformer": _function,
    "SimpleImputer": _imputer,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
    "PCA": _pca,
}
