"""Keys: stable numbers for values that are equal."""

from __future__ import annotations

import subprocess
import sys
from uuid import UUID

import pytest

import koboshi as kb
from koboshi.wire._keys import key_number, message_key


def test_an_integer_is_its_own_number() -> None:
    assert [7, -3, 2**80, 1] == [key_number(key) for key in (7, -3, 2**80, True)]


def test_other_keys_have_the_same_number_in_every_process_whatever_its_hash_seed() -> None:
    code = "from koboshi.wire._keys import key_number as k; print(k('user-7'), k((1, b'x', None)))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }

    assert {f"{key_number('user-7')} {key_number((1, b'x', None))}\n".encode()} == told


def test_the_numbers_stay_what_they_are_from_one_version_to_the_next() -> None:
    assert 10003160136216077119 == key_number("user-7")


def test_keys_that_are_equal_have_one_number_whatever_their_types() -> None:
    assert 1 == len({key_number(key) for key in (1, 1.0, True)})
    assert 1 == len({key_number(key) for key in ((1, "a"), (1.0, "a"), (True, "a"))})


def test_keys_that_differ_have_numbers_that_differ() -> None:
    keys = [
        "1",
        b"1",
        ("1",),
        ("1", ""),
        ("", "1"),
        ("1", None),
        None,
        "",
        (),
        (1,),
        ((1,),),
        UUID(int=1),
        1.5,
        ("1.5",),
    ]

    assert len(keys) == len({key_number(key) for key in keys})


@pytest.mark.parametrize("key", [[1], {}, object, ("a", [1])])
def test_what_has_no_stable_form_is_refused(key: object) -> None:
    with pytest.raises(
        kb.UsageError, match="a key is an int, float, str, bytes, UUID, None or a tuple of these"
    ):
        key_number(key)


def test_the_key_of_a_message_is_made_from_its_arguments_or_is_the_first_of_them() -> None:
    def by_name(first: int, *, name: int) -> int:
        return name

    assert 5 == message_key(by_name, (1,), {"name": 5})
    assert 1 == message_key(None, (1,), {"name": 5})
    assert message_key(None, (), {"name": 5}) is None
