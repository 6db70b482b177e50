"""The counterfactual flip test: would the model have said the same of a person like this of the other group? PURE.

Who is like whom is asked of the nearest neighbours: each row of the facet gets the outcome that most of its five
nearest rows outside of the facet got from the model (one, of fewer than ten rows). Source: Black, Yeom and
Fredrikson, "FlipTest" (2020), as SageMaker Clarify approximates it; the sign is that of its open-source library,
where a row that the model accepts and its neighbours' outcome would reject counts as +1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import KNeighborsClassifier

from kedge.monitoring.bias.formulas import Numbers, Undefined

NEIGHBOURS = 5
_FEW = 9
MOST_ROWS = 20_000
"""Of either side: the first ones stand for all."""


def flips(features: Numbers, facet: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """+1, 0 or -1 for each row of the facet. features: shape (rows, k). Raises Undefined.

    facet: which rows are of it; said: which the model accepts.
    """
    if features.shape[1] == 0:
        raise Undefined("FT: there are no numeric features.")
    if not np.isfinite(features).all():
        raise Undefined("FT: a feature is missing or infinite in some rows.")
    others = np.nonzero(~facet)[0][:MOST_ROWS]
    own = np.nonzero(facet)[0][:MOST_ROWS]
    if not len(own):
        raise Undefined("Facet set is empty.")
    if not len(others):
        raise Undefined("Negative facet set is empty.")
    nearest = KNeighborsClassifier(n_neighbors=NEIGHBOURS if len(others) > _FEW else 1)
    nearest.fit(features[others], said[others])
    likely: npt.NDArray[np.bool_] = nearest.predict(features[own])
    return said[own].astype(np.int64) - likely.astype(np.int64)
