"""One endpoint's Book, binds, journal, store and restarts under a seed: no task, no timer, no clock but the given one.

What is real: the Book and its Pumps over socket pairs, the log and the ledger in LMDB, the marks' mapping, the fold, the
recovery. What stands in for the daemon, in a few lines each: the feeder (claims and repeats in order), the committer
(cut, commit, tell), a bind's task (pull; what is off the fast path through the codec). Not here: rendering, guards,
trio, timers of a bind, TLS; tests/daemon has those over real sockets.

Invariants, after every step and at the end: INVARIANTS below.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from pathlib import Path

from dispatcher.daemon import recovery
from dispatcher.daemon.marks import open_marks
from dispatcher.outcomes.receipt_text import read_receipt
from dispatcher.records.events import Delivered
from dispatcher.records.states import Decision, State
from dispatcher.smpp import codec
from dispatcher.smpp.pdu import Message
from dispatcher.smpp.pump import ACTION_OTHER, ACTIONS, BULK, Book, Kind, Pump, Settled
from dispatcher.store import Store, ledger, open_store
from dispatcher.store.layout import BLOCK, U64
from dispatcher.store.verify_ledger import accepted_lead_to_their_records, the_outcome_log_is_whole
from tests.sim.smsc import MS, PART, SeededSmsc, Wire
from tests.smpp.line import HEAD, MID, Text, batch

INVARIANTS = """\
each part has exactly one state; counters and arrays agree after every commit; sums are the audience
in flight <= window on every bind; claimed and unsettled = queued + in flight + answered since the last commit
nothing reaches the SMSC unclaimed; nothing at or above the mark has left when a process dies
no part is taken twice by the SMSC, except where the log lists it as uncertain before it was claimed again
a receipt that was answered is in the ledger, or held where nobody was told its id
the index has each id that awaits its receipt once, also after a restart; at the end nothing is left unclaimed"""
CAMPAIGN = 7 << 40
TIMEOUT_NS = 1_000 * MS
FINAL = {"DELIVRD": State.DELIVERED, "EXPIRED": State.EXPIRED, "UNDELIV": State.FAILED}


class Bind:
    def __init__(self, book: Book, wire: Wire, window: int) -> None:
        self.wire = wire
        self.pump = Pump(book, wire.ours.fileno(), window)
        self.answers: list[int] = []  # sequence_numbers of deliver_sm off the fast path: answered after the next commit


class World:
    """As a context manager: it owns a store and sockets. `draw` decides everything."""

    def __init__(self, folder: Path, draw: random.Random, *, temper: str = "moody", resends: bool = False) -> None:
        self.folder, self.draw, self.resends = folder, draw, resends
        self.audience = draw.randint(30, 150)
        self.parts = [draw.choice([1, 1, 1, 1, 2, 3]) for _ in range(self.audience)]
        self.skipped = {rank for rank in range(self.audience) if draw.random() < 0.05}
        self.window, self.binds_most = draw.choice([1, 4, 10, 40]), draw.randint(1, 3)
        self.credit = draw.choice([12, 40, 200])
        self.first_rank = draw.choice([0, BLOCK - 20])
        self.ns = 10**15
        self.smsc = SeededSmsc(draw, temper)
        self.store: Store = open_store(folder, write=True, create=True, sync=False)
        self.kills = self.commits = 0
        self.paused = False
        self.binds: list[Bind] = []
        self.boot()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        for bind in list(self.binds):
            bind.pump.close()
            bind.wire.ours.close()
        for wire in list(self.smsc.wires):
            wire.close()
        self.store.close()

    # ---- a process's life

    def boot(self) -> None:
        """As a start does it: settle what the process before had claimed, then know again what is known."""
        marks = open_marks(self.folder)
        report = recovery.settle_claims(self.store, marks, self.ns // MS)
        assert report.at_or_above_mark == 0
        assert report.uncertain <= self.credit + 3
        self.words = marks.words
        self.book = Book(
            self.credit, self.words, ACTIONS, ACTION_OTHER, ring=256, reply_ring=256, tries_max=self.draw.choice([1, 3])
        )
        self.book.clock_ns, self.book.retry_ns = self.ns, 50 * MS
        self.run = self.book.open_run(CAMPAIGN, 1, 0, HEAD, MID, receipts=True, honours_stop=False)
        self.undecided: deque[int] = deque()
        self.repeats: dict[int, set[int]] = defaultdict(set)
        self.tries: Counter[int] = Counter()
        with self.store.snapshot() as view:
            for index in range(self.audience):
                rank = self.first_rank + index
                chunk, r = divmod(rank, BLOCK)
                decisions = ledger.read_array(view, CAMPAIGN, "decision", chunk)
                if decisions is None or r >= len(decisions) or not decisions[r]:
                    self.undecided.append(rank)
                elif decisions[r] == Decision.SENT:
                    waiting = {
                        part
                        for part in range(self.parts[index])
                        if ledger.state_of(view, CAMPAIGN, rank, part) in (State.RETRY_WAIT, State.UNSENT)
                    }
                    if waiting:
                        self.repeats[rank] = waiting
            settled, held = Settled(), []
            for _, value in ledger.log_values(view, reverse=True):
                self.book.rebuild(value, {CAMPAIGN: self.run}, settled)
                held += self.book.held_in(value, 0)
            for key, number, at_ms, status, state in held:
                self.book.hold(key, number, at_ms, status, state)
        assert self.book.index_live == self.ids_that_wait()[0], "the log does not say which of two ids a receipt was of"
        if self.paused:
            self.book.stop_run(self.run, True)

    def kill(self, *, power: bool = False) -> None:
        """The process is gone; what it handed to sockets may still arrive. power: the mapping is older than the log."""
        self.kills += 1
        for bind in self.binds:
            bind.wire.ours.close()
            if self.draw.random() < 0.6:
                self.smsc.read(bind.wire)  # what was in the sockets
            self.smsc.lost(bind.wire)
        self.binds.clear()
        del self.book
        if power:
            with (self.folder / "marks").open("r+b") as file:
                file.seek(64)
                file.write(b"another boot" + bytes(24))
        self.boot()

    # ---- the daemon in a few lines

    def connect(self) -> None:
        if len(self.binds) < self.binds_most:
            self.binds.append(Bind(self.book, self.smsc.connect(), self.window))

    def lose(self, bind: Bind) -> None:
        """The bind's task ends, whoever closed."""
        bind.pump.close()
        bind.wire.ours.close()
        self.smsc.lost(bind.wire)
        self.binds.remove(bind)

    def fill(self, most: int) -> None:
        """Claim repeats and new recipients, as far as there is room."""
        texts = []
        while most > 0 and not self.paused and self.repeats and self._room(texts) >= 3:
            rank = next(iter(self.repeats))
            wanted = self.repeats.pop(rank)
            texts.append(self._text(rank, wanted))
            most -= 1
        while most > 0 and not self.paused and self.undecided and self._room(texts) >= 3:
            rank = self.undecided.popleft()
            texts.append(self._text(rank, None))
            most -= 1
        if texts:
            rows, count, octets = batch(texts)
            self.book.claim(BULK, self.run, rows, count, octets)

    def _room(self, texts: list[Text]) -> int:
        return self.book.room(BULK) - sum(len(text.parts) - len(text.skip) for text in texts)

    def _text(self, rank: int, wanted: set[int] | None) -> Text:
        index = rank - self.first_rank
        if wanted is None and index in self.skipped:
            return Text(rank, decision=Decision.OPTED_OUT)
        count = self.parts[index]
        octets = tuple(b"%d.%d" % (rank, part) for part in range(count))
        skip = () if wanted is None else tuple(part for part in range(count) if part not in wanted)
        return Text(rank, octets, skip=skip, tries=self.tries[rank])

    def commit(self, die: str = "") -> None:
        """One transaction; die: before it is made, or before anybody is told."""
        value, count = self.book.cut()
        for bind in self.binds:
            bind.pump.cut()
        answers = [(bind, sequence) for bind in self.binds for sequence in bind.answers]
        for bind in self.binds:
            bind.answers = []
        if die == "before":
            self.kill()
            return
        with self.store.begin_write() as view:
            if count:
                view.txn.put(U64.pack(ledger.next_position(view)), value, db=view.tables["outcome_log"], append=True)
            if self.draw.random() < 0.3:
                ledger.fold(view, budget=self.draw.choice([1, 1 << 20]), records=self.draw.choice([5, 1 << 20]))
        self.commits += 1
        if die == "after":
            self.kill()
            return
        self.book.committed()
        for bind in self.binds:
            bind.pump.committed()
        for bind, sequence in answers:
            if bind in self.binds:
                bind.pump.queue(codec.deliver_sm_resp(sequence))
        self.take_returned()
        for bind in self.binds:
            bind.pump.push()
        self.look()

    def take_returned(self) -> None:
        for kind, _, rank, part, *rest in self.book.take_returned():
            tries = rest[-2]
            if kind in (Kind.RETRY, Kind.RELEASED) or (
                kind == Kind.UNCERTAIN and self.resends and not self.tries[rank]
            ):
                self.repeats[rank].add(part)
                self.tries[rank] = tries + (kind == Kind.UNCERTAIN)

    def pull(self, bind: Bind) -> None:
        """A wake-up of the bind's task."""
        flags = bind.pump.pull()
        for pdu in bind.pump.take_off():
            self._off_path(bind, pdu)
        if flags & 1 or flags & 4 or bind.pump.closed or bind.pump.broken:
            self.lose(bind)
        self.look()

    def _off_path(self, bind: Bind, pdu: bytes) -> None:
        header = codec.decode_header(pdu)
        if header.command_id not in (5, 0x103):
            return
        message = codec.decode_message(pdu)
        if isinstance(message, Message):
            delivered = Delivered(
                source_addr=message.source_addr, destination_addr=message.destination_addr, esm_class=message.esm_class,
                data_coding=message.data_coding, octets=message.short_message, tlvs=message.tlvs,
            )  # fmt: skip
            found = read_receipt(delivered) if delivered.is_receipt else None
            if found is not None:
                state = 0 if found.state is None else int(found.state)
                self.book.receipt(found.message_id, state, found.err, found.subscriber)
        bind.answers.append(header.sequence_number)

    def advance(self, ns: int) -> None:
        self.ns += ns
        self.book.clock_ns = self.ns
        self.smsc.advance(self.ns)

    def tick(self, bind: Bind) -> None:
        """The bind's response timer."""
        bind.pump.tick(self.ns, TIMEOUT_NS)

    def pause(self, paused: bool) -> None:
        self.paused = paused
        self.book.stop_run(self.run, paused)

    # ---- one thing that happens

    def step(self) -> None:
        draw, what = self.draw, self.draw.random()
        bind = draw.choice(self.binds) if self.binds else None
        if what < 0.18:
            self.fill(draw.randint(1, 30))
        elif what < 0.34:
            self.commit()
        elif what < 0.40:
            self.connect()
        elif what < 0.58 and bind is not None:
            self.smsc.read(bind.wire, draw.choice([1, 17, 100, 1 << 16]))
        elif what < 0.72 and bind is not None:
            self.smsc.write(bind.wire, draw.choice([1, 5, 16, 200, 1 << 16]))
        elif what < 0.86 and bind is not None:
            self.pull(bind)
        elif what < 0.94:
            self.advance(draw.choice([1, 10, 100]) * MS)
        elif what < 0.95 and bind is not None:
            self.tick(bind)
        elif what < 0.96 and bind is not None:
            bind.wire.close(draw.choice(["fin", "rst"]))
        elif what < 0.967:
            self.pause(not self.paused)
        elif what < 0.98:
            self.fill(draw.randint(1, 30))
            self.commit(draw.choice(["before", "after"]))
        elif what < 0.985:
            self.kill(power=draw.random() < 0.2)
        elif what < 0.99 and bind is not None:
            self.lose(bind)

    # ---- the judge

    def look(self) -> None:
        """What must hold at any moment."""
        flying = sum(bind.pump.in_flight for bind in self.binds)
        assert all(bind.pump.in_flight <= self.window for bind in self.binds)
        assert self.book.open_parts >= self.book.queued(BULK) + flying  # the rest waits in the journal
        made, mark = self.book.position(BULK)
        assert mark <= made and self.words[BULK] <= mark

    def settle(self) -> None:
        """No more faults: everything claimed, answered, received; time runs until nothing moves."""
        self.smsc.temper = "calm"
        self.pause(False)
        for _ in range(4_000):
            self.connect()
            self.fill(50)
            self.commit()
            for bind in list(self.binds):
                self.smsc.read(bind.wire)
                self.smsc.write(bind.wire)
                self.pull(bind)
                if bind in self.binds:
                    self.tick(bind)
            self.advance(100 * MS)
            if not (self.undecided or self.repeats or self.book.open_parts or self.smsc.owes):
                break
        else:
            raise AssertionError(f"it never ends: {self.book!r} {len(self.undecided)} undecided, {self.repeats}")
        self.commit()
        self.commit()
        assert self.book.open_parts == self.book.queued(BULK) == 0
        recovery.fold_all(self.store)

    def judge(self) -> None:
        """Every part against what the SMSC took, what the log listed, and what its receipts said."""
        listed, held = self._listed()
        of_chunk: Counter[State] = Counter()
        least, most = self.ids_that_wait()
        assert least <= self.book.index_live <= most
        with self.store.snapshot() as view:
            counts = ledger.read_counts(view, CAMPAIGN).summary(self.audience)
            assert counts["unsent"] == 0, counts
            assert counts["sent"] + sum(counts["skipped"].values()) == self.audience
            assert sum(counts["states"].values()) == counts["sent"]
            assert not counts["states"]["claimed"] and not counts["states"]["retry_wait"]
            states = {
                (self.first_rank + index, part): ledger.state_of(view, CAMPAIGN, self.first_rank + index, part)
                for index in range(self.audience)
                for part in range(self.parts[index])
            }
            problems = [*the_outcome_log_is_whole(view), *accepted_lead_to_their_records(view)]
            assert not problems, [str(problem) for problem in problems]
            for chunk in ledger.chunks(view, CAMPAIGN):
                found = Counter(bytes(ledger.read_array(view, CAMPAIGN, "state", chunk) or b""))
                of_chunk.update({State(state): n for state, n in found.items() if state})
        assert of_chunk == Counter({s: counts["states"][s.word] for s in State if s and counts["states"][s.word]})
        for part, state in states.items():
            taken, uncertain = self.smsc.taken[part], listed[part]
            assert taken <= 1 + uncertain, f"{part}: taken {taken} times, listed uncertain {uncertain} times"
            if part[0] - self.first_rank in self.skipped:
                assert taken == 0 and state == State.UNSENT, part
            elif state in (State.ACCEPTED, State.DELIVERED, State.EXPIRED):
                assert taken >= 1, f"{part}: {state.word} and never taken"
            elif taken == 0 and not uncertain:
                assert state == State.FAILED, f"{part}: {state.word}, never taken, never uncertain"
        assert set(self.smsc.taken) <= set(states), "taken, and not of the audience"
        told = {message_id for message_id, _ in self._accepted_ids()}
        for each in self.smsc.receipts:
            if each.answered and each.final and each.message_id in told:
                state = states[each.part]
                assert state.final, f"{each.part}: {each.stat} was answered, the ledger has {state.word}"
            elif each.answered and each.final:
                assert self.book.key_of(each.message_id.encode(), receipt=True) in held, "answered, and nowhere"

    def _records(self) -> list[tuple[object, ...]]:
        with self.store.snapshot() as view:
            return [record for _, value in ledger.log_values(view) for record in ledger.records(value)]

    def _listed(self) -> tuple[Counter[PART], set[int]]:
        """How often the log lists each part as uncertain; the ids of receipts that were held."""
        listed: Counter[PART] = Counter()
        held = set()
        for record in self._records():
            if record[0] == Kind.UNCERTAIN:
                listed[record[2], record[3]] += 1  # type: ignore[index]
            elif record[0] in (Kind.HELD, Kind.RECEIPT):
                held.add(self.book.key_of(record[6], receipt=True))  # type: ignore[arg-type]
        return listed, held

    def _accepted_ids(self) -> list[tuple[str, PART]]:
        return [(r[6].decode(), (r[2], r[3])) for r in self._records() if r[0] == Kind.ACCEPTED and r[6]]  # type: ignore[attr-defined,misc]

    def ids_that_wait(self) -> tuple[int, int]:
        """By the log alone, at least and at most: ids of parts that no final receipt has come for. A part that was sent
        again has two: one is enough to end it, and the other may wait for a receipt of its own."""
        final = {(r[2], r[3]) for r in self._records() if r[0] in (Kind.RECEIPT, Kind.SETTLED) and r[4]}
        ids = Counter(part for _, part in self._accepted_ids())
        least = sum(n for part, n in ids.items() if part not in final)
        return least, least + sum(n - 1 for part, n in ids.items() if part in final)
