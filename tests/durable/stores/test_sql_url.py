"""URLs of servers: what they may say, and that no password is ever shown."""

from __future__ import annotations

import subprocess
import sys

import pytest

import koboshi as kb
from koboshi.durable._failures import ExtraNeeded
from koboshi.durable.stores import check_url, engine_of
from koboshi.durable.stores._sql_url import SERVERS, check_extra, parse_url, shown

URL = "postgresql+asyncpg://ann:s3cret@db.example:5433/shop?ssl=require&password=s3cret"


def test_a_url_is_shown_without_password_and_options() -> None:
    found = parse_url(URL)

    assert "postgresql+asyncpg://ann:***@db.example:5433/shop" == found.shown
    assert "s3cret" not in repr(found)
    assert "s3cret" not in repr(engine_of(URL)) + engine_of(URL).url


@pytest.mark.parametrize(
    "url",
    [
        "postgres://ann:s3cret@host/db",
        "postgresql://ann:s3@cret@host/db",
        "postgresql+psycopg://ann:s3cret@host/db",
        "postgresql://ann:s3cret@host/db?statement_timeout=s3cret&connect_timeout=-1",
        "oracle://ann:s3cret@host/db",
        "postgresql://host/db?password=s3cret@x&statement_timeout=0",
        "sqlite://ann:s3cret@host",
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_its_password(url: str) -> None:
    with pytest.raises(kb.UsageError) as caught:
        check_url(url)

    assert "cret@" not in str(caught.value)
    assert "s3cret@" not in str(caught.value)


def test_what_is_no_url_is_told_every_store_there_is() -> None:
    with pytest.raises(kb.UsageError, match=r"^store 'shop\.db' is no URL of a store") as caught:
        check_url("shop.db")

    every = {"sqlite:///PATH", "memory://NAME", *(f"{family}://..." for family in SERVERS)}
    assert every == set(str(caught.value).partition("known are ")[2].split(", "))


def test_the_driver_may_be_left_out_and_our_options_stay_with_us() -> None:
    found = parse_url("mariadb://host/db?statement_timeout=2.5&connect_timeout=1&unix_socket=/tmp/x")

    assert "mariadb+asyncmy://host/db?unix_socket=%2Ftmp%2Fx" == found.address
    assert (1.0, 2.5) == (found.connect_timeout, found.statement_timeout)


def test_a_text_that_is_no_url_is_shown_as_it_is() -> None:
    assert "nonsense" == shown("nonsense")


def test_a_missing_extra_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(ExtraNeeded, match=r'pip install "koboshi\[mssql\]"'):
        check_extra(parse_url("mssql://sa:s3cret@host/db"))


@pytest.mark.slow
def test_sqlalchemy_is_loaded_only_for_a_server() -> None:
    program = (
        "import sys; from koboshi.durable.stores import check_url, engine_of\n"
        "engine_of('sqlite:///x.db'); check_url('postgresql://host/db'); assert 'sqlalchemy' not in sys.modules\n"
        "engine_of('postgresql://host/db'); assert 'sqlalchemy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
