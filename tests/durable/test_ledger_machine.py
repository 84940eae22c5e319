"""Random sequences of operations, crashes of the program and passing time, against a model in memory."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from koboshi.durable import Backoff, Claim, Counts, Ledger, StaleClaim

MAX_ATTEMPTS = 3
IDS = st.sampled_from([f"job-{number}" for number in range(8)])
OWNERS = st.sampled_from(["w-1", "w-2", "w-10"])
SECONDS = st.sampled_from([1.0, 5.0, 10.0, 30.0])


@dataclass
class Modelled:
    """What the model knows of one job."""

    number: int
    payload: bytes
    due: float
    state: str = "pending"
    attempts: int = 0
    owner: str = ""
    run: int = 0
    holder: bytes | None = None
    value: bytes | None = None


@dataclass
class Model:
    jobs: dict[str, Modelled] = field(default_factory=dict)
    results: list[tuple[str, bytes]] = field(default_factory=list)
    run: int = 1

    def expire(self, now: float) -> None:
        for job in self.jobs.values():
            if job.state == "claimed" and job.due <= now:
                self.take_back(job)

    def take_back(self, job: Modelled) -> None:
        job.state = "dead" if job.attempts >= MAX_ATTEMPTS else "pending"
        job.holder = None

    def held(self, claim: Claim) -> Modelled | None:
        job = self.jobs[claim.id]
        return job if job.state == "claimed" and job.holder == claim.token else None

    def counts(self) -> Counts:
        states = [job.state for job in self.jobs.values()]
        return Counts(**{state: states.count(state) for state in ("pending", "claimed", "done", "dead")})


class LedgerMachine(RuleBasedStateMachine):
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="koboshi-ledger-")
        self.runner = asyncio.Runner()
        self.now = 1000.0
        self.model = Model()
        self.ledger = self.new()

    def new(self) -> Ledger:
        return Ledger(
            os.path.join(self.folder, "jobs.db"),
            max_attempts=MAX_ATTEMPTS,
            backoff=Backoff(first=4.0, factor=3.0, limit=10.0),
            clock=lambda: self.now,
            randomness=random.Random(len(self.folder) + self.model.run),
        )

    @initialize()
    def start(self) -> None:
        self.runner.run(self.ledger.open())

    def teardown(self) -> None:
        self.runner.run(self.ledger.close())
        self.runner.close()
        left = os.listdir(self.folder)
        shutil.rmtree(self.folder)
        assert left in ([], ["jobs.db"])

    @rule(ids=st.lists(IDS, min_size=1, max_size=4), payload=st.binary(max_size=4))
    def put(self, ids: list[str], payload: bytes) -> None:
        expected = []
        for id in ids:
            expected.append(id not in self.model.jobs)
            if id not in self.model.jobs:
                self.model.jobs[id] = Modelled(len(self.model.jobs) + 1, payload, self.now)

        assert expected == self.runner.run(self.ledger.put_many([(id, payload) for id in ids]))

    @rule(target=claims, owner=OWNERS, limit=st.integers(1, 3), lease=SECONDS)
    def claim(self, owner: str, limit: int, lease: float) -> object:
        self.model.expire(self.now)
        due = sorted(
            (job.due, job.number, id)
            for id, job in self.model.jobs.items()
            if job.state == "pending" and job.due <= self.now
        )
        expected = []
        for _, _, id in due[:limit]:
            job = self.model.jobs[id]
            job.state, job.due, job.owner, job.run = "claimed", self.now + lease, owner, self.model.run
            job.attempts += 1
            expected.append((job.number, id, job.payload, job.attempts))

        claims = self.runner.run(self.ledger.claim(owner, limit=limit, lease=lease))

        assert sorted(expected) == [(x.number, x.id, x.payload, x.attempt) for x in claims]
        for claim in claims:
            self.model.jobs[claim.id].holder = claim.token
        return multiple(*claims)

    @rule(claim=claims, value=st.binary(max_size=4))
    def acknowledge(self, claim: Claim, value: bytes) -> None:
        job = self.model.held(claim)
        if job is not None:
            job.state, job.value = "done", value
            self.model.results.append((claim.id, value))
        elif self.model.jobs[claim.id].state != "done" or self.model.jobs[claim.id].holder != claim.token:
            with pytest.raises(StaleClaim):
                self.runner.run(self.ledger.acknowledge(claim, value))
            return
        self.runner.run(self.ledger.acknowledge(claim, value))

    @rule(claim=claims, retry=st.booleans())
    def fail(self, claim: Claim, retry: bool) -> None:
        job = self.model.held(claim)
        if job is None:
            with pytest.raises(StaleClaim):
                self.runner.run(self.ledger.fail(claim, "crash", retry=retry))
            return
        not_before = self.runner.run(self.ledger.fail(claim, "crash", retry=retry))
        job.holder = None
        assert (not_before is not None) == (retry and job.attempts < MAX_ATTEMPTS)
        if not_before is None:
            job.state = "dead"
        else:
            job.state, job.due = "pending", not_before
            assert self.now + 2.0 <= not_before <= self.now + 10.0

    @rule(claim=claims)
    def release(self, claim: Claim) -> None:
        job = self.model.held(claim)
        if job is None:
            with pytest.raises(StaleClaim):
                self.runner.run(self.ledger.release(claim))
            return
        job.state, job.holder, job.due = "pending", None, self.now
        job.attempts -= 1
        self.runner.run(self.ledger.release(claim))

    @rule(claim=claims, lease=SECONDS)
    def renew(self, claim: Claim, lease: float) -> None:
        job = self.model.held(claim)
        if job is None:
            with pytest.raises(StaleClaim):
                self.runner.run(self.ledger.renew(claim, lease=lease))
            return
        job.due = self.now + lease
        self.runner.run(self.ledger.renew(claim, lease=lease))

    @rule(owner=OWNERS, refund=st.booleans())
    def an_owner_dies(self, owner: str, refund: bool) -> None:
        self.reclaim(owner, refund)

    @rule(refund=st.booleans())
    def reclaim_earlier_runs(self, refund: bool) -> None:
        self.reclaim(None, refund)

    def reclaim(self, owner: str | None, refund: bool) -> None:
        taken = 0
        for job in self.model.jobs.values():
            theirs = job.run != self.model.run if owner is None else job.owner == owner
            if job.state == "claimed" and theirs:
                taken += 1
                job.attempts -= refund
                self.model.take_back(job)
                job.due = self.now

        assert taken == self.runner.run(self.ledger.reclaim(owner, refund=refund))

    @rule(id=IDS)
    def requeue(self, id: str) -> None:
        job = self.model.jobs.get(id)
        dead = job is not None and job.state == "dead"
        if job is not None and dead:
            job.state, job.attempts, job.due = "pending", 0, self.now

        assert dead == self.runner.run(self.ledger.requeue(id))

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def the_program_restarts(self) -> None:
        self.runner.run(self.ledger.close())
        self.model.run += 1
        self.ledger = self.new()
        self.runner.run(self.ledger.open())

    @invariant()
    def the_file_agrees_with_the_model(self) -> None:
        self.runner.run(self.compare())

    async def compare(self) -> None:
        ledger = self.ledger
        assert self.model.counts() == await ledger.counts()
        assert self.model.results == [(x.id, x.value) async for x in ledger.results(page=3)]
        dead = [id for id, job in self.model.jobs.items() if job.state == "dead"]
        assert dead == [letter.id async for letter in ledger.dead_letters(page=2)]
        live = [job.due for job in self.model.jobs.values() if job.state in ("pending", "claimed")]
        assert min(live, default=None) == await ledger.next_due()
        for id, job in self.model.jobs.items():
            found = await ledger.job(id)
            assert found is not None
            assert (job.state, job.attempts, job.value) == (found.state.value, found.attempts, found.value)
            assert found.due_at == (job.due if job.state in ("pending", "claimed") else None)


LedgerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestLedgerMachine = pytest.mark.slow(LedgerMachine.TestCase)
