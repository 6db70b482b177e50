"""The 21 measures of bias of SageMaker Clarify, from counts. PURE.

All but two come from one table: shape (..., 2, 2, 2, g), how many rows are of the facet (0: the others, a; 1: the
facet, d), have a positive label, have a positive prediction, and are of each of g groups. Leading axes are as many
tables, such as bootstrap draws, at once; results have their shape. Nothing divided by nothing is 0, something by
nothing infinite, and the difference of equal infinities 0.

Sources: the documentation of SageMaker Clarify, "Measure pre-training bias" and "Measure post-training data and model
bias"; Das et al., "Fairness measures for machine learning in finance" (2020); of GE Speicher et al. (2018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
A, D = 0, 1
PRE_TRAINING, POST_TRAINING = "Pre-training", "Post-Training"
FLIP, GENERALIZED_ENTROPY = "FT", "GE"


class Undefined(ValueError):
    """Why a measure cannot be computed."""


def divided(part: Numbers, whole: Numbers) -> Numbers:
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    found = np.where(part < 0, -np.inf, np.where(part > 0, np.inf, 0.0))
    return np.divide(part, whole, out=found, where=whole != 0)


def less(left: Numbers, right: Numbers) -> Numbers:
    same = left == right
    return np.subtract(left, right, out=np.zeros(np.broadcast_shapes(left.shape, right.shape)), where=~same)


@dataclass(frozen=True)
class Counts:
    table: Numbers

    @cached_property
    def cells(self) -> Numbers:
        """Without groups: (..., facet, label, prediction)."""
        return np.asarray(self.table.sum(axis=-1))

    @cached_property
    def size(self) -> Numbers:
        """(..., facet)"""
        return np.asarray(self.cells.sum(axis=(-1, -2)))

    @cached_property
    def labels(self) -> Numbers:
        """(..., facet, negative and positive)"""
        return np.asarray(self.cells.sum(axis=-1))

    @cached_property
    def predictions(self) -> Numbers:
        return np.asarray(self.cells.sum(axis=-2))

    def cell(self, label: int, said: int) -> Numbers:
        """(..., facet)"""
        return np.asarray(self.cells[..., label, said])

    @cached_property
    def shares(self) -> tuple[Numbers, Numbers]:
        """Distribution of the labels of a and of d, each (..., 2)."""
        found = divided(self.labels, self.size[..., None])
        return found[..., A, :], found[..., D, :]


def _gap(of_facet: Numbers) -> Numbers:
    return less(of_facet[..., A], of_facet[..., D])


def _reverse_gap(of_facet: Numbers) -> Numbers:
    return less(of_facet[..., D], of_facet[..., A])


def class_imbalance(counts: Counts) -> Numbers:
    size = counts.size
    return divided(size[..., A] - size[..., D], size.sum(axis=-1))


def label_proportions(counts: Counts) -> Numbers:
    return _gap(divided(counts.labels[..., 1], counts.size))


def kullback_leibler(counts: Counts) -> Numbers:
    """Over the labels that both have."""
    a, d = counts.shares
    return _divergence(a, d)


def jensen_shannon(counts: Counts) -> Numbers:
    a, d = counts.shares
    middle = (a + d) / 2
    return 0.5 * (_divergence(a, middle) + _divergence(d, middle))


def lp_norm(counts: Counts) -> Numbers:
    """p is 2."""
    a, d = counts.shares
    return np.asarray(np.sqrt(((a - d) ** 2).sum(axis=-1)))


def total_variation(counts: Counts) -> Numbers:
    a, d = counts.shares
    return np.asarray(0.5 * np.abs(a - d).sum(axis=-1))


def kolmogorov_smirnov(counts: Counts) -> Numbers:
    """The largest difference of a label's share, not of a cumulated one."""
    a, d = counts.shares
    return np.asarray(np.abs(a - d).max(axis=-1))


def label_disparity(counts: Counts) -> Numbers:
    return _disparity(counts.table.sum(axis=-2))


def prediction_disparity(counts: Counts) -> Numbers:
    return _disparity(counts.table.sum(axis=-3))


def predicted_proportions(counts: Counts) -> Numbers:
    return _gap(divided(counts.predictions[..., 1], counts.size))


def disparate_impact(counts: Counts) -> Numbers:
    share = divided(counts.predictions[..., 1], counts.size)
    return divided(share[..., D], share[..., A])


def conditional_acceptance(counts: Counts) -> Numbers:
    return _gap(divided(counts.labels[..., 1], counts.predictions[..., 1]))


def conditional_rejection(counts: Counts) -> Numbers:
    return _reverse_gap(divided(counts.labels[..., 0], counts.predictions[..., 0]))


def specificity(counts: Counts) -> Numbers:
    return _reverse_gap(divided(counts.cell(0, 0), counts.labels[..., 0]))


def recall(counts: Counts) -> Numbers:
    return _gap(divided(counts.cell(1, 1), counts.labels[..., 1]))


def acceptance_rates(counts: Counts) -> Numbers:
    return _gap(divided(counts.cell(1, 1), counts.predictions[..., 1]))


