"""An actor class's message protocol as plain data, recorded in a file and held against the class."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from .._kernel._actor import Actor
from .._kernel._errors import KoboshiError, UsageError
from ._classes import mark
from ._schema import accepts, shown

# Set by the plugin's --koboshi-record; the variable is for whoever runs without it.
RECORD_VARIABLE = "KOBOSHI_RECORD"

KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "any",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "**",
}


class ProtocolChanged(KoboshiError, AssertionError):
    """An actor class no longer answers what its recorded protocol promises.

    Attributes:
        actor: the class's name.
        path: the file.
        changes: what breaks senders, a line each.
    """

    def __init__(self, actor: str, path: str, changes: tuple[str, ...]) -> None:
        lines = "".join(f"\n  {each}" for each in changes)
        super().__init__(
            f"{actor} is incompatible with its protocol in {path}:{lines}\n"
            "If every sender is changed with it, record it again with pytest --koboshi-record"
        )
        self.actor = actor
        self.path = path
        self.changes = changes


class ProtocolNotRecorded(KoboshiError, AssertionError):
    """There is no file to compare with, or it does not say what the class does by now.

    Attributes:
        actor: the class's name.
        path: the file.
        changes: compatible changes that are not recorded, empty when there is no file.
    """

    def __init__(self, actor: str, path: str, changes: tuple[str, ...]) -> None:
        text = f"the protocol of {actor} is not in {path}"
        if changes:
            text = f"{actor} has compatible changes that {path} does not have:" + "".join(
                f"\n  {each}" for each in changes
            )
        super().__init__(f"{text}\nRecord it with pytest --koboshi-record")
        self.actor = actor
        self.path = path
        self.changes = changes


def protocol(actor: type[Actor]) -> dict[str, Any]:
    """The messages of an actor class: parameters in order with kind, type and default, and the reply.

    Types are JSON schemas where there is one, with the names of classes that look alike in JSON, else
    `{"python": repr}`. Whether a handler is `async` makes
    no difference to senders and is left out.
    """
    given: Any = actor
    if not (isinstance(given, type) and issubclass(given, Actor)):
        raise UsageError(f"protocol takes a subclass of kb.Actor, got {actor!r}")
    methods = {fn.__name__: getattr(actor, fn.__name__) for fn in actor._kb_info.protocol}
    return {
        "actor": actor.__qualname__.rpartition("<locals>.")[2],
        "messages": {name: _message(methods[name]) for name in sorted(methods)},
    }


def _message(fn: Any) -> dict[str, Any]:
    try:
        hints = get_type_hints(fn, include_extras=True)
    except NameError:  # a name that only the type checker sees, or local to a function
        hints = dict(getattr(fn, "__annotations__", {}))
    parameters = [
        {
            "name": each.name,
            "kind": KINDS[each.kind],
            "type": _schema(hints.get(each.name, Any)),
            "default": each.default is not each.empty,
        }
        for each in list(inspect.signature(fn).parameters.values())[1:]
    ]
    return {"parameters": parameters, "returns": _schema(hints.get("return", Any))}


def _schema(hint: Any) -> dict[str, Any]:
    if isinstance(hint, str):
        return {"python": hint}
    try:
        (found,), components = msgspec.json.schema_components([hint], ref_template="#/{name}")
        mark(found, hint, components)
    except (TypeError, NameError, RuntimeError):
        return {"python": hint.__qualname__ if isinstance(hint, type) else repr(hint)}
    return {**found, "definitions": components} if components else found


def check_protocol(actor: type[Actor], path: str | os.PathLike[str], *, record: bool | None = None) -> None:
    """Compare the protocol of an actor class with a recorded one.

    Args:
        actor: the class.
        path: a JSON file, one for each class.
        record: write the file instead; None does so under --koboshi-record.

    Raises:
        ProtocolChanged: a message that senders may use is gone or takes less, or a reply can be more.
        ProtocolNotRecorded: there is no file, or a compatible change is not in it.
        UsageError: the file holds something else.
    """
    now = protocol(actor)
    file = Path(path)
    if record if record is not None else bool(os.environ.get(RECORD_VARIABLE)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(now, indent=2, sort_keys=True) + "\n")
        return
    if not file.exists():
        raise ProtocolNotRecorded(now["actor"], str(file), ())
    then = _read(file)
    breaking, other = compare(then, now)
    if breaking:
        raise ProtocolChanged(now["actor"], str(file), tuple(breaking))
    if then != now:
        raise ProtocolNotRecorded(now["actor"], str(file), tuple(other) or ("described otherwise",))


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
        messages = found["messages"]
        for each in messages.values():
            _ = each["returns"], [(p["name"], p["kind"], p["type"], p["default"]) for p in each["parameters"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} holds no recorded protocol: {error!r}") from error
    return dict(found)


def compare(then: dict[str, Any], now: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What breaks senders that were written against `then`, and what else is different."""
    breaking: list[str] = []
    other: list[str] = []
    before, after = then["messages"], now["messages"]
    for name in sorted({*before, *after}):
        if name not in after:
            breaking.append(f"- {name}: the message is gone")
        elif name not in before:
            other.append(f"+ {name}: a new message")
        else:
            bad, fine = _compare_message(before[name], after[name])
            breaking += [f"~ {name}: {each}" for each in bad]
            other += [f"~ {name}: {each}" for each in fine]
    return breaking, other


