"""An audience over several endpoints while they go down and up, routes turn, binds break, the process is killed: each
recipient is decided exactly once, and everybody in the end."""

from __future__ import annotations

import math
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from config import Route
from dispatcher.campaigns.campaign import load
from dispatcher.campaigns.expand import Expansion
from dispatcher.campaigns.repeats import Repeat, Repeats
from dispatcher.records.batch import Batch, Row, read_rows
from dispatcher.records.states import Decision
from dispatcher.routes.router import Router
from dispatcher.smpp.pump import Kind
from dispatcher.store import Store, open_store
from dispatcher.store.layout import BLOCK
from tests.campaigns.test_expand import LONG, PHONE, started
from tests.segments.crowd import new_crowd, settle
from tests.store.logs import Claim, Record, append, fold_all, value_of

ENDS = {"a": (0, 1), "b": (1, 2), "c": (2, 1)}
AFTER_S = 5.0
FAR_NS = 1 << 62
NUMBERS = [*range(0, 150), *range(BLOCK - 40, BLOCK + 40), *range(2 * BLOCK - 9, 2 * BLOCK + 60)]
PREFIXES = [str(PHONE)[:9], *(str(PHONE + no)[:12] for no in (0, 100, BLOCK, 2 * BLOCK))]

routes_ = st.lists(
    st.builds(
        lambda name, ends, prefix, failover: Route(
            name=name, endpoints=ends, prefixes=prefix, failover=failover, failover_after_s=AFTER_S
        ),
        st.sampled_from("pqrs"),
        st.lists(st.sampled_from(list(ENDS)), min_size=1, max_size=3, unique=True).map(tuple),
        st.lists(st.sampled_from(PREFIXES), max_size=2, unique=True).map(tuple),
        st.lists(st.sampled_from(list(ENDS)), max_size=2, unique=True).map(tuple),
    ),
    max_size=3, unique_by=lambda route: route.name,
)  # fmt: skip
CATCH_ALL = Route(name="z", endpoints=("c",), failover_after_s=AFTER_S)


