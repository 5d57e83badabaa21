"""The journal as log values: what a start reads back from them is what the process before knew."""

import os
import random
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.records.states import Decision
from dispatcher.smpp.pump import BULK, REPLIES, Kind, Settled
from dispatcher.store.ledger import records
from tests.smpp.line import CAMPAIGN, HEAD, MID, NUMBER, Line, Text, receipt

OTHER = (1 << 63) | 7


def test_a_value_holds_what_was_journalled_and_says_when(new_line):
    line = new_line()
    batch_run = line.book.open_run(OTHER, 1, 0, HEAD, MID, receipts=False, honours_stop=False)
    before_ms = time.time_ns() // 1_000_000
    line.claim(Text(70_000), Text(70_001, decision=Decision.QUIET), Text(70_002, (b"a", b"b")), Text(9))
    line.claim(5, pool=REPLIES, run=batch_run)
    line.book.log(Kind.SETTLED, 3, 8, 12, line.run, 0x1000007)
    line.give(receipt("held-id", "EXPIRED", err="021", number=77))
    line.commit()
    made = [record[:-1] if record[0] != "claim" else record for record in line.log]
    assert [r[:6] for r in made if r[0] == "claim"] == [
        ("claim", CAMPAIGN, BULK, 70_000, 0, bytes((1, 128 + 23, 2))),
        ("claim", CAMPAIGN, BULK, 9, 3, b"\1"),
        ("claim", OTHER, REPLIES, 5, 0, b"\1"),
    ]
    assert [r[:7] for r in made if r[0] != "claim"] == [
        (Kind.SETTLED, CAMPAIGN, 12, 3, 8, 0x1000007, b""), (Kind.HELD, None, 77, 0, 5, 21, b"held-id"),
    ]  # fmt: skip
    after_ms = time.time_ns() // 1_000_000
    for record in line.log:
        assert before_ms <= (record[6] if record[0] == "claim" else record[7]) <= after_ms
    assert len(line.values[0]) % 8 == 0
    assert [r[0] for r in records(line.values[0], claims_only=True)] == ["claim"] * 3


def test_an_empty_journal_gives_an_empty_value(new_line):
    line = new_line()
    value, count = line.book.cut()
    assert (len(value), count) == (0, 0)
    line.book.committed()
    line.claim(0)
    assert line.book.journal_records_waiting == 1
    assert len(line.commit()) == 1 and line.book.journal_records_waiting == 0


def test_a_start_knows_the_ids_that_still_await_their_receipt(new_line):
    line = new_line(window=100)
    other = line.book.open_run(OTHER, 1, 0, HEAD, MID, receipts=True, honours_stop=False)
    unwanted = line.book.open_run(99, 1, 0, HEAD, MID, receipts=True, honours_stop=False)
    submits = line.send(*range(30)) + line.send(Text(3, (b"a", b"b")), run=other) + line.send(5, run=unwanted)
    for no, submit in enumerate(submits):
        line.answer(submit, message_id=f"00AB{no}")
    line.commit()
    for no in (0, 7, 31):
        line.give(receipt(f"AB{no}"))
    line.commit()

    after = new_line()
    wanted = {
        CAMPAIGN: after.run,
        OTHER: after.book.open_run(OTHER, 1, 0, HEAD, MID, receipts=True, honours_stop=False),
        99: -1,
    }
    settled = Settled()
    assert sum(after.book.rebuild(value, wanted, settled) for value in reversed(line.values)) == 29
    assert settled.count == 3 and after.book.index_live == 29
    for no in range(33):
        after.give(receipt(f"ab{no}", "EXPIRED"))
    after.commit()
    found = [(r[1], r[2], r[3]) for r in after.log if r[0] == Kind.RECEIPT]
    assert found == [(CAMPAIGN, no, 0) for no in range(30) if no not in (0, 7)] + [(OTHER, 3, 0)]
    assert after.book.n_held == 4  # those that were settled before, and the unwanted


def test_ids_that_the_index_forgot_are_found_in_the_log(new_line):
    line = new_line()
    for submit, name in zip(line.send(Text(8, (b"a", b"b"))), ("2faf0800", "2faf0801"), strict=True):
        line.answer(submit, message_id=name)
    line.commit()
    after = new_line(ids="hex_decimal")
    wanted = Settled()
    for name in (b"800000001", b"2FAF0800", b"5"):  # decimal, as a TLV may have it, unknown
        wanted.put(after.book.key_of(name, receipt=True))
    found = [item for value in line.values for item in after.book.find_ids(value, wanted)]
    assert [(campaign, rank, part) for _, campaign, rank, part in found] == [(CAMPAIGN, 8, 0), (CAMPAIGN, 8, 1)]
    assert {key for key, *_ in found} == {after.book.key_of(n, receipt=True) for n in (b"800000001", b"2FAF0800")}


