"""The `koboshi` command. Thin: each subcommand is a package or module of its own.

Layer 6: uses the public face and the layers below it.
"""

from __future__ import annotations

import sys

import click

from ._db import db
from ._groups import need_command
from .demo import command as demo

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.pass_context
def cli(context: click.Context) -> None:
    """OTP for Python: supervised actors, every core, and work that outlives its workers."""
    need_command(context)


cli.add_command(db)
cli.add_command(demo)


def main() -> None:
    """Run the command line; wrong usage is one line on stderr and status 2."""
    try:
        status = cli.main(prog_name="koboshi", standalone_mode=False)
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "koboshi"
        click.echo(f"{where}: {' '.join(error.format_message().split())}", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)
