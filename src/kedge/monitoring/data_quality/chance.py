"""Is a share larger than the baseline's by more than chance? Without knowing what the share really is. PURE.

A baseline of 20,000 rows, 2 % of them without a value, says "at least 98 % present" of a column that misses that in
every second window. So what the baseline itself measured is taken for what it is: a sample, as the window is another.
"""

from __future__ import annotations

import math

LEVEL = 1e-8
"""Of one check: of 50 columns, checked every hour, one month in 1,000 has a false one at most."""


def exceeds(seen: float, rows: float, before: float, rows_before: float, level: float = LEVEL) -> bool:
    """Whether `seen` of `rows` are more than `before` of `rows_before`, both above 0, with a p-value up to `level`.

    Where all rows come from one population, those of either are drawn from both together without replacement. Source:
    Hoeffding, "Probability inequalities for sums of bounded random variables", 1963, whose bound on the tail holds for
    such draws (section 6): exp(-rows KL), in which KL is the divergence of their share from that of both.
    """
    together = (seen + before) / (rows + rows_before)
    share, earlier = seen / rows, before / rows_before
    if share <= together:
        return False
    return max(rows * _divergence(share, together), rows_before * _divergence(earlier, together)) >= -math.log(level)


def _divergence(share: float, of: float) -> float:
    """Of two that come out with these probabilities, in nats. of: above 0; it is 1 only where the share is."""
    found = share * math.log(share / of) if share else 0.0
    return found + ((1 - share) * math.log((1 - share) / (1 - of)) if share < 1 else 0.0)