def test_held_receipts_are_found_again_and_matched_by_a_late_response(new_line):
    line = new_line()
    line.give(receipt("one", "EXPIRED", err="009", number=11) + receipt("two", number=22))
    line.give(receipt("one", "DELIVRD", number=11))
    line.commit()
    after = new_line()
    held = [item for value in reversed(line.values) for item in after.book.held_in(value, 0)]
    assert [(number, state, status) for _, number, _, status, state in held] == [(11, 5, 9), (22, 4, 0), (11, 4, 0)]
    assert after.book.held_in(line.values[0], (1 << 63)) == []
    after.book.remember(b"TWO", after.run, 2, 0, 3)
    for key, number, at_ms, status, state in reversed(held):  # whatever the order, the better state stays
        after.book.hold(key, number, at_ms, status, state)
    (submit,) = after.send(1)
    after.answer(submit, message_id="one")
    after.commit()
    assert [(r[2], r[4]) for r in after.log if r[0] == Kind.RECEIPT] == [(2, 4), (1, 4)]
    assert after.book.n_held == 0


@pytest.mark.parametrize("call", ["rebuild", "find_ids", "held_in", "records"])
def test_octets_that_are_no_log_value_are_refused(new_line, call):
    line = new_line()
    for submit in line.send(0, 1):
        line.answer(submit, message_id="abc")
    line.commit()
    good = line.values[-1]
    calls = {
        "rebuild": lambda value: line.book.rebuild(value, {}, Settled()),
        "find_ids": lambda value: line.book.find_ids(value, Settled()),
        "held_in": lambda value: line.book.held_in(value, 0),
        "records": records,
    }
    huge = good[:16] + b"\xff\xff\xff\x7f" + good[20:]
    for bad in (b"", b"\x4f\x56", good[:23], b"XX" + good[2:], good[:-17], huge):
        with pytest.raises(ValueError, match="not a value"):
            calls[call](bad)


@settings(deadline=None, max_examples=200)
@given(damage=st.lists(st.tuples(st.integers(24, 400), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_value_crashes_nothing(damage):
    with Line(window=100) as line:
        for submit in line.send(*(Text(rank, (b"a", b"b")) for rank in range(4))):
            line.answer(submit, message_id=f"id{submit.sequence}")
        line.give(receipt("unknown"))
        line.commit()
        value = bytearray(line.values[-1])
        for at, octet in damage:
            if at < len(value):
                value[at] = octet
        for call in (
            lambda: line.book.rebuild(value, {CAMPAIGN: 0}, Settled()),
            lambda: line.book.find_ids(value, Settled()),
            lambda: line.book.held_in(value, 0),
            lambda: records(value),
        ):
            try:
                call()
            except ValueError as exc:
                assert "outcome log" in str(exc)


def test_settled_is_a_set_whatever_its_size():
    settled = Settled()
    keys = random.Random(4).sample(range(1 << 48), 120_000)
    for key in keys + keys[:50_000]:
        settled.put(key)
    assert settled.count == 120_000


CHILD = """
import mmap, os, signal, socket, sys
from tests.smpp.line import Line
marks = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 4096)
line = Line(marks=memoryview(marks)[:64].cast("Q"), window=50)
theirs = line.smsc[0]
fd = int(sys.argv[2])
line.claim(*range(200))
line.commit()
while True:
    reached = [s.sequence for s in line.submits()]
    os.write(fd, b"%d\\n" % len(reached))
    for sequence in reached:
        line.answer(sequence, message_id="x")
    if not reached:
        os.kill(os.getpid(), signal.SIGKILL)
    line.commit()
"""


def test_the_mark_outlives_kill_9_and_covers_what_reached_the_smsc(tmp_path):
    marks = tmp_path / "marks"
    marks.write_bytes(bytes(4096))
    read, write = os.pipe()
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(marks), str(write)],
        pass_fds=[write],
        cwd=os.getcwd(),
        timeout=30,
        check=False,
    )
    os.close(write)
    with os.fdopen(read) as lines:
        reached = sum(map(int, lines))
    assert child.returncode == -9 and reached == 200
    assert int.from_bytes(marks.read_bytes()[:8], "little") == 200


def test_numbers_of_members_are_not_their_ranks(new_line):
    """slot and destination come back as they were given, for whoever decides on a repeat."""
    line = new_line()
    line.send(Text(3, number=NUMBER))
    line.pump.close()
    assert line.book.take_returned() == [(Kind.UNCERTAIN, line.run, 3, 0, 1, 3, NUMBER, 2, 0, 0)]