def rejection_rates(counts: Counts) -> Numbers:
    return _reverse_gap(divided(counts.cell(0, 0), counts.predictions[..., 0]))


def accuracy(counts: Counts) -> Numbers:
    return _gap(divided(counts.cell(0, 0) + counts.cell(1, 1), counts.size))


def treatment_equality(counts: Counts) -> Numbers:
    return _reverse_gap(divided(counts.cell(1, 0), counts.cell(0, 1)))


def generalized_entropy(counts: Counts) -> Numbers:
    """Of the benefits prediction - label + 1, with alpha 2; does not look at the facet."""
    cells = counts.cells.sum(axis=-3)
    benefits = np.array([[1.0, 2.0], [0.0, 1.0]])
    rows = cells.sum(axis=(-1, -2))
    mean = divided((cells * benefits).sum(axis=(-1, -2)), rows)
    squares = divided((cells * benefits**2).sum(axis=(-1, -2)), rows)
    return 0.5 * less(divided(squares, mean**2), np.ones_like(mean))


def _divergence(of: Numbers, towards: Numbers) -> Numbers:
    both = (of > 0) & (towards > 0)
    logs = np.log(np.divide(of, towards, out=np.ones_like(of), where=both))
    return np.asarray((of * logs).sum(axis=-1))


def _disparity(table: Numbers) -> Numbers:
    """table: (..., facet, outcome, group). Of each group the facet's share of rejections less that of acceptances."""
    share = np.divide(
        table[..., D, :, :], table.sum(axis=-3), out=np.zeros(table[..., D, :, :].shape), where=table.sum(axis=-3) > 0
    )
    sizes = table.sum(axis=(-2, -3))
    return divided((sizes * (share[..., 0, :] - share[..., 1, :])).sum(axis=-1), sizes.sum(axis=-1))


class Measure(NamedTuple):
    name: str
    stage: str
    description: str
    compute: Callable[[Counts], Numbers] | None
    """None: of rows, not of counts: see flips.py."""
    fair: float = 0.0
    of_groups: bool = False


def _pre(name: str, description: str, compute: Callable[[Counts], Numbers], *, of_groups: bool = False) -> Measure:
    return Measure(name, PRE_TRAINING, description, compute, 0.0, of_groups)


def _post(
    name: str,
    description: str,
    compute: Callable[[Counts], Numbers] | None,
    fair: float = 0.0,
    *,
    of_groups: bool = False,
) -> Measure:
    return Measure(name, POST_TRAINING, description, compute, fair, of_groups)


MEASURES = (
    _pre("CDDL", "Conditional Demographic Disparity in Labels (CDDL)", label_disparity, of_groups=True),
    _pre("CI", "Class Imbalance (CI)", class_imbalance),
    _pre("DPL", "Difference in Positive Proportions in Labels (DPL)", label_proportions),
    _pre("JS", "Jensen-Shannon Divergence (JS)", jensen_shannon),
    _pre("KL", "Kullback-Liebler Divergence (KL)", kullback_leibler),
    _pre("KS", "Kolmogorov-Smirnov Distance (KS)", kolmogorov_smirnov),
    _pre("LP", "L-p Norm (LP)", lp_norm),
    _pre("TVD", "Total Variation Distance (TVD)", total_variation),
    _post("AD", "Accuracy Difference (AD)", accuracy),
    _post(
        "CDDPL", "Conditional Demographic Disparity in Predicted Labels (CDDPL)", prediction_disparity, of_groups=True
    ),
    _post("DAR", "Difference in Acceptance Rates (DAR)", acceptance_rates),
    _post("DCA", "Difference in Conditional Acceptance (DCA)", conditional_acceptance),
    _post("DCR", "Difference in Conditional Rejection (DCR)", conditional_rejection),
    _post("DI", "Disparate Impact (DI)", disparate_impact, 1.0),
    _post("DPPL", "Difference in Positive Proportions in Predicted Labels (DPPL)", predicted_proportions),
    _post("DRR", "Difference in Rejection Rates (DRR)", rejection_rates),
    _post(FLIP, "Flip Test (FT)", None),
    _post(GENERALIZED_ENTROPY, "Generalized Entropy (GE)", generalized_entropy),
    _post("RD", "Recall Difference (RD)", recall),
    _post("SD", "Specificity Difference (SD)", specificity),
    _post("TE", "Treatment Equality (TE)", treatment_equality),
)
NAMES = {each.name: each for each in MEASURES}


def value(measure: Measure, counts: Counts) -> float:
    """Of one table. Raises Undefined where it says nothing."""
    assert measure.compute is not None, measure.name
    size = counts.size
    if not size[D]:
        raise Undefined("Facet set is empty.")
    if not size[A]:
        raise Undefined("Negative facet set is empty.")
    if measure.of_groups:
        outcomes = (counts.labels if measure.stage == PRE_TRAINING else counts.predictions).sum(axis=-2)
        if not outcomes.all():
            what = "labels" if measure.stage == PRE_TRAINING else "predicted labels"
            raise Undefined(f"No {'positive' if not outcomes[1] else 'negative'} {what} in set")
    return float(measure.compute(counts))
