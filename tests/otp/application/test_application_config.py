"""Configuration: defaults below a file below the environment, and errors that say where and what."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import koboshi as kb
from koboshi import otp

PASSWORD = "correct-horse"


class Db(msgspec.Struct, frozen=True, kw_only=True):
    """A table."""

    host: str = "localhost"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    password: otp.Secret | None = None


class Mail(msgspec.Struct, tag="mail", tag_field="kind"):
    """One of two tagged tables."""

    to: str


class Page(msgspec.Struct, tag="page", tag_field="kind"):
    """The other one."""

    number: int


class Window(msgspec.Struct):
    """A table with a check of its own."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is over high")


class Whole(msgspec.Struct):
    """Has it."""

    window: Window


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole."""

    db: Db
    debug: bool = False
    ratio: float = 0.5
    level: Literal["info", "debug"] = "info"
    hosts: list[str] = []
    pair: tuple[int, str] = (1, "a")
    replicas: dict[str, Db] = {}
    mirrors: list[Db] = []
    alarm: Mail | Page | None = None
    note: str | int = ""


def read(text: str = "", folder: Path | None = None, **environ: str) -> Config:
    """Load it from a file with that text, if there is a folder for it, and from variables."""
    file = None
    if folder is not None:
        file = folder / "shop.toml"
        file.write_text(text)
    return otp.load_config(Config, file, env="SHOP", environ=environ)


def test_defaults_are_below_the_file_and_the_file_below_the_environment(tmp_path: Path) -> None:
    text = 'debug = true\nratio = 2\n[db]\nhost = "file"\nport = 1'

    config = read(text, tmp_path, SHOP__DB__PORT="2", SHOP__RATIO="0.25")

    assert Config(db=Db(host="file", port=2), debug=True, ratio=0.25) == config


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("SHOP__DEBUG", "true", "debug", True),
        ("SHOP__DEBUG", "0", "debug", False),
        ("SHOP__LEVEL", "debug", "level", "debug"),
        ("SHOP__HOSTS", '["a", "b"]', "hosts", ["a", "b"]),
        ("SHOP__PAIR", '[2, "b"]', "pair", (2, "b")),
        ("SHOP__REPLICAS__EU__PORT", "7", "replicas", {"eu": Db(port=7)}),
        ("SHOP__REPLICAS", '{"eu": {"port": 7}}', "replicas", {"eu": Db(port=7)}),
        ("SHOP__ALARM", '{"kind": "page", "number": 5}', "alarm", Page(number=5)),
        ("shop__ratio", "3", "ratio", 3.0),
    ],
)
def test_a_variable_is_read_as_its_field_says(variable: str, text: str, field: str, value: object) -> None:
    config = otp.load_config(Config, env="SHOP", environ={"SHOP__DB__PORT": "1", variable: text})

    assert value == getattr(config, field)


def test_a_deeper_variable_adds_to_a_table_from_another_variable() -> None:
    config = read(SHOP__DB__PORT="2", SHOP__DB='{"host": "env", "port": 1}')

    assert Db(host="env", port=2) == config.db


def test_a_table_from_a_variable_replaces_the_files(tmp_path: Path) -> None:
    config = read('[db]\nhost = "file"\nport = 1', tmp_path, SHOP__DB='{"port": 3}')

    assert Db(port=3) == config.db


def test_other_variables_and_without_a_prefix_all_are_left_alone() -> None:
    environ = {"SHOP__DB__PORT": "1", "SHOPPING__X": "1", "SHOP_X": "1", "PATH": "/bin"}

    assert 1 == otp.load_config(Config, env="SHOP", environ=environ).db.port
    with pytest.raises(otp.ConfigError, match=r"^configuration: db: a required field is missing$"):
        otp.load_config(Config, environ=environ)


FILE_ERRORS = [
    ("[db]\nport = 'x'", "db.port", "expected `int`", "'x'"),
    ("[db]\nport = 0", "db.port", "expected `int` >= 1", "0"),
    ("[db]\nport = true", "db.port", "expected `int`", "True"),
    ("db = 3", "db", "expected `object`", "a hidden value of type int"),
    ("debug = 'true'\n[db]\nport = 1", "debug", "expected `bool`", "'true'"),
    ("level = 'loud'\n[db]\nport = 1", "level", "expected one of 'info', 'debug'", "'loud'"),
    ("hosts = ['a', 3]\n[db]\nport = 1", "hosts[1]", "expected `str`", "3"),
    ("pair = [1, 2]\n[db]\nport = 1", "pair[1]", "expected `str`", "2"),
    (
        "[db]\nport = 1\n[[mirrors]]\nport = 1\n[[mirrors]]\nport = 'x'",
        "mirrors[1].port",
        "expected `int`",
        "'x'",
    ),
    ("[db]\nport = 1\n[replicas.a-b]\nport = 'x'", "replicas.a-b.port", "expected `int`", "'x'"),
    ("[db]\nport = 1\n[alarm]\nkind = 'page'\nnumber = 'x'", "alarm.number", "expected `int`", "'x'"),
    ("[db]\nport = 1\n[db.host]\na = 1", "db.host", "expected `str`", "a table"),
    ("[db]\nport = 1\n[[mirrors]]\nhost = 'a'", "mirrors[0].port", "a required field is missing", None),
]


@pytest.mark.parametrize(("text", "path", "expected", "got"), FILE_ERRORS)
def test_an_error_in_the_file_names_file_path_expectation_and_value(
    text: str, path: str, expected: str, got: str | None, tmp_path: Path
) -> None:
    with pytest.raises(otp.ConfigError) as caught:
        read(text, tmp_path)

    error = caught.value
    assert (str(tmp_path / "shop.toml"), path, expected, got) == (
        error.source,
        error.path,
        error.expected,
        error.got,
    )


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"SHOP__DB__PORT": "x"}, "environment variable SHOP__DB__PORT: db.port: expected `int`, got 'x'"),
        (
            {"SHOP__DB": '{"port": "x"}'},
            "environment variable SHOP__DB: db.port: expected `int`, got 'x'",
        ),
        (
            {"SHOP__DB__PORT": "1", "SHOP__HOSTS": "a,b"},
            (
                "environment variable SHOP__HOSTS: hosts: expected `array`, in a variable as JSON such as "
                """["a", "b"], got 'a,b'"""
            ),
        ),
        (
            {"SHOP__DB__PROT": "1"},
            "environment variable SHOP__DB__PROT: db.prot: no such field; did you mean port?",
        ),
        (
            {"SHOP__DEBUG__ON": "1"},
            "environment variable SHOP__DEBUG__ON: debug.on: debug has no fields",
        ),
        (
            {"SHOP__REPLICAS": '{"eu": {"prot": 1}}'},
            "environment variable SHOP__REPLICAS: replicas.eu.prot: no such field; did you mean port?",
        ),
        (
            {"SHOP__DEBUG": "1", "shop__debug": "1"},
            "environment variable shop__debug: debug: expected it once, and SHOP__DEBUG has it too",
        ),
        (
            {"SHOP__DB__HOST": "a"},
            "configuration: db.port: a required field is missing; it may also be set as SHOP__DB__PORT",
        ),
    ],
)
def test_an_error_in_the_environment_names_the_variable(environ: dict[str, str], said: str) -> None:
    with pytest.raises(otp.ConfigError) as caught:
        otp.load_config(Config, env="SHOP", environ=environ)

    assert said == str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("debgu = true", "shop.toml: debgu: no such field; did you mean debug\\?"),
        ("[db]\nport = 1\nprot = 1", "db.prot: no such field; did you mean port\\?"),
        ("[db]\nport = 1\nqqq = 1", "db.qqq: no such field; expected one of host, port, password"),
        ("[[mirrors]]\nhots = 'x'", r"mirrors\[0\].hots: no such field; did you mean host\?"),
        ("[alarm]\nkind = 'mail'\nnumber = 1", "alarm.number: no such field; expected one of kind, to"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(otp.ConfigError, match=said):
        read(text, tmp_path)


def test_a_file_that_is_not_there_and_one_that_is_no_toml_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        otp.ConfigError, match=r"none.toml: expected a file that can be read, got No such file"
    ):
        otp.load_config(Config, tmp_path / "none.toml")
    with pytest.raises(otp.ConfigError, match=r"shop.toml: expected TOML, got .*line 1"):
        read("a = = 1", tmp_path)


def test_a_secret_is_read_and_not_shown(tmp_path: Path) -> None:
    config = read("[db]\nport = 1", tmp_path, SHOP__DB__PASSWORD=PASSWORD)
    secret = config.db.password

    assert secret is not None
    assert PASSWORD == secret.reveal()
    assert PASSWORD not in f"{config!r} {secret} {secret!r} {secret:>20}"
    assert secret == otp.Secret(PASSWORD) == pickle.loads(pickle.dumps(secret))
    assert 1 == len({secret, otp.Secret(PASSWORD)})
    assert secret != otp.Secret("other")
    assert secret != PASSWORD


@pytest.mark.parametrize(
    "text",
    [
        f"[db]\nport = 1\npasswrod = '{PASSWORD}'",
        f"[db]\nport = 1\npassword = ['{PASSWORD}']",
        f"[db]\nport = 1\npassword = {{text = '{PASSWORD}'}}",
        f"db = '{PASSWORD}'",
        f"[db]\npassword = '{PASSWORD}'",
        f"[db]\nport = 1\n[replicas]\neu = '{PASSWORD}'",
        f"debug = {{password = '{PASSWORD}'}}\n[db]\nport = 1",
        f"[db]\nport = 1\npassword = '{PASSWORD}",
    ],
)
def test_an_error_beside_a_secret_does_not_show_it(text: str, tmp_path: Path) -> None:
    with pytest.raises(otp.ConfigError) as caught:
        read(text, tmp_path)

    assert PASSWORD not in f"{caught.value} {caught.value!r} {vars(caught.value)}"


def test_a_variable_with_a_secret_is_not_shown_when_it_is_no_json() -> None:
    with pytest.raises(otp.ConfigError) as caught:
        read(SHOP__DB=f'{{"port": 1, "password": "{PASSWORD}"')

    assert (
        "environment variable SHOP__DB: db: expected `object`, in a variable as JSON such as "
        '{"key": "value"}, got a hidden value of type str' == str(caught.value)
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: otp.load_config(dict), "subclass of msgspec.Struct, got <class 'dict'>"),  # type: ignore[type-var]
        (lambda: otp.load_config(Config, env="my-shop"), "prefix of environment variables.*'my-shop'"),
        (lambda: otp.load_config(Config, env=""), "prefix of environment variables.*''"),
    ],
)
def test_options_of_load_config_are_checked(call: Any, said: str) -> None:
    with pytest.raises(kb.UsageError, match=said):
        call()


def test_what_the_struct_itself_refuses_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text("[window]\nlow = 2\nhigh = 1")
    with pytest.raises(otp.ConfigError, match=r"shop.toml: window: low is over high, got a table"):
        otp.load_config(Whole, file)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["port", "host", "kind", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["DB", "DB__PORT", "DB__PASSWORD", "HOSTS", "PAIR", "REPLICAS", "MIRRORS__0", "ALARM", "NOTE", "RATIO"]
)


@given(
    st.dictionaries(
        NAMES, VALUES.map(lambda value: msgspec.json.encode(value).decode()) | st.text(max_size=9)
    )
)
def test_whatever_the_environment_says_it_is_a_configuration_or_a_config_error(
    given_: dict[str, str],
) -> None:
    environ = {f"SHOP__{name}": text for name, text in given_.items()}
    refused = None
    try:
        config = otp.load_config(Config, env="SHOP", environ=environ)
    except otp.ConfigError as error:
        refused = error
    else:
        assert 1 <= config.db.port <= 65535

    if refused is not None:
        assert refused.source.startswith(("configuration", "environment variable SHOP__"))


def test_a_list_in_a_variable_that_is_no_json_is_told_how_to_write_it() -> None:
    class Hosts(msgspec.Struct):
        hosts: list[str]

    with pytest.raises(otp.ConfigError, match=r'in a variable as JSON such as \["a", "b"\]'):
        otp.load_config(Hosts, env="APP", environ={"APP__HOSTS": "a,b"})
