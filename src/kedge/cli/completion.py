"""`kedge completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from kedge.cli.main import commands


@click.command(short_help="Completion for bash, zsh or fish.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script: eval "$(kedge completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(commands, {}, "kedge", "_KEDGE_COMPLETE").source())
