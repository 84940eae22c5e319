"""What is wrong with a configuration: where, what was expected there, what came."""

from __future__ import annotations

from ..._kernel._errors import KoboshiError


class ConfigError(KoboshiError):
    """A configuration does not fit its struct.

    Attributes:
        source: the file or the environment variable, as text.
        path: where in the struct, such as `db.port`; empty for the whole.
        expected: what would have been right.
        got: what came, None when nothing did; never what may be a secret.
    """

    def __init__(self, source: str, path: str, expected: str, got: str | None = None) -> None:
        where = f"{source}: {path}" if path else source
        super().__init__(f"{where}: {expected}" + ("" if got is None else f", got {got}"))
        self.source = source
        self.path = path
        self.expected = expected
        self.got = got