def _compare_message(then: dict[str, Any], now: dict[str, Any]) -> tuple[list[str], list[str]]:
    bad, fine = _compare_parameters(then["parameters"], now["parameters"])
    old, new = then["returns"], now["returns"]
    if old != new:
        text = f"returns {shown(new)}, was {shown(old)}"
        (fine if accepts(old, new) else bad).append(text)
    return bad, fine


def _compare_parameters(then: list[dict[str, Any]], now: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    bad: list[str] = []
    now, fine = _under_old_names(then, now)
    new = {each["name"]: each for each in now}
    old = {each["name"]: each for each in then}
    for name, was in old.items():
        if name not in new:
            bad.append(f"parameter {name} is gone")
            continue
        at = new[name]
        if was["kind"] != at["kind"]:
            wider = at["kind"] == "any" and was["kind"] in ("positional", "keyword")
            (fine if wider else bad).append(f"parameter {name} is {at['kind']}, was {was['kind']}")
        if was["default"] and not at["default"]:
            bad.append(f"parameter {name} has lost its default")
        elif at["default"] and not was["default"]:
            fine.append(f"parameter {name} has a default now")
        if was["type"] != at["type"]:
            text = f"parameter {name} takes {shown(at['type'])}, was {shown(was['type'])}"
            (fine if accepts(at["type"], was["type"]) else bad).append(text)
    other = next((each for each in then if each["kind"] == "**"), None)
    for name, at in new.items():
        if name not in old:
            needed = not at["default"] and at["kind"] not in ("*", "**")
            taken = other is not None and at["kind"] in ("any", "keyword")
            if needed:
                bad.append(f"parameter {name} is new, without default")
            elif other is not None and taken and not accepts(at["type"], other["type"]):
                bad.append(f"parameter {name} is new and takes less than {other['name']} did")
            else:
                fine.append(f"parameter {name} is new")
    if _places(then, then) != _places(now, then):
        bad.append("positional parameters have another order")
    return bad, fine


def _under_old_names(
    then: list[dict[str, Any]], now: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """`now` with the old names of parameters whose names no sender writes, and which those are."""
    old, new = ({each["name"] for each in of} for of in (then, now))
    found: list[dict[str, Any]] = []
    renamed: list[str] = []
    for place, at in enumerate(now):
        if at["kind"] in ("*", "**"):
            was = next((each for each in then if each["kind"] == at["kind"]), None)
        else:
            was = then[place] if place < len(then) and then[place]["kind"] == "positional" else None
        if was is not None and at["name"] not in old and was["name"] not in new:
            renamed.append(f"parameter {was['name']} is called {at['name']} now")
            at = {**at, "name": was["name"]}
        found.append(at)
    return found, renamed


def _places(of: list[dict[str, Any]], senders: list[dict[str, Any]]) -> list[str]:
    """The names in the places that senders of old fill by position."""
    count = sum(each["kind"] in ("positional", "any") for each in senders)
    places = [each["name"] for each in of if each["kind"] in ("positional", "any")]
    # What came after the last of them went into `*`, if there was one.
    return places if any(each["kind"] == "*" for each in senders) else places[:count]
