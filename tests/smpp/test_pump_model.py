"""The compiled pump and its plain Python reference do the same, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import given, note, settings
from hypothesis import strategies as st

from dispatcher.records.batch import ROW, Row
from dispatcher.records.states import Decision
from dispatcher.smpp.pump import BULK, REPLIES
from tests.reference.pump import ReferenceBook, ReferencePump, Run
from tests.smpp.line import CAMPAIGN, HEAD, MID, Line, Text, batch, now_ns, receipt, response

SECOND = 1_000_000_000
STATS = {"DELIVRD": 4, "EXPIRED": 5, "UNDELIV": 6, "UNKNOWN": 7, "ENROUTE": 0}

text = st.builds(
    Text,
    rank=st.just(0),
    parts=st.lists(st.binary(max_size=12), min_size=1, max_size=6).map(tuple),
    number=st.sampled_from([0, 0, 77, 78]),
    skip=st.lists(st.integers(0, 5), max_size=3).map(tuple),
    decision=st.sampled_from([Decision.SENT] * 5 + [Decision.OPTED_OUT]),
    tries=st.integers(0, 3),
    text_hash=st.integers(0, 0xFFFFFFFF),
)
gap = st.sampled_from([0, 0, 0, 1, 5])
bind = st.integers(0, 1)
step = st.one_of(
    st.tuples(
        st.just("claim"),
        st.sampled_from([BULK, BULK, REPLIES]),
        st.integers(0, 1),
        st.lists(st.tuples(text, gap), max_size=6),
    ),
    st.tuples(st.just("commit")),
    st.tuples(
        st.just("answer"),
        bind,
        st.integers(0, 30),
        st.sampled_from([0, 0, 0, 0, 0x58, 0x14, 0x08, 0x0B, 0x04, 0x55F]),
        st.integers(0, 9),
    ),
    st.tuples(st.just("receipt"), bind, st.integers(0, 9), st.sampled_from(list(STATS)), st.integers(0, 999)),
    st.tuples(st.just("tick"), bind),
    st.tuples(st.just("revoke"), st.sampled_from([77, 78])),
    st.tuples(st.just("stop"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("close"), bind),
)


class Both:
    """A line and its model, led through the same steps."""

    def __init__(self, line: Line) -> None:
        self.line = line
        line.book.retry_ns = 0
        assert line.book.open_run(CAMPAIGN + 1, 1, 0, HEAD, MID, receipts=False, honours_stop=False) == 1
        self.book = ReferenceBook([Run(CAMPAIGN, HEAD, MID, True, True), Run(CAMPAIGN + 1, HEAD, MID, False, False)])
        self.pumps = [ReferencePump(self.book, pump.window) for pump in line.pumps]
        self.rank = 0
        self.sent: list[list[bytes]] = [[] for _ in self.pumps]

    def claim(self, pool, run, messages):
        placed = []
        for message, more in messages:
            self.rank += 1 + more
            placed.append(message._replace(rank=self.rank))
        rows, count, octets = batch(placed)
        self.line.book.claim(pool, run, rows, count, octets)
        self.book.claim(pool, run, [Row(*fields) for fields in ROW.iter_unpack(rows)], octets)

    def commit(self):
        self.line.commit()
        self.book.commit()
        for no, pump in enumerate(self.pumps):
            self.sent[no] += pump.push()
        self.same_pdus()

    def answer(self, bind, which, status, id_):
        sequence = which + self.pumps[bind].sequence - 20
        if self.closed(bind) or sequence < 1:
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
        self.line.commit()
        made = [record[:6] + record[7:] if record[0] == "claim" else record[:7] for record in self.line.log]
        assert made == self.book.records
        assert self.line.book.take_returned() == self.book.returned
        assert self.line.book.n_held == len(self.book.held)
        waiting = sum(len(ring) for ring in self.book.rings) + sum(len(pump.carry) for pump in self.pumps)
        assert self.line.book.queued(0) + self.line.book.queued(1) == waiting
        assert self.line.book.open_parts == waiting + sum(pump.in_flight for pump in self.pumps)
        assert sum(self.line.book.run_open(run) for run in (0, 1)) == self.line.book.open_parts


@settings(deadline=None, max_examples=300)
@given(windows=st.tuples(st.integers(1, 7), st.integers(1, 3)), steps=st.lists(step, max_size=40))
def test_the_pump_does_what_its_reference_does(windows, steps):
    with Line(binds=0) as line:
        for window in windows:
            line.bind(window)
        both = Both(line)
        note(f"{windows} {steps}")
        for name, *arguments in steps:
            getattr(both, name)(*arguments)
            both.same_pdus()
        both.commit()
        both.same_end()
