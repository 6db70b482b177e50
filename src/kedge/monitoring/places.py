"""Where a job finds its inputs and leaves its output, where no variable says so."""

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

    def output(self) -> Path:
        """The folder of what the job leaves, which is there from now on."""
        folder = self._place(self.environment.get("output_path") or f"{ROOT}/processing/output")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write_bytes(self, name: str, content: bytes) -> None:
        """A file of the output, which appears whole. name: may lie in a folder."""
        file = self.output() / name
        file.parent.mkdir(parents=True, exist_ok=True)
        begun = file.with_name(f".{file.name}")
        begun.write_bytes(content)
        begun.replace(file)
