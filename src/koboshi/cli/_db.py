"""`koboshi db`: look at the tables of a store, and bring them up to date."""

from __future__ import annotations

import asyncio
import json
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
@click.option("--json", "as_json", is_flag=True, help="Print it as one JSON object.")
def check(url: str, as_json: bool) -> None:
    """Say what is at URL: the version of the tables, what is missing and how many rows each has, tasks by queue and
    state, messages that could not be handled, and which keys seal the data keys of actors. Changes nothing.

    The status is 1 when this koboshi cannot use the tables as they are.
    """
    report = _done(check_store(url))
    if as_json:
        click.echo(json.dumps({**report._asdict(), "usable": report.usable}))
    else:
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
        *(f"tasks of {queue}: {_listed(states)}" for queue, states in report.tasks.items()),
        *(f"dead letters of {kind}: {count}" for kind, count in report.dead_letters.items()),
        *([f"data keys sealed with: {_listed(report.data_keys)}"] if report.data_keys else []),
    ]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _done(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except KoboshiError as error:
        raise click.ClickException(str(error)) from error