class Machine(RuleBasedStateMachine):
    store: Store

    @initialize(seed=st.integers(0, 1_000))
    def begin(self, seed: int) -> None:
        self.campaign = started(self.store, f"Hi {{name}}. {LONG[:130]}")
        self.router = Router(ENDS, [(CATCH_ALL, "file")])
        self.draw = random.Random(seed)
        self.down: dict[int, float] = dict.fromkeys(range(3), 0.0)
        self.flying: dict[int, tuple[int, list[Row]]] = {}  # rank: its endpoint and what of it is on its way
        self.waiting: dict[int, dict[int, Row]] = {}  # rank: parts given back, by part
        self.decided: dict[int, int] = {}  # rank: its decision
        self.now_ns = 1
        self.open()

    def open(self) -> None:
        with self.store.snapshot() as view:
            row = load(view, 1, self.campaign)
            assert row is not None
            self.expansion = Expansion(view, 1, self.campaign, row, self.router)

    def taken(self, endpoint: int, batch: Batch, *, again: bool) -> None:
        messages: dict[int, list[Row]] = {}
        for row in read_rows(batch):
            messages.setdefault(row.rank, []).append(row)
        claims: list[Claim | Record] = []
        for rank, rows in messages.items():
            mine = [row for row in rows if not row.skip]
            if again:
                parts = self.waiting.pop(rank)
                assert {row.part for row in mine} == set(parts) or rows[0].decision >= 16, (rank, rows, parts)
            else:
                assert rank not in self.decided, f"rank {rank} is decided twice"
            self.decided[rank] = rows[0].decision
            octet = rows[0].parts if rows[0].decision == Decision.SENT else 128 + rows[0].decision
            bits = 0 if len(mine) == len(rows) else sum(1 << row.part for row in mine)
            claims.append(Claim(self.campaign, rank, (octet,), bits, text_hash=rows[0].text_hash))
            if rows[0].decision == Decision.SENT:
                self.flying[rank] = endpoint, mine
        if claims:
            append(self.store, value_of(claims))

    @rule(endpoint=st.integers(0, 2), rows=st.integers(1, 60))
    def take(self, endpoint: int, rows: int) -> None:
        if self.down[endpoint]:
            return
        with self.store.snapshot() as view:
            batch = self.expansion.next(view, endpoint, rows, 1)
        if batch is not None:
            self.taken(endpoint, batch, again=False)

    @rule(endpoint=st.integers(0, 2), rows=st.integers(1, 60))
    def repeat(self, endpoint: int, rows: int) -> None:
        if self.down[endpoint]:
            return
        self.now_ns += 1_000_000_000
        with self.store.snapshot() as view:
            batches = self.expansion.again(view, endpoint, rows, self.now_ns, 1)
        for batch in batches:
            self.taken(endpoint, batch, again=True)

    def some(self, share: float) -> list[int]:
        return [rank for rank in self.flying if self.draw.random() < share]

    @precondition(lambda self: self.flying)
    @rule(share=st.sampled_from([0.2, 1.0]))
    def answer(self, share: float) -> None:
        records = []
        for rank in self.some(share):
            _, rows = self.flying.pop(rank)
            records += [Record(self.campaign, Kind.ACCEPTED, rank, row.part, message_id=b"x") for row in rows]
        if records:
            append(self.store, value_of(records))

    @precondition(lambda self: self.flying)
    @rule(share=st.sampled_from([0.3, 1.0]), whole=st.booleans())
    def give_back(self, share: float, whole: bool) -> None:
        """A bind breaks before the octets left; of a message of two parts perhaps only one comes back."""
        records: list[Claim | Record] = []
        for rank in self.some(share):
            endpoint, rows = self.flying.pop(rank)
            back = rows if whole or len(rows) == 1 else rows[self.draw.randrange(2) :][:1]
            for row in rows:
                if row in back:
                    records.append(Record(self.campaign, Kind.RELEASED, rank, row.part))
                    item = Repeat(self.now_ns, rank, row.slot, 1 << row.part, 0, row.parts > 1, 0, endpoint, row.parts)
                    self.expansion.repeat(item)
                else:
                    records.append(Record(self.campaign, Kind.ACCEPTED, rank, row.part, message_id=b"x"))
            self.waiting.setdefault(rank, {}).update({row.part: row for row in back})
        if records:
            append(self.store, value_of(records))

    @rule()
    def fold(self) -> None:
        fold_all(self.store)

    @rule(endpoint=st.integers(0, 2), seconds=st.sampled_from([0.0, 0.0, 3.0, 100.0, math.inf]))
    def stand(self, endpoint: int, seconds: float) -> None:
        self.down[endpoint] = seconds
        self.router.look(self.down)

    @rule(routes=routes_)
    def turn(self, routes: list[Route]) -> None:
        """Others, with one for everybody, so that nobody is skipped for want of a route."""
        self.router.set(ENDS, [*((route, "file") for route in routes), (CATCH_ALL, "file")])
        self.router.look(self.down)

    @rule()
    def refresh(self) -> None:
        with self.store.snapshot() as view:
            row = load(view, 1, self.campaign)
            assert row is not None
            self.expansion.refresh(view, row)

    @rule()
    def kill(self) -> None:
        """What was claimed and not answered never left: a start releases it. What is out in part waits for its rest."""
        records = [
            Record(self.campaign, Kind.RELEASED, rank, row.part)
            for rank, (_, rows) in self.flying.items()
            for row in rows
        ]
        if records:
            append(self.store, value_of(records))
        fold_all(self.store)
        for rank, (_, rows) in self.flying.items():
            self.waiting.setdefault(rank, {}).update({row.part: row for row in rows})
        self.flying.clear()
        self.open()
        for rank, parts in list(self.waiting.items()):
            row = next(iter(parts.values()))
            if len(parts) == row.parts:  # undecided again
                del self.waiting[rank], self.decided[rank]
            else:  # as resume.py finds it
                self.expansion.repeat(
                    Repeat(0, rank, row.slot, sum(1 << part for part in parts), 0, fails=True, of=row.parts)
                )

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "expansion"):
            assert self.expansion.audience == len(NUMBERS)

    def teardown(self) -> None:
        if not hasattr(self, "expansion"):
            return
        self.router.set(ENDS, [(Route(name="all", endpoints=tuple(ENDS)), "file")])
        self.down = dict.fromkeys(range(3), 0.0)
        self.router.look(self.down)
        for _ in range(200):
            if self.expansion.expanded and not self.expansion.repeats:
                break
            for endpoint in range(3):
                self.take(endpoint, 1_000)
                self.repeat(endpoint, 1_000)
        assert self.expansion.expanded and not self.expansion.repeats and not self.waiting
        assert sorted(self.decided) == list(range(len(NUMBERS)))


@pytest.fixture(scope="module")
def store():
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder), write=True, create=True, sync=False) as made:
        tenant = new_crowd(made)
        people: dict[int, dict[str, Any]] = {
            no: {
                "name": LONG[:40] if no % 7 == 0 else "Ann",
                "points": 7,
                "phone": PHONE + no,
                "live": True,
                "tier": "gold",
            }
            for no in NUMBERS
        }
        settle(made, tenant, people, {}, NUMBERS[-1] + 1)
        yield made


def test_each_recipient_is_decided_once_whatever_the_endpoints_do(store):
    machine = type("OverStore", (Machine,), {"store": store})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))


def test_the_parts_of_a_message_are_taken_together_also_at_the_limit():
    repeats = Repeats()
    for rank, part in ((4, 0), (5, 0), (5, 1), (6, 0)):
        repeats.push(Repeat(1, rank, rank, 1 << part, 0, endpoint=0, of=1 + (rank == 5)))
    assert [(item.rank, item.parts) for item in repeats.take(0, 1, 2)] == [(4, 1), (5, 3)]
    assert [(item.rank, item.parts) for item in repeats.take(0, 1, 2)] == [(6, 1)]
