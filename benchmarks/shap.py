"""Kernel SHAP of many rows: ours beside the package shap, with as many samples of the same model.

    scripts/bench shap [--rows 1000] [--features 20]

Values are compared where all coalitions are taken, which makes them exact: on the first ten features. shap is measured
only where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from kedge.monitoring.attribution.coalitions import default_samples, every
from kedge.monitoring.attribution.kernel_shap import explained


def model(features: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (5000, features))
    target = rows[:, 0] * rows[:, 1] + np.abs(rows[:, 2]) + rows.sum(axis=1) + rng.normal(0, 0.1, len(rows))
    return HistGradientBoostingRegressor(max_iter=100, random_state=0).fit(rows, target), rows


def theirs(trained: Any, rows: Any, baseline: Any, samples: int) -> Any:
    import shap

    explainer = shap.KernelExplainer(trained.predict, baseline, seed=0)
    return explainer.shap_values(rows, nsamples=samples, l1_reg=False, silent=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--features", type=int, default=20)
    options = parser.parse_args()
    trained, rows = model(options.features)
    some, baseline = rows[: options.rows], rows[:1] * 0
    samples = default_samples(options.features)
    print(f"{len(some)} rows, {options.features} features, {samples} samples, gradient boosting of 100 trees")
    begun = time.perf_counter()
    trained.predict(np.tile(some, (samples, 1))[: len(some) * samples])
    print(f"the model's predictions alone   {time.perf_counter() - begun:8.2f} s")
    begun = time.perf_counter()
    ours = explained(some, baseline, trained.predict, np.random.default_rng(0), samples)
    print(f"kedge                           {time.perf_counter() - begun:8.2f} s")
    sums = np.abs(ours.values.sum(axis=1) + ours.expected - ours.predictions).max()
    print(f"values sum to the prediction within {sums:.1e}")
    if importlib.util.find_spec("shap") is None:
        print("shap is not installed here")
        return
    begun = time.perf_counter()
    theirs(trained, some, baseline, samples)
    print(f"shap                            {time.perf_counter() - begun:8.2f} s")
    small, narrow = model(10)
    exact = explained(narrow[:20], narrow[:5], small.predict, np.random.default_rng(0), every(10)).values[:, :, 0]
    apart = np.abs(exact - theirs(small, narrow[:20], narrow[:5], every(10))).max()
    print(f"all coalitions of 10 features: within {apart:.1e}")


if __name__ == "__main__":
    main()
