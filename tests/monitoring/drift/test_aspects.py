"""What is asked of a column, and to which question most of its error goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kedge.monitoring.drift import baseline, cells, judging
from kedge.monitoring.drift.aspects import Aspects, aspects
from kedge.monitoring.drift.cells import Floats

Random = np.random.Generator


def asked(values: Floats) -> Aspects:
    known = cells.numeric(values)
    return aspects(known, cells.counted(known, values))


@pytest.mark.parametrize(
    ("draw", "best"),
    [
        (lambda r: r.standard_cauchy(20_000), "centre"),
        (lambda r: r.standard_t(2, 20_000), "centre"),
        (lambda r: r.logistic(size=20_000), "shift"),
        (lambda r: r.standard_normal(20_000), "value"),
        (lambda r: r.exponential(size=20_000), "value"),
        (lambda r: r.poisson(r.gamma(2, 2.5, 20_000)).astype(float), "value"),
    ],
)
def test_most_of_the_error_goes_to_what_sees_a_change_of_such_a_column_best(
    draw: Callable[[Random], Floats], best: str
) -> None:
    found = asked(draw(np.random.default_rng(1)))
    assert found.names[int(found.parts.argmax())] == best
    assert found.parts.max() > 0.4
    assert found.parts.sum() == pytest.approx(1)


@pytest.mark.parametrize("share", [0.5, 0.05, 0.01])
def test_of_two_values_there_is_one_question_which_has_all_the_error(share: float) -> None:
    found = asked((np.random.default_rng(1).random(20_000) < share).astype(float))
    assert found.names == ("shift", "missing")
    assert found.parts.tolist() == pytest.approx([0.9, 0.1])
    assert found.gaps[0] > 0
    known = cells.categorical({"no": 20_000 * (1 - share), "yes": 20_000 * share})
    of_texts = aspects(known, cells.tallied(known, {"no": 20_000 * (1 - share), "yes": 20_000 * share}))
    assert of_texts.names == ("level no", "level other", "missing")


@pytest.mark.parametrize("scale", [1.0, 1e300, -1e308, 1e-310])
def test_the_scale_of_the_values_does_not_matter(scale: float) -> None:
    values = np.random.default_rng(1).random(5_000)
    found, scaled = asked(values), asked(scale * values)
    assert scaled.names == found.names
    assert np.abs(scaled.scores[0]) == pytest.approx(np.abs(found.scores[0])[:: int(np.sign(scale))], abs=0.01)
    value = found.names.index("value") if "value" in found.names else 0
    assert np.abs(scaled.scores[value]) == pytest.approx(np.abs(found.scores[value])[:: int(np.sign(scale))], abs=0.01)


@pytest.mark.parametrize("value", [0.0, 7.0, -1e308])
def test_a_constant_column_that_moves_alerts(value: float) -> None:
    column = baseline.column(np.full(20_000, value))
    assert isinstance(column.cells, cells.Numeric)
    assert np.isfinite(column.aspects.scores).all()
    for to, alerts in ((value, False), (value / 2 - 1, True), (value / 2 + 8, True)):
        counts = cells.counted(column.cells, np.full(1_000, to))
        assert judging.alerting(column, counts[None, :], 50, None, judging.Settings()).all() == alerts


@pytest.mark.parametrize(
    ("draw", "sigma"),
    [
        (lambda r, n, mean: r.exponential(mean, n), 1.0),
        (lambda r, n, mean: r.poisson(r.gamma(2, mean / 2, n)).astype(float), np.sqrt(1.5)),
        (lambda r, n, mean: r.poisson(mean, n).astype(float), 1.0),
    ],
)
def test_amounts_and_counts_that_grow_are_seen_in_their_first_window(
    draw: Callable[[Random, int, float], Floats], sigma: float
) -> None:
    seen = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        column = baseline.column(draw(random, 20_160, 1.0))
        assert isinstance(column.cells, cells.Numeric)
        counts = cells.counted(column.cells, draw(random, 1_000, 1 + 0.25 * sigma))
        seen += int(judging.alerting(column, counts[None, :], 50, None, judging.Settings())[0])
    assert seen >= 17
