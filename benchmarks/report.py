"""What is shown and written: each side's figure, koboshi's ratio to it, and the goals."""

from __future__ import annotations

from collections.abc import Iterable

from row import MEASURED, Goal, Row, Unit
from runs import RowResult

_FASTER = {Unit.RATE: "x", Unit.SECONDS: "x as fast", Unit.BYTES: "x the bytes"}


def figure_text(unit: Unit, figure: float) -> str:
    """A figure with its unit, in the size that people read it in."""
    if unit is Unit.RATE:
        return f"{figure:,.0f} /s" if figure >= 100 else f"{figure:,.1f} /s"
    if unit is Unit.BYTES:
        return f"{figure:,.0f} bytes"
    return f"{figure:,.2f} s" if figure >= 1 else f"{figure * 1e6:,.1f} us"


def goal_value(result: RowResult, goal: Goal) -> float | None:
    """What the goal is about, or None when a figure that it needs is missing."""
    own = result.figures.get(MEASURED)
    if own is None or goal.side is None:
        return own
    other = result.figures.get(goal.side)
    return None if other is None else result.row.ratio(own, other)


def _goal_text(row: Row, goal: Goal) -> str:
    if goal.side is None:
        return f"goal {'>=' if row.unit is Unit.RATE else '<='} {figure_text(row.unit, goal.bound)}"
    sign = "<=" if row.unit is Unit.BYTES else ">="
    return f"goal {sign} {goal.bound:g} {_FASTER[row.unit]}"


def _verdict(result: RowResult, side: str | None) -> str:
    texts: list[str] = []
    for goal in result.row.goals:
        if goal.side != side:
            continue
        value = goal_value(result, goal)
        state = "not measured"
        if value is not None:
            state = "reached" if result.row.reached(goal, value) else "NOT reached"
        texts.append(f"{_goal_text(result.row, goal)}: {state}")
    return "; ".join(texts)


def row_lines(result: RowResult) -> Iterable[str]:
    """The lines of one row's table."""
    row = result.row
    yield f"{row.name}: {row.what}"
    own = result.figures.get(MEASURED)
    for side in row.sides:
        if side in result.skipped:
            yield f"  {side:<22} skipped: {result.skipped[side]}"
            continue
        if side in result.failed:
            yield f"  {side:<22} FAILED: {result.failed[side]}"
            continue
        figure = result.figures[side]
        ratio = ""
        if own is not None and side != MEASURED:
            ratio = f"koboshi {row.ratio(own, figure):,.2f} {_FASTER[row.unit]}"
        verdict = _verdict(result, None if side == MEASURED else side)
        variant = result.variants[side]
        name = f"{side} ({variant})" if variant else side
        yield f"  {name:<22} {figure_text(row.unit, figure):>16}   {ratio:<28} {verdict}".rstrip()


def document(results: list[RowResult], machine: dict[str, object]) -> dict[str, object]:
    """The JSON document of a run; its parts are described in README.md."""
    return {
        "rows": {result.row.name: result.figures for result in results},
        "units": {result.row.name: result.row.unit.value for result in results},
        "goals": [_goal(result, goal) for result in results for goal in result.row.goals],
        "failed": {result.row.name: result.failed for result in results if result.failed},
        "skipped": {result.row.name: result.skipped for result in results if result.skipped},
        "rounds": {result.row.name: result.rounds for result in results},
        "machine": machine,
    }


def _goal(result: RowResult, goal: Goal) -> dict[str, object]:
    value = goal_value(result, goal)
    return {
        "row": result.row.name,
        "side": goal.side,
        "bound": goal.bound,
        "value": value,
        "reached": None if value is None else result.row.reached(goal, value),
    }
