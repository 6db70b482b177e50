"""Does a window of data meet its baseline? The checks of SageMaker's data quality monitor. PURE.

For data types and domains a threshold is the least share of values that match, as the analyzer does it, whatever its
documentation says. Texts are those seen in its files; ours follow, which name columns and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kedge.monitoring.data_quality import chance, distances
from kedge.monitoring.data_quality.constraints import CHI_SQUARED, ROBUST, Constraint, Constraints, Settings
from kedge.monitoring.data_quality.statistics_file import Feature, Statistics
from kedge.monitoring.profiles import kinds
from kedge.monitoring.profiles.tally import text_of

if TYPE_CHECKING:
    from kedge.monitoring.profiles.column import Column
    from kedge.monitoring.profiles.profile import Profile
    from kedge.monitoring.reading.pieces import Notes

DATA_TYPE, COMPLETENESS, DRIFT = "data_type_check", "completeness_check", "baseline_drift_check"
MISSING, EXTRA, CATEGORICAL = "missing_column_check", "extra_column_check", "categorical_values_check"
UNREADABLE = "unreadable_records_check"
"""Ours: what nothing could read is in no other check."""
_MOST_NAMED = 20
_LONGEST_NAMED = 100


class Violation(NamedTuple):
    feature_name: str
    constraint_check_type: str
    description: str


class Drift(NamedTuple):
    """How far one column is from its baseline. plain: before what chance explains was taken off.

    value: a distance, whose large values drift; of chi squared by Robust a p-value, whose small values do.
    """

    value: float
    threshold: float
    method: str
    plain: float
    is_p_value: bool = False

    @property
    def exceeds(self) -> bool:
        return self.value < self.threshold if self.is_p_value else self.value > self.threshold


@dataclass
class Judgement:
    violations: list[Violation] = field(default_factory=list)
    drifts: dict[str, Drift] = field(default_factory=dict)
    """By column; those alone that could be compared."""


def judged(
    profile: Profile,
    constraints: Constraints,
    baseline: Statistics | None,
    ours: Mapping[str, str] | None = None,
    notes: Notes | None = None,
) -> Judgement:
    """profile: of at least one row. ours: of each column that the default rule judged, what it says if it alerts, else
    nothing; None: AWS's rule alone counts. So it does for a column where somebody chose it, or a distance of AWS's.
    notes: of what was left out; None: no check of ours asks for it.
    """
    found = Judgement()
    if constraints.settings.evaluate:
        found.violations += _columns(profile, constraints)
        if notes is not None and not constraints.settings.strict_aws:
            found.violations += _unreadable(profile.rows, notes, constraints.settings.most_unreadable)
    for name, constraint in constraints.features.items():
        column = profile.columns.get(name)
        if column is None:
            continue
        settings = constraint.settings
        feature = baseline.features.get(name) if baseline else None
        drift = drift_of(column, feature, settings) if feature and settings.compare else None
        if drift is not None:
            found.drifts[name] = drift
        if settings.evaluate:
            measured = feature if ours is not None and not settings.strict_aws else None
            found.violations += _of_column(name, column, constraint, profile.rows, measured)
            found.violations += _drifted(name, settings, feature, drift, ours or {})
    return found


def _drifted(
    name: str, settings: Settings, feature: Feature | None, drift: Drift | None, ours: Mapping[str, str]
) -> Iterable[Violation]:
    if feature is None or not settings.compare:
        return
    numeric = feature.sketch is not None
    if name in ours and not settings.strict_aws and not settings.asks_for_a_distance(numeric=numeric):
        if ours[name]:
            yield Violation(name, DRIFT, ours[name])
    elif drift is not None and drift.exceeds:
        way = "p-value" if drift.is_p_value else "distance"
        yield Violation(
            name,
            DRIFT,
            f"Baseline drift {way}: {drift.value} {'is below' if drift.is_p_value else 'exceeds'} threshold: "
            f"{drift.threshold}",
        )


def _of_column(
    name: str, column: Column, constraint: Constraint, rows: int, measured: Feature | None
) -> Iterable[Violation]:
    """measured: the column in the baseline, if what was suggested of it may be missed by as much as chance does."""
    settings, expected = constraint.settings, constraint.inferred_type
    match = column.kinds.share_of(expected)
    if match < settings.datatype_threshold:
        yield Violation(
            name,
            DATA_TYPE,
            f"Data type match requirement is not met. Expected data type: {expected}, Expected match: "
            f"{settings.datatype_threshold * 100}%. Observed: Only {match * 100}% of data is {expected}.",
        )
    completeness = column.present / rows
    short = constraint.completeness is not None and completeness < constraint.completeness
    if short and not (measured and _misses_by_chance(column, constraint, rows, measured)):
        yield Violation(
            name,
            COMPLETENESS,
            f"Value: {completeness} does not meet the constraint requirement! Expected a share of present values of at "
            f"least {constraint.completeness}.",
        )
    if constraint.domain is not None and column.present:
        share, unknown = within(column, constraint.domain)
        if share < settings.domain_threshold and not (measured and _is_rare(column, share, constraint, measured)):
            yield Violation(
                name,
                CATEGORICAL,
                f"Value: {share} does not meet the constraint requirement! Expected a share of values of the baseline "
                f"of at least {settings.domain_threshold}. New values: {_named(unknown)}.",
            )


def _misses_by_chance(column: Column, constraint: Constraint, rows: int, measured: Feature) -> bool:
    """A column that never lacked a value, or of which somebody asks another share, has to have it."""
    before = measured.present + measured.missing
    if not measured.missing or not before or constraint.completeness != measured.present / before:
        return False
    return not chance.exceeds(rows - column.present, rows, measured.missing, before)


def _is_rare(column: Column, share: float, constraint: Constraint, measured: Feature) -> bool:
    """Whether values that are new are as frequent as in the baseline those were which it has but once.

    Source: Good, "The population frequencies of species and the estimation of population parameters", 1953, after
    Turing: so probable is it that the next value is new. Where somebody says which values there are, none is.
    """
    values = measured.values or {}
    once = sum(count == 1 for count in values.values())
    if not once or constraint.domain != frozenset(values) or constraint.settings.domain_threshold != 1:
        return False
    return not chance.exceeds((1 - share) * column.present, column.present, once, measured.present)


def _unreadable(rows: int, notes: Notes, most: float) -> Iterable[Violation]:
    """rows: those that were read. A record that is left out counts as one row."""
    share = notes.left_out / (rows + notes.left_out)
    if share > most:
        yield Violation(
            "Unreadable records",
            UNREADABLE,
            f"{notes.left_out} of {rows + notes.left_out} records could not be read ({share:.1%}; {most:.1%} may be). "
            f"No other check has seen them. The most frequent reason: {notes.told()}.",
        )


def _columns(profile: Profile, constraints: Constraints) -> Iterable[Violation]:
    missing = [name for name in constraints.features if name not in profile.columns]
    extra = [name for name in profile.columns if name not in constraints.features]
    sizes = (
        f"Number of columns in current dataset: {len(profile.columns)}, Number of columns in baseline constraints: "
        f"{len(constraints.features)}."
    )
    if missing:
        stranger = len(missing) == len(constraints.features)
        yield Violation(
            "Missing columns",
            MISSING,
            f"There are missing columns in current dataset. {sizes} Missing: {_named(missing)}."
            + (" None of the baseline's columns is there: is it the baseline of another model?" if stranger else ""),
        )
    if extra:
        yield Violation(
            "Extra columns",
            EXTRA,
            f"There are extra columns in current dataset. {sizes} Extra: {_named(extra)}.",
        )


def within(column: Column, domain: frozenset[str]) -> tuple[float, list[str]]:
    """(share of the present values that the domain has, the most frequent ones that it has not)."""
    inside = sum(count for key, count in column.tally.counts.items() if text_of(key) in domain)
    unknown = [text_of(key) for key, _ in column.tally.top(len(domain) + _MOST_NAMED) if text_of(key) not in domain]
    return inside / column.present, unknown


def drift_of(column: Column, baseline: Feature, settings: Settings) -> Drift | None:
    """None where one of the two has no values, or they are of different kinds."""
    if baseline.sketch is not None:
        n, m = column.sketch.count, baseline.sketch.count
        if not n or not m or column.kinds.inferred() not in kinds.NUMERIC:
            return None
        plain = distances.of_numbers(baseline.sketch, column.sketch)
        value = distances.robust(plain, n, m) if settings.method == ROBUST else plain
        return Drift(value, settings.threshold, settings.method, plain)
    if not baseline.values or not column.present or baseline.inferred_type != kinds.STRING:
        return None
    current = {text_of(key): float(count) for key, count in column.tally.counts.items()}
    if settings.categorical_method == CHI_SQUARED:
        return _chi_squared(baseline, current, settings)
    present, known = float(column.present), float(baseline.present) or sum(baseline.values.values())
    # A file holds the most frequent values alone, so where it may lack some, those alone are compared.
    whole = sum(baseline.values.values()) >= known
    compared = current if whole else {key: current.get(key, 0.0) for key in baseline.values}
    plain = distances.of_shares(baseline.values, compared, present, known)
    value = distances.robust(plain, present, known) if settings.method == ROBUST else plain
    return Drift(value, settings.categorical_threshold, settings.method, plain)


def _chi_squared(baseline: Feature, current: dict[str, float], settings: Settings) -> Drift | None:
    found = distances.chi_squared(baseline.values or {}, current)
    if found is None:
        return None
    tested = settings.method == ROBUST
    value = found.p_value if tested else found.statistic
    return Drift(value, settings.categorical_threshold, CHI_SQUARED, found.statistic, tested)


def _named(names: list[str]) -> str:
    shown = ", ".join(repr(_shortened(name)) for name in names[:_MOST_NAMED])
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown or "none kept"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_NAMED else f"{text[:_LONGEST_NAMED]}..."
