from __future__ import annotations

import asyncio

import koboshi as kb


async def test_a_row_of_processes_in_which_each_starts_the_next_does_not_keep_its_dead() -> None:
    last: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()

    async def link_of_chain(left: int) -> None:
        if left:
            kb.spawn(link_of_chain, left - 1)
        else:
            last.set_result(kb.info(kb.me()).ancestors)

    kb.spawn(link_of_chain, 500)
    assert len(await last) <= 2
