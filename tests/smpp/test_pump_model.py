"""The compiled pump and its plain Python reference do the same, whatever happens in whatever order."""

from __future__ import annotations

import random

import pytest

from dispatcher.records.batch import ROW, Row
from dispatcher.records.states import Decision
from dispatcher.smpp.pump import BULK, POOLS
from tests.reference.pump import ReferenceBook, ReferencePump, Run
from tests.smpp.line import CAMPAIGN, HEAD, MID, Line, Text, batch, now_ns, receipt, response

SECOND = 1_000_000_000
STATS = {"DELIVRD": 4, "EXPIRED": 5, "UNDELIV": 6, "UNKNOWN": 7, "ENROUTE": 0}


class Both:
    """A line and its model, led through the same steps."""

    def __init__(self, line: Line) -> None:
        self.line = line
        line.book.retry_ns = 0
        assert line.book.open_run(CAMPAIGN + 1, 1, 0, HEAD, MID, receipts=False, honours_stop=False) == 1
        self.book = ReferenceBook([Run(CAMPAIGN, HEAD, MID, True, True), Run(CAMPAIGN + 1, HEAD, MID, False, False)])
        self.pumps = [ReferencePump(self.book, pump.window) for pump in line.pumps]
        self.rank = 0
        self.opened = 2
        self.sent: list[list[bytes]] = [[] for _ in self.pumps]

    def claim(self, pool, run, messages):
        placed = []
        for message, more in messages:
            self.rank += 1 + more
            placed.append(message._replace(rank=self.rank))
        rows, count, octets = batch(placed)
        try:
            self.line.book.claim(pool, run, rows, count, octets)
        except ValueError as exc:
            assert str(exc) == "claim without room"
            return
        self.book.claim(pool, run, [Row(*fields) for fields in ROW.iter_unpack(rows)], octets)

    def commit(self):
        self.line.commit()
        self.book.commit()
        for no, pump in enumerate(self.pumps):
            self.sent[no] += pump.push()
        self.same_pdus()

    def answer(self, bind, sequence, status, id_):
        if self.closed(bind):
            return
        self.line.give(response(sequence, status, f"00aB{id_}" if status == 0 else ""), bind)
        self.pumps[bind].response(sequence, status, b"00aB%d" % id_)
        self.pulled(bind)

    def receipt(self, bind, id_, stat, error):
        if self.closed(bind):
            return
        self.line.give(receipt(f"AB{id_}", stat, err=f"{error:03d}", number=77), bind)
        self.book.receipt(b"AB%d" % id_, STATS[stat], error, 77)
        self.pulled(bind)

    def pulled(self, bind):
        """Whoever reads sends in the same call, before other binds do."""
        if not self.pumps[bind].broken:
            self.sent[bind] += self.pumps[bind].push()

    def tick(self, bind):
        if not self.closed(bind):
            self.line.pumps[bind].tick(now_ns() + 31 * SECOND, 30 * SECOND)
            self.pumps[bind].time_out()

    def revoke(self, number):
        self.line.book.revoke(1, number)
        self.book.revoked.add(number)

    def stop(self, run, stopped):
        self.line.book.stop_run(run, stopped)
        self.book.runs[run].stopped = stopped

    def take_returned(self):
        assert self.line.book.take_returned() == self.book.returned[self.book.taken :]
        self.book.taken = len(self.book.returned)

    def recycle(self, run):
        """Let go of a run; its number goes to another campaign, to which nothing of the old one belongs."""
        flying = [part for pump in self.pumps for part in (*pump.flying.values(), *pump.carry)]
        closed = self.book.close_run(run, flying)
        assert self.line.book.close_run(run) == closed
        if closed:
            with pytest.raises(ValueError, match="unknown run"):
                self.line.book.claim(BULK, run, *batch([Text(self.rank + 1)]))
            self.commit()
            assert sum(self.line.book.sweep_runs() for _ in range(5)) < 5
            was = self.book.runs[run]
            self.book.runs[run] = Run(CAMPAIGN + self.opened, HEAD, MID, was.receipts, was.honours_stop)
            head = {"receipts": was.receipts, "honours_stop": was.honours_stop}
            assert self.line.book.open_run(CAMPAIGN + self.opened, 1, 0, HEAD, MID, **head) == run
            self.opened += 1

    def close(self, bind):
        if not self.closed(bind):
            self.line.pumps[bind].close()
            self.pumps[bind].close()

    def closed(self, bind):
        return self.pumps[bind].closed or self.pumps[bind].broken

    def same_pdus(self):
        for no, (pump, theirs) in enumerate(zip(self.pumps, self.line.pumps, strict=True)):
            if not pump.closed:
                if not pump.broken:
                    theirs.push()
                    self.sent[no] += pump.push()
                assert [s.pdu for s in self.line.submits(no)] == self.sent[no]
                self.sent[no].clear()
            assert theirs.in_flight == pump.in_flight <= pump.window

    def same_end(self):
        self.commit()
        while any(self.book.giving_back):  # a lane goes on once that is on disk
            self.commit()
        self.line.commit()
        made = [record[:6] + record[7:] if record[0] == "claim" else record[:7] for record in self.line.log]
        assert made == self.book.records
        self.take_returned()
        assert self.line.book.n_held == len(self.book.held)
        waiting = sum(len(ring) for ring in self.book.rings) + sum(len(pump.carry) for pump in self.pumps)
        assert sum(self.line.book.queued(pool) for pool in POOLS) == waiting
        assert self.line.book.open_parts == waiting + sum(pump.in_flight for pump in self.pumps)
        assert sum(self.line.book.run_open(run) for run in (0, 1)) == self.line.book.open_parts

    def step(self, draw: random.Random):
        """One thing that happens, likely enough to meet the others."""
        what, bind = draw.random(), draw.randrange(2)
        if what < 0.25:
            pool, run, most = draw.choice([BULK, BULK, *POOLS]), draw.randrange(2), draw.choice([6, 6, 40])
            self.claim(
                pool, run, [(any_text(draw), draw.choice([0, 0, 0, 1, 5])) for _ in range(draw.randint(0, most))]
            )
        elif what < 0.40:
            self.commit()
        elif what < 0.70 and self.pumps[bind].flying:
            sequence = int.from_bytes(draw.choice(list(self.pumps[bind].flying.values())).pdu[12:16], "big")
            self.answer(bind, sequence, draw.choice([0, 0, 0, 0, 0x58, 0x14, 0x08, 0x0B, 0x55F]), draw.randrange(30))
        elif what < 0.72:
            self.answer(bind, draw.randint(1, 99), draw.choice([0, 0x0B, 0x04]), draw.randrange(30))
        elif what < 0.90:
            self.receipt(bind, draw.randrange(30), draw.choice(list(STATS)), draw.randrange(999))
        elif what < 0.94:
            self.tick(bind)
        elif what < 0.955:
            self.revoke(draw.choice([77, 78]))
        elif what < 0.975:
            self.take_returned()
            self.recycle(draw.randrange(2))
        elif what < 0.99:
            self.stop(draw.randrange(2), draw.random() < 0.3)
        else:
            self.close(bind)


def any_text(draw: random.Random) -> Text:
    return Text(
        0,
        tuple(draw.randbytes(draw.randint(0, 12)) for _ in range(draw.choice([1, 1, 1, 2, 3, 6]))),
        number=draw.choice([0, 0, 77, 78]),
        skip=tuple(draw.sample(range(6), draw.choice([0, 0, 1, 3]))),
        decision=Decision.SENT if draw.random() < 0.85 else Decision.OPTED_OUT,
        tries=draw.randint(0, 3),
        text_hash=draw.getrandbits(32),
    )


@pytest.mark.parametrize("seed", range(80))
def test_the_pump_does_what_its_reference_does(seed):
    """A failing seed is the bug report."""
    draw = random.Random(seed)
    with Line(binds=0) as line:
        for most in draw.choice([(7, 3), (7, 3), (40, 60)]):
            line.bind(draw.randint(1, most))
        both = Both(line)
        for _ in range(draw.randint(40, 160)):
            both.step(draw)
            both.same_pdus()
        both.same_end()
