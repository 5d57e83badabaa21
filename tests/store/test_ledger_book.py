"""Logs that a real Book wrote, folded: the sums hold at any moment, and a start finds exactly what never left."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.records.states import Decision, State
from dispatcher.smpp.pump import BULK, REPLIES, Kind
from dispatcher.store import ledger
from dispatcher.store._ledger import popcount, ranks_in_state, slots_of_ranks, todo_bitmap
from dispatcher.store.layout import BLOCK
from tests.reference.ledger import ReferenceLedger, fold_value
from tests.smpp.line import HEAD, MID, NUMBER, Line, Text, now_ns, receipt, response
from tests.store.logs import Claim, append, assert_same, fold_all, value_of

SECOND = 1_000_000_000
AUDIENCE = 60


class Sending:
    """One campaign over two binds, its log in a store; a commit is one transaction."""

    def __init__(self, store, line: Line, campaign: int) -> None:
        self.store, self.line, self.campaign = store, line, campaign
        self.run = line.book.open_run(campaign, 1, 0, HEAD, MID, receipts=True, honours_stop=True)
        self.model = ReferenceLedger()
        self.rank = BLOCK - 20  # so that chunks meet within the audience
        self.states: dict[int, int] = {}

    def claim(self, kinds):
        for parts in kinds:
            if self.rank < BLOCK - 20 + AUDIENCE:
                skipped = parts == 0
                texts = Text(
                    self.rank, (b"x",) * max(1, parts), decision=Decision.OPTED_OUT if skipped else Decision.SENT
                )
                self.line.claim(texts, run=self.run)
                self.rank += 1

    def repeat(self, resend):
        """What came back goes again, only the parts that are not out; what is uncertain where its purpose resends."""
        wanted = defaultdict(set)
        total = {}
        for kind, _, rank, part, parts, *_ in self.line.book.take_returned():
            if kind in (Kind.RETRY, Kind.RELEASED) or (resend and kind == Kind.UNCERTAIN):
                wanted[rank].add(part)
                total[rank] = parts
        for rank, mine in sorted(wanted.items()):
            skip = tuple(part for part in range(total[rank]) if part not in mine)
            self.line.claim(Text(rank, (b"x",) * total[rank], skip=skip, tries=1), run=self.run)

    def answer(self, bind, statuses):
        for submit, status in zip(self.line.submits(bind), statuses, strict=False):
            self.line.give(response(submit.sequence, status, f"i{submit.sequence}-{bind}"), bind)

    def receipts(self, names, stat):
        for no, bind in names:
            self.line.give(receipt(f"i{no}-{bind}", stat))

    def commit(self):
        before = len(self.line.values)
        self.line.commit()
        for value in self.line.values[before:]:
            (position,) = append(self.store, value)
            fold_value(defaultdict(ReferenceLedger, {self.campaign: self.model}), value, position)

    def check(self, budget):
        fold_all(self.store, budget)
        assert_same(self.store, self.campaign, self.model)
        with self.store.snapshot() as view:
            counts = ledger.read_counts(view, self.campaign)
        said = counts.summary(AUDIENCE)
        assert said["unsent"] + sum(said["skipped"].values()) + said["sent"] == AUDIENCE
        assert sum(said["states"].values()) == said["sent"] and counts.state(State.UNSENT) == 0
        assert counts.parts_accepted <= counts.parts_sent and counts.accepted <= counts.sent
        for rank, one in self.model.of_rank.items():
            before = self.states.get(rank, 0)
            if before and State(before).final:
                assert one.state == before or (
                    one.state == State.DELIVERED and before in (State.EXPIRED, State.UNKNOWN)
                )
            self.states[rank] = one.state


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_to_a_campaign_its_sums_hold(store, seed):
    """A failing seed is the bug report."""
    draw = random.Random(seed)
    with Line(binds=2, window=draw.choice([3, 6, 20])) as line:
        line.book.retry_ns = 0
        sending = Sending(store, line, seed + 1)
        for _ in range(draw.randint(30, 90)):
            what = draw.random()
            if what < 0.25:
                sending.claim(draw.choices([1, 2, 3, 0], [5, 2, 1, 1], k=draw.randint(1, 8)))
                sending.commit()
            elif what < 0.50:
                sending.answer(
                    draw.randrange(2), draw.choices([0, 0x14, 0x08, 0x0B], [6, 1, 1, 1], k=draw.randint(1, 20))
                )
            elif what < 0.65:
                names = [(draw.randint(2, 60), draw.randrange(2)) for _ in range(8)]
                sending.receipts(names, draw.choice(["DELIVRD", "DELIVRD", "EXPIRED", "UNDELIV", "UNKNOWN"]))
            elif what < 0.75:
                sending.repeat(seed % 2)
            elif what < 0.85:
                sending.commit()
                sending.check(draw.choice([1, 250_000, 4 << 20]))
            elif what < 0.90:
                line.book.revoke(1, NUMBER + BLOCK - 20 + draw.randrange(AUDIENCE))
            elif what < 0.95:
                line.pumps[draw.randrange(2)].tick(now_ns() + 31 * SECOND, 30 * SECOND)
            else:
                line.book.stop_run(sending.run, draw.random() < 0.5)
        for pump in line.pumps:
            pump.close()
        sending.commit()
        sending.check(4 << 20)
        with store.snapshot() as view:  # what is still claimed is what waits in the ring
            counts = ledger.read_counts(view, sending.campaign)
        assert (counts.state(State.CLAIMED) == 0) == (line.book.queued(BULK) == 0)
        assert line.book.open_parts == line.book.queued(BULK)


@pytest.mark.parametrize("out", [True, False])
def test_a_repeat_stopped_at_the_socket_fails_the_message_if_some_of_it_is_out(store, out):
    with Line(window=6) as line:
        line.book.retry_ns = 0
        sending = Sending(store, line, 77)
        sending.claim([2])
        sending.commit()
        sending.answer(0, [0 if out else 0x14, 0x14])
        sending.repeat(False)
        line.book.revoke(1, NUMBER + BLOCK - 20)
        sending.commit()
        sending.commit()
        assert line.submits() == []
        sending.check(4 << 20)
        one = sending.model.of_rank[BLOCK - 20]
        assert (one.decision, one.state) == ((1, State.FAILED) if out else (Decision.OPTED_OUT, State.UNSENT))


# ---- what a start finds


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    messages=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=30),
    window=st.integers(1, 12),
    repeats=st.booleans(),
)
def test_a_start_finds_exactly_the_claims_that_never_left(store, messages, window, repeats):
    """Above the mark: released. Below it: it was in a socket or an answer is in the log."""
    with store.begin_write() as view:
        view.txn.drop(view.tables["outcome_log"], delete=False)
        view.txn.delete(b"folded", db=view.tables["meta"])
    with Line(window=window) as line:
        left: set[tuple[int, int]] = set()

        def read() -> None:
            for submit in line.submits():
                left.add((submit.to - NUMBER, submit.octets[0]))
                line.give(response(submit.sequence, 0x14 if repeats and submit.sequence % 3 == 0 else 0, ""))

        rank = 0
        for no, (parts, gap) in enumerate(messages):
            rank += 1 + gap
            line.claim(Text(rank, tuple(bytes((part,)) for part in range(parts))))
            if no % 4 == 3:
                line.commit()
                read()
        for kind, _, back, part, parts, *_ in line.book.take_returned() if repeats else []:
            assert kind == Kind.RETRY
            left.discard((back, part))  # it is claimed again: only a new submit counts
            line.claim(
                Text(back, tuple(bytes((p,)) for p in range(parts)), skip=tuple(p for p in range(parts) if p != part))
            )
        line.commit()
        for submit in line.submits():
            left.add((submit.to - NUMBER, submit.octets[0]))
        append(store, *line.values)
        marks = {(0, BULK): line.marks[BULK], (0, REPLIES): line.marks[REPLIES]}
        with store.snapshot() as view:
            following, above = ledger.claim_tail(view, marks, {})
        made, taken = line.book.position(BULK)
        assert following == {(0, BULK): made}
        assert len(above) == made - taken
        carried = line.book.queued(BULK) - (made - taken)
        claimed = {
            (record[3] + index, part)
            for record in line.log
            if record[0] == "claim"
            for index, n in enumerate(record[5])
            for part in ledger.claimed_parts(n, record[7] if index == len(record[5]) - 1 else 0)
        }
        assert len(claimed - {(r, p) for _, r, p in above} - left) == carried
        assert not {(r, p) for _, r, p in above} & left


def test_claims_before_the_given_position_are_not_read_again(store):
    B, R = (0, BULK), (0, REPLIES)
    old, new = value_of([Claim(9, 0, (1,) * 4, claim_no=0)]), value_of([Claim(9, 4, (1, 130, 2), claim_no=4)])
    first, second = append(store, old, new)
    with store.snapshot() as view:
        assert ledger.claim_tail(view, {B: 5, R: 0}, {}) == ({B: 7}, {(9, 6, 0): 5, (9, 6, 1): 6})
        assert ledger.claim_tail(view, {B: 2, R: 0}, {})[1].keys() == {
            (9, 2, 0), (9, 3, 0), (9, 4, 0), (9, 6, 0), (9, 6, 1),
        }  # fmt: skip
        assert ledger.claim_tail(view, {B: 2, R: 0}, {B: second, R: second})[1].keys() == {
            (9, 4, 0), (9, 6, 0), (9, 6, 1),
        }  # fmt: skip
        assert ledger.next_position(view) == second + len(new) // 8
        assert [position for position, _ in ledger.log_values(view)] == [first, second]
        assert [position for position, _ in ledger.log_values(view, reverse=True)] == [second, first]
        assert [position for position, _ in ledger.log_values(view, after=first)] == [second]


@pytest.mark.parametrize(
    ("parts", "again", "taken"),
    [
        (1, 0, [0]),
        (3, 0, [0, 1, 2]),
        (3, 0b101, [0, 2]),
        (18, 1 << 15, [15, 16, 17]),
        (128, 0, []),
        (158, 0, []),
        (2, 0xFFFF, [0, 1]),
    ],
)
def test_again_says_which_parts_a_claim_takes(parts, again, taken):
    assert ledger.claimed_parts(parts, again) == taken


# ---- bitmaps


words = st.lists(
    st.integers(0, (1 << 64) - 1) | st.sampled_from([0, 1, 1 << 63, (1 << 64) - 1]), min_size=1, max_size=5
)


@given(
    words=words, decision=st.binary(max_size=200).map(lambda octets: bytes(o % 2 * 20 for o in octets)), data=st.data()
)
def test_bitmaps_and_ranks_agree_with_plain_python(words, decision, data):
    bitmap = b"".join(word.to_bytes(8, "little") for word in words)
    slots = [64 * no + bit for no, word in enumerate(words) for bit in range(64) if word >> bit & 1]
    assert popcount(bitmap) == len(slots)
    open_ = [slot for rank, slot in enumerate(slots) if rank >= len(decision) or not decision[rank]]
    out = bytearray(len(bitmap))
    assert todo_bitmap(bitmap, decision, out) == len(open_)
    assert [s for s in range(64 * len(words)) if out[s // 8] >> s % 8 & 1] == open_
    ranks = sorted(data.draw(st.sets(st.integers(0, max(0, len(slots) - 1))))) if slots else []
    assert slots_of_ranks(bitmap, ranks) == [slots[rank] for rank in ranks]
    assert slots_of_ranks(bitmap, [*ranks, len(slots) + 3]) == [slots[rank] for rank in ranks]
    assert ranks_in_state(decision, 20, 1_000) == [1_000 + no for no, octet in enumerate(decision) if octet == 20]


def test_a_bitmap_of_another_size_is_refused():
    with pytest.raises(ValueError, match="too short"):
        todo_bitmap(bytes(16), b"", bytearray(8))
