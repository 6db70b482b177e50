"""The `kedge` command and its sub-commands."""

from __future__ import annotations

import importlib

import click

from kedge import __version__
from kedge.cli.failures import Commands

_WHERE = {
    "up": "lifecycle",
    "down": "lifecycle",
    "status": "lifecycle",
    "env": "lifecycle",
    "demo": "demo",
    "deploy": "deploy",
    "invoke": "endpoints",
    "weights": "endpoints",
    "deployment": "deployment",
    "promote": "deployment",
    "rollback": "deployment",
    "history": "deployment",
    "logs": "logs",
    "jobs": "jobs",
    "monitor": "monitor",
    "drift": "drift",
    "metrics": "metrics",
    "shadow": "shadow",
    "experiment": "experiment",
    "label": "label",
    "fault": "fault",
    "delete": "endpoints",
    "doctor": "doctor",
    "completion": "completion",
}
"""Which file of kedge.cli holds which command. A file is imported when its command runs: `kedge up` starts fast."""


class LazyCommands(Commands):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _WHERE:
            return None
        found = getattr(importlib.import_module(f"kedge.cli.{_WHERE[cmd_name]}"), cmd_name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kedge")
def commands() -> None:
    """Serve models behind the SageMaker API on hardware that you own.

    Exit codes: 0 done, 1 failed, 2 used wrongly, 3 no server is running.
    """
