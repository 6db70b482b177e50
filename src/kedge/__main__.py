"""`kedge`, also as `python -m kedge`."""

from __future__ import annotations


def main() -> None:
    from kedge.cli.main import commands

    commands(prog_name="kedge")


if __name__ == "__main__":
    main()
