"""Where a job finds its inputs, where no variable says so."""

from __future__ import annotations

from pathlib import Path

from kedge.monitoring.container import ROOT, Container, JobFailed


class Places(Container):
    def given(self, variable: str, usual: str) -> Path:
        """What the variable names, or else what lies below /opt/ml at `usual`. Raises JobFailed if it is not there."""
        found = self.path(variable) or self._place(f"{ROOT}/{usual}")
        if not found.exists():
            raise JobFailed(f"{ROOT}/{usual} is not there, and {variable} is not set.")
        return found
