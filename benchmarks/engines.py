"""What one call of a tree model costs by each way to run it: the choice of docs/compiled.md, measured again.

    python -m benchmarks.engines [--trees 100] [--calls 200]

Run in the checkout's root. `native` is what scripts/build-core builds. A way whose library is not installed is left
out: treelite, tl2cgen (which also needs a C compiler), lleaves and lightgbm are none of Kedge's own needs. Every call
gets rows of its own, since branch predictors learn rows that come again. Times are those of the calling thread, one
thread each, the best of five rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier

from kedge.serving.compiled import of_boosters, of_sklearn, run
from kedge.serving.compiled.program import Program

Call = Callable[[Any], Any]
COUNTS = (1, 8, 64, 100)
COLUMNS = 20


def here(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


def programs(program: Program, original: Call) -> dict[str, Call]:
    engines = [each for each in run.ENGINES if each != run.NATIVE or run.has_native()]
    return {f"program, {each}": run.compiled(program, original, each) for each in engines}


def of_treelite(model: Any, folder: Path) -> dict[str, Call]:
    found: dict[str, Call] = {}
    if here("treelite"):
        from treelite import gtil

        found["treelite GTIL"] = lambda rows: gtil.predict(model, rows, nthread=1)
    if here("treelite", "tl2cgen"):
        import tl2cgen

        library = folder / f"{id(model)}.so"
        tl2cgen.export_lib(model, toolchain="gcc", libpath=str(library), params={"parallel_comp": 2})
        predictor = tl2cgen.Predictor(str(library), nthread=1)
        found["tl2cgen, gcc"] = lambda rows: predictor.predict(tl2cgen.DMatrix(rows, dtype="float64"))
    return found


def of_scikit_learn(x: Any, y: Any, trees: int, folder: Path) -> dict[str, Call]:
    model = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, random_state=7).fit(x, y)
    found: dict[str, Call] = {"scikit-learn itself": model.predict_proba}
    found |= programs(of_sklearn.read(model, "predict_proba"), model.predict_proba)
    if here("treelite"):
        import treelite

        found |= of_treelite(treelite.sklearn.import_model(model), folder)
    return found


def of_lightgbm(x: Any, y: Any, trees: int, folder: Path) -> dict[str, Call]:
    import lightgbm

    settings = {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 1, "seed": 7}
    model = lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=trees)

    def itself(rows: Any) -> Any:
        return model.predict(rows, num_threads=1)

    found: dict[str, Call] = {"LightGBM itself": itself}
    found |= programs(of_boosters.read(model, "predict"), itself)
    if here("treelite"):
        import treelite

        found |= of_treelite(treelite.frontend.from_lightgbm(model), folder)
    if here("lleaves"):
        import lleaves

        file = folder / "model.txt"
        model.save_model(str(file))
        compiled = lleaves.Model(model_file=str(file))
        compiled.compile()
        found["lleaves"] = lambda rows: compiled.predict(rows, n_jobs=1)
    return found


def cost_us(call: Call, pool: list[Any]) -> float:
    for rows in pool[:5]:
        call(rows)
    best = float("inf")
    for _ in range(5):
        began_s = time.thread_time()
        for rows in pool:
            call(rows)
        best = min(best, (time.thread_time() - began_s) / len(pool))
    return best * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    x, y = make_classification(n_samples=10_000, n_features=COLUMNS, n_informative=10, random_state=7)
    random = np.random.default_rng(1)
    pool = [np.round(random.normal(size=(max(COUNTS), COLUMNS)) * 2, 5) for _ in range(options.calls)]
    print(f"us for one call of {' / '.join(map(str, COUNTS))} rows; {options.trees} trees of 31 leaves")
    with tempfile.TemporaryDirectory() as folder:
        tables = [of_scikit_learn(x, y, options.trees, Path(folder))]
        if here("lightgbm"):
            tables.append(of_lightgbm(x, y, options.trees, Path(folder)))
        for table in tables:
            print()
            for name, call in table.items():
                costs = [cost_us(call, [rows[:count].copy() for rows in pool]) for count in COUNTS]
                print(f"{name:24}" + "".join(f"{cost:10.0f}" for cost in costs))


if __name__ == "__main__":
    main()
