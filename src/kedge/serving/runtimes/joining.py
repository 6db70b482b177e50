"""Which requests may share one call of the model, and how their rows are put together and taken apart. PURE.

The rule is that nobody can tell: a request's answer is the same alone and in any batch. So arrays are joined only when
they agree in type and in everything but the number of rows, and a model only takes joined rows when each row's result
is known not to depend on the others (`rows_are_independent`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from kedge.serving.runtimes.base import BadInput, TooLarge

MAX_ROWS = 4096
"""Of one call of the model: bounds its memory and how long the first of a batch waits for the last."""
MAX_CELLS = 64 * 1024 * 1024
"""Of a sparse body made dense: a few bytes could claim any number of columns."""

_TREES = ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees")
_BOOSTED = {f"{which}GradientBoosting{kind}" for which in ("", "Hist") for kind in ("Classifier", "Regressor")}
"""Each row's trees are added up in their order; what makes probabilities of the sum looks at one row, too."""
_VALUE_BY_VALUE = {
    "Pipeline", "ColumnTransformer", "GridSearchCV", "RandomizedSearchCV", "StandardScaler", "MinMaxScaler",
    "MaxAbsScaler", "RobustScaler", "SimpleImputer", "OneHotEncoder", "OrdinalEncoder", "Binarizer", "KBinsDiscretizer",
}  # fmt: skip
"""What may stand before a tree without touching a row's last bit."""


def key(data: object) -> Hashable | None:
    """Arrays with equal keys may be joined; None is for data that goes alone."""
    if not isinstance(data, np.ndarray) or data.ndim == 0 or data.shape[0] == 0:
        return None
    if data.dtype.kind in "fiub":
        return data.dtype.char, data.shape[1:]
    if data.dtype.kind == "O" and set(map(type, data.ravel().tolist())) == {str}:
        return "text", data.shape[1:]
    return None


def groups(decoded: Mapping[int, object]) -> Iterator[list[int]]:
    """The indices, in groups that are to share a call; at most MAX_ROWS rows each unless one alone has more."""
    open_groups: dict[Hashable, tuple[list[int], int]] = {}
    for index, data in decoded.items():
        which = key(data)
        if which is None:
            yield [index]
            continue
        rows = len(data)  # type: ignore[arg-type]  # a key means that it is an array
        group, held = open_groups.get(which, ([], 0))
        if group and held + rows > MAX_ROWS:
            yield group
            group, held = [], 0
        group.append(index)
        open_groups[which] = (group, held + rows)
    for group, _ in open_groups.values():
        yield group


def join(datas: list[Any]) -> object:
    return np.concatenate(datas)


def split(prediction: object, datas: list[Any]) -> list[object] | None:
    """Each data's rows of the prediction; None when the prediction does not hold one row for each row of the data.

    Only an array is taken apart: a list may as well hold one item per output as one per row.
    """
    ends = list(accumulate(map(len, datas)))
    if not isinstance(prediction, np.ndarray) or prediction.ndim == 0 or len(prediction) != ends[-1]:
        return None
    return [prediction[start:end] for start, end in pairwise([0, *ends])]


def dense(table: Sequence[Mapping[int, float]], width: int) -> np.ndarray[Any, Any]:
    """Rows of column to value as an array of shape (rows, width), where what is not there is NaN.

    width 0 takes that of the widest row. Raises BadInput for a column beyond the width, TooLarge past MAX_CELLS.
    """
    widest = max((max(row, default=-1) for row in table), default=-1) + 1
    if width and widest > width:
        raise BadInput(f"A row has the column {widest - 1}; the model takes {width}, counted from 0.")
    width = width or widest
    if len(table) * width > MAX_CELLS:
        raise TooLarge(f"{len(table)} rows of {width} columns are too many for one request; send fewer rows.")
    array = np.full((len(table), width), np.nan, dtype=np.float32)
    for number, row in enumerate(table):
        if row:
            array[number, list(row)] = list(row.values())
    return array


def rows_are_independent(model: Any, method: str) -> bool:
    """Whether `method` of a fitted scikit-learn model surely gives each row the same result in any batch.

    Linear algebra over several rows rounds differently in the last bit than over one. A class label hides that, a
    regression value or a probability shows it, so those are joined only for trees, which look at each row by itself.
    Code that is not scikit-learn's own may do anything across rows.
    """
    names = {type(part).__name__ for part in parts(model)}
    own = all(type(part).__module__.startswith("sklearn.") for part in parts(model))
    if not own or "FunctionTransformer" in names:
        return False
    if method == "predict" and hasattr(final_estimator(model), "classes_"):
        return True
    trees = {name for name in names if name.startswith(_TREES) or name in _BOOSTED}
    return method in ("predict", "predict_proba") and bool(trees) and names <= trees | _VALUE_BY_VALUE


def parts(model: Any) -> Iterator[Any]:
    """The model and every estimator in it: steps of pipelines, columns' transformers, what a search found best."""
    seen: set[int] = set()
    todo = [model]
    while todo:
        part = todo.pop()
        if id(part) in seen or isinstance(part, type) or not hasattr(part, "get_params"):
            continue
        seen.add(id(part))
        yield part
        todo.extend(part.get_params(deep=False).values())
        todo.append(getattr(part, "best_estimator_", None))
        for container in ("steps", "transformers", "transformers_", "transformer_list", "estimators"):
            for entry in getattr(part, container, None) or ():
                todo.extend(entry if isinstance(entry, tuple) else ())


def final_estimator(model: Any) -> Any:
    """What answers in the end: a pipeline's last step, a search's best estimator."""
    while True:
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif isinstance(getattr(model, "steps", None), list) and model.steps:
            model = model.steps[-1][1]
        else:
            return model
