"""`load_config`: one checked struct from a TOML file and the environment.

Values are checked from the inside out, each with the type of its own field, so that an error knows its
place, its source and what came. The struct as a whole is made last.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from ..._kernel._errors import UsageError
from ._config_errors import ConfigError
from ._config_types import (
    choices,
    fields_of,
    has_text,
    inner_of_table,
    is_secret,
    is_struct,
    is_table,
    members,
    parts,
    required_of,
    table_of,
)
from ._secret import Secret

_VARIABLE = "environment variable "

C = TypeVar("C", bound=msgspec.Struct)
Place = tuple[str | int, ...]


def load_config(
    kind: type[C],
    file: str | Path | None = None,
    *,
    env: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> C:
    """Read a configuration: defaults of the struct, below a TOML file, below the environment.

    Args:
        kind: a subclass of `msgspec.Struct`; fields that are structs are the file's tables.
        file: the TOML file, which must be there; None, the default, for none.
        env: prefix of environment variables: with "SHOP", `SHOP__DB__PORT` is the field `port` of `db`.
            None, the default, for none.
        environ: the environment, `os.environ` by default.

    Raises:
        ConfigError: something does not fit; it names file or variable, field, what was expected and what
            came. Unknown names are refused.
    """
    given: object = kind
    if not is_struct(given):
        raise UsageError(f"load_config takes a subclass of msgspec.Struct, got {given!r}")
    if env is not None and not re.fullmatch(r"[A-Za-z]\w*", env):
        raise UsageError(f'env takes the prefix of environment variables, such as "SHOP", got {env!r}')
    name = "configuration" if file is None else str(file)
    sources = Sources(name, env)
    values = {} if file is None else _read(Path(file))
    _refuse_unknown(kind, values, (), sources)
    if env is not None:
        _merge_environment(kind, values, env, os.environ if environ is None else environ, sources)
    _check(kind, values, (), sources)
    return cast("C", _convert(values, kind, (), sources))


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(file), "", "expected a file that can be read", error.strerror) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # The error's own text names line and column and shows nothing of the file.
        raise ConfigError(str(file), "", "expected TOML", str(error)) from None


class Sources:
    """Where each value came from."""

    def __init__(self, whole: str, prefix: str | None) -> None:
        self._prefix = prefix
        # A place has the source of the nearest one above it that is here; the whole always is.
        self._by_place: dict[Place, str] = {(): whole}

    def put(self, place: Place, source: str) -> None:
        """A value was put at `place`; what was there or below came from elsewhere and is gone."""
        for old in [each for each in self._by_place if each[: len(place)] == place]:
            del self._by_place[old]
        self._by_place[place] = source

    def of(self, place: Place) -> str:
        """The file or variable that a value came from."""
        lengths = range(len(place), -1, -1)
        return next(self._by_place[place[:n]] for n in lengths if place[:n] in self._by_place)

    def how_to_set(self, place: Place) -> str:
        """What to say of a required field that is not there."""
        said = "a required field is missing"
        if self._prefix is None or not all(isinstance(each, str) for each in place):
            return said
        return f"{said}; it may also be set as {'__'.join((self._prefix, *map(str, place))).upper()}"


# -- the environment -----------------------------------------------------------------------------------


def _merge_environment(
    kind: Any, values: dict[str, Any], prefix: str, environ: Mapping[str, str], sources: Sources
) -> None:
    """Put variables over what the file said: short names first, so that a deeper one adds to them."""
    start = f"{prefix}__".upper()
    ours = [name for name in environ if name.upper().startswith(start)]
    taken: dict[Place, str] = {}
    for name in sorted(ours, key=lambda each: (each.count("__"), each)):
        source = f"{_VARIABLE}{name}"
        place, field = _find(kind, name[len(start) :].split("__"), source)
        if place in taken:
            raise ConfigError(source, dotted(place), f"expected it once, and {taken[place]} has it too")
        taken[place] = name
        value = _from_text(environ[name], field)
        sources.put(place, source)
        _refuse_unknown(field, value, place, sources)
        table = values
        for key in place[:-1]:
            inner = table.get(cast("str", key))
            if not isinstance(inner, dict):
                inner = table[cast("str", key)] = {}
            table = cast("dict[str, Any]", inner)
        table[cast("str", place[-1])] = value


def _find(kind: Any, words: list[str], source: str) -> tuple[Place, Any]:
    """Where a variable belongs, and the type there."""
    place: Place = ()
    for word in words:
        known = fields_of(kind)
        if known is None:
            if not is_table(kind):
                raise ConfigError(source, dotted((*place, word.lower())), f"{dotted(place)} has no fields")
            key, kind = word.lower(), inner_of_table(kind)
        else:
            match = next((each for each in known if each.lower() == word.lower()), None)
            if match is None:
                raise _unknown(word.lower(), known, place, source)
            key, kind = match, known[match]
        place = (*place, key)
    return place, kind


def _from_text(text: str, kind: Any) -> Any:
    """The value that a variable's text stands for; the text itself where it stands for none.

    What has keys or items is written as JSON. A text that does not fit is left for the check to refuse.
    """
    if Secret in members(kind):
        return text
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        if has_text(kind):
            return text
    try:
        return json.loads(text)
    except ValueError:
        return text


# -- checks --------------------------------------------------------------------------------------------


def _refuse_unknown(kind: Any, value: object, place: Place, sources: Sources) -> None:
    """Refuse keys that no field has, at any depth."""
    known = fields_of(kind, value)
    for key in table_of(value) or ():
        if known is not None and key not in known:
            raise _unknown(key, known, place, sources.of(place))
    for part, inner, each in parts(kind, value):
        _refuse_unknown(inner, each, (*place, part), sources)


def _unknown(key: str, known: Mapping[str, Any], place: Place, source: str) -> ConfigError:
    near = difflib.get_close_matches(key, known, n=1)
    there_are = f"expected one of {', '.join(known)}" if known else "expected no fields"
    hint = f"no such field; did you mean {near[0]}?" if near else f"no such field; {there_are}"
    return ConfigError(source, dotted((*place, key)), hint)


def _check(kind: Any, value: object, place: Place, sources: Sources) -> None:
    """Check a value from the inside out, so that the error is the innermost one."""
    table = table_of(value)
    for name in required_of(kind, value):
        if table is not None and name not in table:
            missing = (*place, name)
            raise ConfigError(sources.of(place), dotted(missing), sources.how_to_set(missing))
    for key, inner, each in parts(kind, value):
        _check(inner, each, (*place, key), sources)
    if place:
        _convert(value, kind, place, sources)


def _convert(value: object, kind: Any, place: Place, sources: Sources) -> Any:
    try:
        return msgspec.convert(value, kind, dec_hook=_secret)
    except msgspec.ValidationError as error:
        # "Expected `int`, got `str` - at `$.port`": what came is said better here.
        said = str(error).partition(" - at ")[0]
        expected, _, _ = said.partition(", got ")
        expected = expected[:1].lower() + expected[1:]
        if allowed := choices(kind):
            expected = f"expected one of {', '.join(map(repr, allowed))}"
        source = sources.of(place)
        if isinstance(value, str) and not has_text(kind) and source.startswith(_VARIABLE):
            expected += _as_json(said)
        raise ConfigError(source, dotted(place), expected, _shown(value, kind)) from None


def _as_json(said: str) -> str:
    """How a variable's text that stands for no such value is written; nothing where it is obvious."""
    for kind, example in (("`array`", '["a", "b"]'), ("`object`", '{"key": "value"}')):
        if said.startswith(f"Expected {kind}"):
            return f", in a variable as JSON such as {example}"
    return ""


def _secret(kind: type, value: object) -> object:
    if kind is not Secret:
        raise NotImplementedError(f"a configuration cannot have a field of type {kind!r}")
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise TypeError("Expected `str`")
    return Secret(value)


def _shown(value: object, kind: Any) -> str:
    """What came, as far as it may be shown: what has parts may have a secret among them."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    return f"a hidden value of type {type(value).__name__}" if is_secret(kind) else repr(value)


def dotted(place: Place) -> str:
    """`("db", "hosts", 0)` as `db.hosts[0]`."""
    text = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in place)
    return text.removeprefix(".")
