"""Commands that need another one behind them."""

from __future__ import annotations

import click

__all__ = ["need_command"]


def need_command(context: click.Context) -> None:
    """Raise the error of a group that was called alone: one line that names its commands."""
    group = context.command
    if context.invoked_subcommand is None and isinstance(group, click.Group):
        raise click.UsageError(
            f"a command is missing: {', '.join(sorted(group.commands))}; or --help", context
        )
