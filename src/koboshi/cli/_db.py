"""`koboshi db`: look at the tables of a store, and bring them up to date."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

from .._kernel._errors import KoboshiError
from ..durable.stores import StoreReport, check_store, migrate_store
from ._groups import need_command

__all__ = ["db"]

T = TypeVar("T")


@click.group(invoke_without_command=True)
@click.pass_context
def db(context: click.Context) -> None:
    """Look after the tables of a store: sqlite:///PATH, postgresql+asyncpg://..., mysql+asyncmy://..."""
    need_command(context)


@db.command()
@click.argument("url")
def migrate(url: str) -> None:
    """Make the tables at URL, or bring older ones up to date."""
    before = _done(migrate_store(url))
    report = _done(check_store(url))
    if before == report.needed:
        click.echo(f"{report.url}: already of version {report.needed}")
    elif not before:
        click.echo(f"{report.url}: made the tables, of version {report.needed}")
    else:
        click.echo(f"{report.url}: brought from version {before} to {report.needed}")


@db.command()
@click.argument("url")
def check(url: str) -> None:
    """Say the version of the tables at URL, what is missing, and how many rows each has; changes nothing.

    The status is 1 when this koboshi cannot use them as they are.
    """
    report = _done(check_store(url))
    for line in _lines(report):
        click.echo(line)
    if not report.usable:
        sys.exit(1)


def _lines(report: StoreReport) -> list[str]:
    if not report.version:
        makes = "the first program that uses it makes them, or: koboshi db migrate URL"
        return [f"store: {report.url}", f"empty: the database has no tables of koboshi; {makes}"]
    advice = ""
    if report.version < report.needed:
        advice = "; bring them up to date with: koboshi db migrate URL"
    elif report.version > report.needed:
        advice = "; use the newer koboshi that wrote them"
    return [
        f"store: {report.url}",
        f"version: {report.version}, needed: {report.needed}{advice}",
        f"missing: {', '.join(report.missing) or 'nothing'}",
        *(f"{name}: {count}" for name, count in report.counts.items()),
    ]


def _done(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except KoboshiError as error:
        raise click.ClickException(str(error)) from error
