"""How sure a single alert has to be, so that all of a month's together are. PURE.

The probability of any false alert within a month, of any column and in any window, is the budget. It is spent evenly
over time: a window gets the part of the month that it lasts (Lan and DeMets, "Discrete sequential boundaries for
clinical trials", 1983, with a linear spending function, begun anew each month, so monitoring may go on for ever). What
a window gets is divided among its columns, and a column's among its aspects. The sum bounds the error whatever the
tests have to do with one another (Bonferroni): windows that share one baseline, columns that move together.
"""

from __future__ import annotations

from dataclasses import dataclass

MONTH_S = 30 * 86_400.0


@dataclass(frozen=True)
class Budget:
    """error: probability of a false alert in a month, above 0 and below 1.

    alone: the part for windows by themselves; recent: for what only several together show. The rest is not spent: a
    season that was found by chance, and tails that are reckoned nearly, take more than was given to them.
    """

    error: float = 0.01
    alone: float = 0.8
    recent: float = 0.1

    def of_window(self, window_s: float, columns: int) -> tuple[float, float]:
        """What one column may spend in a window of that length: on the window itself, on it with those before it."""
        each = self.error * min(window_s / MONTH_S, 1.0) / max(columns, 1)
        return each * self.alone, each * self.recent
