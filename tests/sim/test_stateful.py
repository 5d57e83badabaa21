"""The same world led by hypothesis: any order of submit, answer, lose, time out, kill and restart, shrunk when it fails."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.sim.smsc import MS, TEMPERS
from tests.sim.world import TIMEOUT_NS, Bind, World

octets = st.sampled_from([1, 16, 100, 1 << 16])


class Books(RuleBasedStateMachine):
    """Window, queue and ledger of one endpoint."""

    world: World
    folder: Path

    @initialize(seed=st.integers(0, 1 << 16), temper=st.sampled_from(sorted(TEMPERS)), resends=st.booleans())
    def begin(self, seed, temper, resends):
        self.folder = Path(tempfile.mkdtemp(prefix="sim-"))
        self.world = World(self.folder / "data", random.Random(seed), temper=temper, resends=resends)
        self.world.connect()

    def bind(self, no: int) -> Bind:
        return self.world.binds[no % len(self.world.binds)]

    def bound(self) -> bool:
        return bool(self.world.binds)

    @rule(most=st.integers(1, 30), durable=st.booleans())
    def submit(self, most, durable):
        self.world.fill(most)
        if durable:
            self.world.commit()

    @rule()
    def commit(self):
        self.world.commit()

    @rule()
    def connect(self):
        self.world.connect()

    @precondition(bound)
    @rule(no=st.integers(0, 2), read=octets, write=octets, ms=st.sampled_from([0, 1, 100]))
    def answer(self, no, read, write, ms):
        bind = self.bind(no)
        self.world.smsc.read(bind.wire, read)
        self.world.advance(ms * MS)
        self.world.smsc.write(bind.wire, write)
        self.world.pull(bind)

    @precondition(bound)
    @rule(no=st.integers(0, 2), how=st.sampled_from(["fin", "rst", "ours"]))
    def lose(self, no, how):
        bind = self.bind(no)
        if how == "ours":
            self.world.lose(bind)
        else:
            bind.wire.close(how)
            self.world.pull(bind)

    @precondition(bound)
    @rule(no=st.integers(0, 2))
    def time_out(self, no):
        self.world.advance(TIMEOUT_NS)
        self.world.tick(self.bind(no))

    @rule(paused=st.booleans())
    def pause(self, paused):
        self.world.pause(paused)

    @rule(when=st.sampled_from(["now", "before", "after", "power"]))
    def kill_and_restart(self, when):
        if when in ("before", "after"):
            self.world.commit(when)
        else:
            self.world.kill(power=when == "power")

    @invariant()
    def holds(self):
        if hasattr(self, "world"):
            self.world.look()

    def teardown(self):
        if hasattr(self, "world"):
            try:
                self.world.settle()
                self.world.judge()
            finally:
                self.world.__exit__()
                shutil.rmtree(self.folder)


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_of_a_part_that_was_sent_twice_one_id_may_wait_for_ever(tmp_path: Path):
    """The SMSC loses that one's receipt; the other's has ended the part. Found by the machine above."""
    with World(tmp_path, random.Random(0), temper="broken", resends=True) as world:
        world.connect()
        world.fill(5)
        world.commit()
        world.advance(TIMEOUT_NS)
        world.tick(world.binds[0])
        world.settle()
        least, most = world.ids_that_wait()
        assert least < world.book.index_live <= most
        world.judge()
