"""Real programs, killed at any moment: what was acknowledged is there, and money is neither made nor lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from tests.durable.changes import delivered

import koboshi as kb

from . import bank_program
from .bank_program import Account

ACCOUNTS = 8


async def start(url: str) -> asyncio.subprocess.Process:
    """The program, once it can be killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, bank_program.__file__, url, str(ACCOUNTS), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert b"up\n" == await process.stdout.readline()
    return process


async def read(process: asyncio.subprocess.Process, acknowledged: dict[str, int], lines: int | None) -> None:
    """Note so many replies that the program has printed; None: all that are left."""
    assert process.stdout is not None
    count = 0
    while (lines is None or count < lines) and (line := await process.stdout.readline()):
        if line.endswith(b"\n"):
            key, done = line.split()
            acknowledged[key.decode()] = max(int(done), acknowledged.get(key.decode(), 0))
            count += 1


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_and_the_sum_is_conserved_over_kills(url: str) -> None:
    acknowledged: dict[str, int] = {}
    chance = random.Random(7)
    for _ in range(6):
        process = await start(url)
        await read(process, acknowledged, chance.randrange(1, 400))
        process.kill()
        await read(process, acknowledged, None)
        await process.wait()

    accounts = bank_program.accounts = kb.durable(Account, store=url)
    async with kb.Supervisor(accounts.child()):
        keys = [f"k{number}" for number in range(ACCOUNTS)]
        await delivered(accounts)
        found = {key: await accounts[key].call(Account.balance) for key in keys}

        assert 1_000 * ACCOUNTS == sum(each.cents for each in found.values())
        assert len(acknowledged) > 0
        assert {key: count for key, count in acknowledged.items() if found[key].done < count} == {}
        assert 0 == accounts.statistics().dead_letters


@pytest.mark.slow
async def test_another_program_waits_for_a_living_owner_and_takes_over_from_a_dead_one_at_once(
    url: str,
) -> None:
    await taken_over_within(3.0, url)


@pytest.mark.slow
async def test_another_program_takes_over_from_a_dead_one_on_postgres_before_its_lease_ends(
    postgres_url: str,
) -> None:
    # Nobody counts as gone within 7 s of the server's start.
    await taken_over_within(13.0, postgres_url)


async def taken_over_within(seconds: float, url: str) -> None:
    """Far below the lease of 15 s: the dead program's lock has gone with it."""
    process = await start(url)
    assert process.stdout is not None
    await process.stdout.readline()
    accounts = bank_program.accounts = kb.durable(Account, store=url)
    async with kb.Supervisor(accounts.child()):
        with pytest.raises(kb.CallTimeout):
            await accounts["k0"].within(0.5).call(Account.balance)
        process.kill()
        await process.communicate()
        began = asyncio.get_running_loop().time()
        await accounts["k0"].within(30.0).call(Account.balance)

        assert asyncio.get_running_loop().time() - began < seconds


@pytest.mark.slow
async def test_a_program_that_sleeps_past_its_lease_and_wakes_writes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    program = tmp_path / "holder.py"
    program.write_text(HOLDER)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert b"1001\n" == await process.stdout.readline()
    os.kill(process.pid, signal.SIGSTOP)
    accounts = bank_program.accounts = kb.durable(Account, store=url, lease=1.0)
    async with kb.Supervisor(accounts.child()):
        await accounts["k0"].call(Account.credit, 10)
        process.stdin.write(b"go\n")
        await process.stdin.drain()
        os.kill(process.pid, signal.SIGCONT)

        # Its turn found another token: it was refused, and its caller told so.
        assert b"Fenced\n" == await process.stdout.readline()
        assert 1_011 == (await accounts["k0"].call(Account.balance)).cents
        process.stdin.close()
        await process.wait()


HOLDER = """
import asyncio, sys
import koboshi as kb
from tests_bank import Account

async def main():
    kind = kb.durable(Account, store=sys.argv[1], lease=1.0)
    async with kb.Supervisor(kind.child()):
        await kind["k0"].call(Account.credit, 1)
        print((await kind["k0"].call(Account.balance)).cents, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        try:
            await kind["k0"].call(Account.credit, 1_000_000)
        except kb.DurableError as error:
            print(type(error).__name__, flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
""".replace(
    "from tests_bank", f"sys.path.insert(0, {str(Path(bank_program.__file__).parent)!r})\nfrom bank_program"
)
