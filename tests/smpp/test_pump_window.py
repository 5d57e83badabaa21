"""How much may be on its way: the window, messages of many parts, the rate, the credit, the room of rings and journal."""

import socket
import time

import pytest

from dispatcher.records.states import Decision
from dispatcher.smpp import codec
from dispatcher.smpp.pump import BULK, REPLIES, Kind
from tests.smpp.line import NUMBER, Text, now_ns, receipt, response

SECOND = 1_000_000_000


def many(count: int, mark: str = "p") -> tuple[bytes, ...]:
    return tuple(b"%s%d" % (mark.encode(), no) for no in range(count))


def texts(submits) -> list[bytes]:
    return [submit.octets for submit in submits]


# ---- window


def test_never_more_than_the_window_is_unanswered(new_line):
    line = new_line(window=4)
    waiting = line.send(*range(20))
    seen = len(waiting)
    while waiting:
        assert len(waiting) <= 4 and line.pump.in_flight == len(waiting)
        line.answer(waiting.pop(), message_id=f"i{seen}")
        more = line.submits()
        waiting += more
        seen += len(more)
    assert seen == 20 and line.pump.idle


def test_each_bind_has_its_own_window_and_takes_in_turn(new_line):
    line = new_line(binds=3, window=2)
    line.claim(*range(10))
    line.commit()
    assert [[s.to - NUMBER for s in line.submits(bind)] for bind in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert line.marks[BULK] == 6


def test_a_message_waits_until_all_its_parts_fit_the_window(new_line):
    line = new_line(window=4)
    first = line.send(Text(0, many(2)), Text(1, many(3)), Text(2))
    assert texts(first) == [b"p0", b"p1"]
    line.answer(first[0], message_id="a")
    assert texts(line.submits()) == [b"p0", b"p1", b"p2"]
    line.answer(first[1], message_id="b")
    assert texts(line.submits()) == [b"hello"]


def test_a_message_with_more_parts_than_the_window_leaves_in_order_on_one_bind(new_line):
    line = new_line(binds=2, window=3)
    (before,) = line.send(Text(0))
    line.claim(Text(1, many(8)), Text(2))
    line.commit()
    assert line.submits(0) == []  # not begun while the bind has something else in flight
    parts = line.submits(1)
    assert texts(parts) == [b"p0", b"p1", b"p2"]
    assert line.book.queued(BULK) == 6  # five of its parts, and the next message
    assert texts(line.submits(0)) == [] and line.pumps[0].push() == 0
    assert texts(line.submits(0)) == [b"hello"]  # the message behind it may take the other bind
    while len(parts) < 8:
        assert line.pumps[1].in_flight <= 3
        line.answer(parts[-1], message_id=f"m{len(parts)}", bind=1)
        parts += line.submits(1)
    assert texts(parts) == list(many(8))
    assert line.pumps[1].flying_to(NUMBER + 1) == 3
    line.answer(before, message_id="z")
    assert line.book.queued(BULK) == 0


def test_a_message_cut_short_by_its_binds_end_is_given_back_from_there(new_line):
    line = new_line(window=3)
    parts = line.send(Text(1, many(8)))
    line.answer(parts[0], message_id="a")
    assert texts(line.submits()) == [b"p3"]
    line.pump.close()
    line.commit()
    assert [part for _, part, _, _ in line.kinds(Kind.UNCERTAIN)] == [1, 2, 3]
    assert [part for _, part, _, _ in line.kinds(Kind.RELEASED)] == [4, 5, 6, 7]
    assert line.book.open_parts == line.book.queued(BULK) == 0


def test_a_message_longer_than_one_send_leaves_whole(new_line):
    line = new_line(window=1_000)
    part = (b"x" * 254,)
    sent = line.send(*(Text(rank, part) for rank in range(150)), Text(150, part * 120), Text(151))
    assert len(sent) == 271 and texts(sent)[-1] == b"hello"
    assert [s.sequence for s in sent] == list(range(2, 273))


def test_a_reply_of_many_parts_is_not_overtaken_by_bulk(new_line):
    line = new_line(window=3)
    flying = line.send(0, 1, 2)
    line.claim(*range(3, 10))
    line.claim(Text(50, many(3)), pool=REPLIES)
    line.commit()
    for submit in flying[:2]:
        line.answer(submit, message_id=str(submit.sequence))
        assert line.submits() == []
    line.answer(flying[2], message_id="last")
    assert texts(line.submits()) == [b"p0", b"p1", b"p2"]


def test_a_hold_stops_the_rest_of_a_bulk_message_too(new_line):
    line = new_line(window=2)
    line.book.retry_ns = 3600 * SECOND
    parts = line.send(Text(0, many(5)))
    line.answer(parts[0], 0x58)
    assert line.submits() == []
    line.book.hold_until(0)
    line.pump.push()
    assert texts(line.submits()) == [b"p2"]


# ---- rate


def receive_for(line, ms: int) -> list[int]:
    """At which millisecond of the line's clock each submit_sm left, answering all."""
    times: list[int] = []
    begin = line.book.clock_ns
    for now in range(ms):
        line.book.clock_ns = begin + now * 1_000_000
        if line.book.room(BULK) > 500:
            line.claim(*range(200))
        line.commit()
        pdus = line.pdus()
        times += [now] * len(pdus)
        line.give(b"".join(codec.encode(0x80000004, 0, int.from_bytes(pdu[12:16], "big"), b"\0") for pdu in pdus))
    return times


def test_the_rate_is_never_passed_in_any_second_and_nearly_reached(new_line):
    rate = 2_000
    line = new_line(window=2_000, ring=4096, credit=4_000)
    line.book.clock_ns = 77 * SECOND
    line.book.set_rate(rate, line.book.clock_ns)
    times = receive_for(line, 3_000)
    assert times[0] >= 1_000  # the first second after a start is empty
    assert all(later - earlier >= 1_000 for earlier, later in zip(times, times[rate:], strict=False))
    assert len(times) >= 0.99 * rate * (times[-1] - times[0]) / 1_000


def test_a_rate_counts_parts_and_lets_a_message_longer_than_itself_out_in_pieces(new_line):
    line = new_line(window=100)
    line.book.set_rate(3, now_ns() - 2_010_000_000)  # a second ago it would have been free
    assert texts(line.send(Text(0, many(2)), Text(1, many(2)))) == [b"p0", b"p1"]
    assert line.book.next_send_ns > now_ns()
    line.book.set_rate(0, now_ns())
    line.pump.push()
    assert len(line.submits()) == 2
    line.book.set_rate(3, now_ns() - 2_010_000_000)
    assert texts(line.send(Text(3, many(7)))) == [b"p0"]
    assert line.book.queued(BULK) == 6
    line.pump.close()
    assert line.book.queued(BULK) == 0


def test_octets_that_a_full_socket_kept_back_are_paced_again(new_line):
    line = new_line()
    with pytest.raises(BlockingIOError):
        while line._ours[0].send(bytes(1_000)):
            pass
    line.book.set_rate(10, now_ns() - 3 * SECOND)
    line.claim(0, 1, 2)
    line.commit()
    assert line.pump.blocked and line.pump.in_flight == 1
    time.sleep(0.01)
    with pytest.raises(BlockingIOError):
        while line.smsc[0].recv(1 << 20):
            pass
    line.pump.push()  # there is room now, but its place in the pace was earlier
    assert not line.pump.blocked and line.book.queued(BULK) == 2 + 1  # somebody must push again
    with pytest.raises(BlockingIOError):
        line.smsc[0].recv(1)
    line.book.set_rate(0, now_ns())
    line.pump.push()
    assert len(line.submits()) == 3 and line.book.queued(BULK) == 0


# ---- credit, rings and the journal


def test_room_is_what_credit_leaves_and_settling_on_disk_gives_it_back(new_line):
    line = new_line(credit=10, window=4)
    assert line.book.room(BULK) == 10
    submits = line.send(*range(6))
    assert line.book.room(BULK) == 4 and line.book.open_parts == 6
    for submit, status in zip(submits, (0, 0x0B, 0x58, 0), strict=True):
        line.answer(submit, status)
    assert line.book.room(BULK) == 4  # answered, not yet on disk
    line.commit()
    assert line.book.room(BULK) == 8 and line.book.max_open == 6
    assert line.book.room(REPLIES) == 64  # a reply never waits for bulk's credit


def test_everything_that_can_happen_to_a_part_ends_its_account(new_line):
    line = new_line(binds=2, window=8)
    line.book.retry_ns = 0
    line.claim(*range(20), Text(20, many(20)), Text(21, decision=Decision.SUPPRESSED), *range(22, 30))
    line.commit()
    for round_ in range(40):
        for bind in (0, 1):
            for submit in line.submits(bind):
                line.give(
                    response(submit.sequence, (0, 0x58, 0x0B, 0x08, 0x14)[submit.sequence % 5], f"m{submit.sequence}"),
                    bind,
                )
        if round_ == 10:
            line.book.revoke(1, NUMBER + 25)
            line.book.stop_run(line.run, True)
        line.commit()
    for pump in line.pumps:
        pump.close()
    line.commit()
    assert line.book.open_parts == line.book.run_open(line.run) == line.book.queued(BULK) == 0
    assert line.book.made_total == line.book.settled_total == 48
    assert line.book.position(BULK) == (48, 48) == (line.marks[BULK],) * 2


def test_a_rings_room_holds_for_any_parts_as_it_turns(new_line):
    line = new_line(ring=32, window=32)
    octets = (b"x" * 254,)
    rank = 0
    for turn in range(400):
        room = min(line.book.room(BULK), 1 + turn % 13)
        assert room > 0
        sent = line.send(*(Text(rank + no, octets, number=(1 << 64) - 1) for no in range(room)))
        rank += room
        assert len(sent) == room
        for submit in sent:
            line.answer(submit, message_id="i")
    assert line.book.open_parts <= 13


def test_a_full_journal_stops_reading_until_a_commit(new_line):
    line = new_line()
    like = receipt("0" * 64)
    no = 0
    while not line.pump.full:
        no += 100
        line.give(b"".join(like.replace(b"0" * 64, b"%064d" % (no + n)) for n in range(100)))
    assert line.book.journal_full and no < 50_000
    seen = line.book.receipts
    line.smsc[0].send(codec.encode(0x15, 0, 5))
    line.pump.pull()
    assert line.book.receipts == seen and line.pdus() == []  # what arrives stays in the socket
    line.commit()
    assert not line.pump.full and not line.book.journal_full
    answers = line.pdus()
    line.pump.pull()
    while more := line.pdus():
        answers += more
        line.pump.push()
    assert len(answers) == seen + 1 and codec.encode(0x80000015, 0, 5) in answers


def test_claims_stop_before_the_journal_is_full(new_line):
    line = new_line(ring=1 << 16, credit=1 << 17, window=1)
    rank = 0
    while (room := min(line.book.room(BULK), 4_000)) > 0:
        line.claim(*(Text(rank + 2 * no) for no in range(room)))  # every second rank: a record each
        rank += 2 * room
    assert line.book.queued(BULK) <= 1 << 16
    assert line.book.journal_records_waiting > 0
    line.commit()
    assert line.book.room(BULK) >= 0


def test_binds_that_end_while_nothing_can_be_committed_overflow_nothing(new_line):
    line = new_line(binds=8, window=10_000, ring=1 << 16, credit=1 << 17)
    for pump in line.pumps:
        pump.draining = True
    rank = 0
    while (room := min(line.book.room(BULK), 8_000)) >= 8_000:
        line.claim(*range(rank, rank + room))
        rank += room
        line.commit()
    for pump, theirs in zip(line.pumps, line.smsc, strict=True):
        pump.draining = False
        for _ in range(200):
            pump.push()
            try:
                while theirs.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass
    flying = sum(pump.in_flight for pump in line.pumps)
    assert flying == rank > 50_000
    while not line.book.journal_full:
        for _ in range(10_000):
            line.book.log(Kind.SETTLED, 0, 7, 0, line.run, 0)
    for no in range(60_000):
        line.book.log(Kind.SETTLED, 0, 7, no, line.run, 0)
    for pump in line.pumps:
        pump.close()
    made = line.commit()
    assert len(made) > 60_000 + flying and sum(r[0] == Kind.UNCERTAIN for r in made) == flying
    assert line.book.open_parts == 0


def test_a_peer_that_asks_and_never_reads_is_not_read_for_ever(new_line):
    line = new_line()
    line._ours[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    flood = codec.encode(0x15, 0, 1) * 4_096
    sent = 0
    for _ in range(200):
        try:
            sent += line.smsc[0].send(flood)
        except BlockingIOError:
            pass
        line.pump.pull()
        if line.pump.full:
            break
    assert line.pump.full and sent < 4 << 20
    while line.pdus():
        line.pump.push()
    assert not line.pump.full


def test_one_cut_at_a_time(new_line):
    line = new_line()
    with pytest.raises(RuntimeError, match="without a cut"):
        line.book.committed()
    line.book.cut()
    with pytest.raises(RuntimeError, match="before the last one"):
        line.book.cut()
    line.book.committed()
