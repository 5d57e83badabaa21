"""Claim, commit, send, settle: what may leave when, what each answer means, what a broken bind leaves behind."""

import itertools
import socket

import pytest

from dispatcher.records.states import Decision
from dispatcher.smpp import codec
from dispatcher.smpp.consts import STATUSES, Action, action_of
from dispatcher.smpp.pump import BULK, CLOSED, OFF_PATH, REPLIES, URGENT, Kind, submit_head, submit_mid
from tests.smpp.line import CAMPAIGN, MID, NUMBER, Text, batch, now_ns, read_submit, response

SECOND = 1_000_000_000


def ranks(submits) -> list[int]:
    return [submit.to - NUMBER for submit in submits]


# ---- what leaves, and when


def test_a_claim_leaves_only_after_its_commit(new_line):
    line = new_line()
    line.claim(0, 1)
    line.pump.push()
    assert line.pdus() == []
    line.book.cut()
    line.pump.push()
    assert line.pdus() == []
    line.book.committed()
    line.pump.push()
    assert ranks(line.submits()) == [0, 1]


def test_a_claim_made_while_a_commit_runs_waits_for_the_next(new_line):
    line = new_line()
    line.claim(0)
    line.book.cut()
    line.claim(1)
    line.book.committed()
    line.pump.push()
    assert ranks(line.submits()) == [0]
    line.commit()
    assert ranks(line.submits()) == [1]


def test_the_judge_reads_every_field_of_a_submit_sm(new_line):
    line = new_line()
    head = submit_head("4915199", 1, 1, 2, 8)
    run = line.book.open_run(
        7, 1, 0, head, submit_mid(validity_s=93_784, receipts=False, priority=2), receipts=False, honours_stop=False
    )
    rows, count, octets = batch([Text(3, (b"\5\0\3\7\2\1one", b"\5\0\3\7\2\2two"), number=36205551234)])
    line.book.claim(BULK, run, rows, count, octets)
    line.commit()
    first, second = line.submits()
    read = codec.decode_message(first.pdu)
    assert (read.source_addr, read.source_addr_ton, read.source_addr_npi) == ("4915199", 1, 1)
    assert (read.destination_addr, read.dest_addr_ton, read.dest_addr_npi) == ("36205551234", 2, 8)
    assert (read.esm_class, read.priority_flag, read.registered_delivery) == (0x40, 2, 0)
    assert read.validity_period == "000001020304000R"
    assert [first.octets, second.octets] == [b"\5\0\3\7\2\1one", b"\5\0\3\7\2\2two"]


def test_a_sender_with_letters_is_alphanumeric_and_no_octets_are_too_many(new_line):
    line = new_line()
    run = line.book.open_run(8, 1, 0, submit_head("A" * 30, 1, 1, 1, 1), MID, receipts=True, honours_stop=True)
    line.claim(Text(0, (bytes(range(254)),), number=(1 << 64) - 1), Text(1, (b"",)), run=run)
    line.commit()
    full, empty = line.submits()
    read = codec.decode_message(full.pdu)
    assert (read.source_addr, read.source_addr_ton, read.source_addr_npi) == ("A" * 20, 5, 0)
    assert full.octets == bytes(range(254)) and full.to == (1 << 64) - 1
    assert empty.octets == b""


def test_the_mark_is_stored_before_the_octets_leave(new_line):
    line = new_line(window=3)
    line.claim(*range(5))
    assert list(line.marks[:2]) == [0, 0]
    line.commit()
    assert line.marks[BULK] == 3 == len(line.submits())
    line.claim(9, pool=REPLIES)
    line.commit()
    line.answer(2, message_id="a")
    assert line.marks[REPLIES] == 1  # a reply overtakes what is claimed in bulk
    assert line.book.position(BULK) == (5, 3) and line.book.position(REPLIES) == (1, 1)


def test_claim_numbers_go_on_from_the_mark_of_the_process_before(new_line):
    marks = memoryview(bytearray(64)).cast("Q")
    marks[BULK] = 1_000
    line = new_line(marks=marks)
    line.claim(4, 5)
    (claim,) = line.commit()
    assert claim[:6] == ("claim", CAMPAIGN, BULK, 4, 1_000, b"\1\1")
    assert line.marks[BULK] == 1_002


def test_replies_leave_before_bulk(new_line):
    line = new_line(window=3)
    line.claim(0, 1)
    line.claim(7, 8, pool=REPLIES)
    line.commit()
    assert ranks(line.submits()) == [7, 8, 0]


def test_sequence_numbers_wrap_to_1_and_pass_over_those_in_use(new_line):
    line = new_line(window=4, first_seq=0x7FFFFFFE)
    first = line.send(0, 1, 2)
    assert [submit.sequence for submit in first] == [0x7FFFFFFE, 0x7FFFFFFF, 1]
    for submit in first[1:]:
        line.answer(submit, message_id="x")
    for rank in range(3, 40):  # the table has 16 places: 0x7FFFFFFE keeps one of them until it is answered
        (submit,) = line.send(rank)
        assert submit.sequence & 15 != 0x7FFFFFFE & 15 and 1 <= submit.sequence <= 0x7FFFFFFF
        line.answer(submit, message_id=f"m{rank}")
    line.answer(first[0], message_id="late but in time")
    line.commit()
    assert line.kinds(Kind.ACCEPTED)[-1][0] == 0
    assert line.book.open_parts == 0


def test_skipped_recipients_are_in_the_claim_and_never_leave(new_line):
    line = new_line()
    submits = line.send(Text(0), Text(1, decision=Decision.OPTED_OUT), Text(2), Text(5, decision=Decision.ERASED))
    assert ranks(submits) == [0, 2]
    assert [claim[3:6] for claim in line.log] == [(0, 0, bytes([1, 128 + 20, 1])), (5, 2, bytes([128 + 27]))]


def test_a_repeat_of_some_parts_claims_those_alone(new_line):
    line = new_line()
    parts = (b"aa", b"bb", b"cc", b"dd")
    submits = line.send(
        Text(0),
        Text(1, parts, skip=(0, 2)),
        Text(2, parts, skip=(0, 1, 2, 3)),
        Text(3),
        Text(4, (b"z",) * 20, skip=(17,)),
    )
    assert [s.octets for s in submits] == [b"hello", b"bb", b"dd", b"hello"]
    line.answer(submits[0], message_id="a")
    # first_rank, claim_no, parts; again: bits of the last rank's
    assert [(*c[3:6], c[7]) for c in line.log] == [(0, 0, b"\1\4", 0b1010), (3, 3, b"\1\x14", 0xFFFF)]


@pytest.mark.parametrize(
    ("rows", "count", "octets", "run", "pool", "why"),
    [
        (b"", 1, b"", 0, BULK, "fewer octets"),
        (batch([Text(0)])[0], 1, b"hel", 0, BULK, "outside its octets"),
        (batch([Text(0)])[0], 1, b"hello", 9, BULK, "unknown run"),
        (batch([Text(0)])[0], 1, b"hello", 0, 3, "pool 3"),
        (batch([Text(0)])[0], 1, b"hello", 0, -1, "pool -1"),
        (*batch([Text(0, (b"x",) * 128)]), 0, BULK, "127 parts"),
        (*batch([Text(n) for n in range(300)]), 0, REPLIES, "without room"),
        (*batch([Text(0, (b"x" * 255,))]), 0, BULK, "outside its octets"),
    ],
)
def test_a_wrong_claim_is_refused_whole(new_line, rows, count, octets, run, pool, why):
    line = new_line()
    with pytest.raises(ValueError, match=why):
        line.book.claim(pool, run, rows, count, octets)
    assert (line.book.open_parts, line.book.journal_records_waiting, line.book.position(BULK)) == (0, 0, (0, 0))


# ---- answers


def test_answers_settle_in_any_order(new_line):
    line = new_line()
    submits = line.send(*range(6))
    for rank in (3, 0, 5, 1, 4, 2):
        line.answer(submits[rank], message_id=f"id{rank}")
    line.commit()
    accepted = [(r[2], r[6]) for r in line.log if r[0] == Kind.ACCEPTED]
    assert accepted == [(rank, b"id%d" % rank) for rank in (3, 0, 5, 1, 4, 2)]
    assert line.pump.in_flight == line.book.open_parts == line.book.run_open(line.run) == 0


@pytest.mark.parametrize("status", [*STATUSES, 0x09, 0x16, 0x400, 0x55F, 1 << 31, (1 << 32) - 1])
def test_every_command_status_does_what_its_class_says(new_line, status):
    line = new_line(tries_max=3)
    action = action_of(status)
    for tries, again in ((0, True), (1, True), (2, False)):
        line.book.hold_until(0)
        (submit,) = line.send(Text(tries, tries=tries))
        flags = line.answer(submit, status)
        returned = line.book.take_returned()
        line.commit()
        record = [r for r in line.log if r[0] != "claim"][-1]
        kind, rank, state, was = record[0], record[2], record[4], record[5]
        assert (rank, was) == (tries, status)
        if action is Action.DONE:
            assert kind == Kind.ACCEPTED
        elif action in (Action.THROTTLED, Action.LATER):
            assert (kind, state) == (Kind.RETRY, 1)
        elif action is Action.FAIL or not again:
            assert (kind, state) == (Kind.REFUSED, 0)
        else:
            assert (kind, state) == (Kind.RETRY, 0)
        if kind == Kind.RETRY:
            assert returned == [(Kind.RETRY, line.run, tries, 0, 1, tries, NUMBER + tries, status, tries, 0)]
        else:
            assert returned == []
        assert bool(flags & 4) == (action is Action.CLOSE)
        assert (now_ns() < line.book.hold_until_ns) == (action is Action.THROTTLED)
        if flags & 4:
            break


def test_a_throttle_holds_all_but_the_urgent(new_line):
    line = new_line()
    line.book.retry_ns = 3600 * SECOND
    (submit,) = line.send(0)
    line.answer(submit, 0x58)
    line.claim(1)
    line.claim(2, pool=URGENT)
    line.claim(3, pool=REPLIES)
    line.commit()
    assert ranks(line.submits()) == [2]
    assert line.book.next_send_ns > now_ns() + 3599 * SECOND
    line.book.hold_until(0)
    line.pump.push()
    assert ranks(line.submits()) == [3, 1]


def test_a_lane_that_waits_has_one_part_in_twenty_of_those_above_it(new_line):
    line = new_line(window=200)
    line.claim(*range(100, 110))
    line.claim(*range(200, 230), pool=REPLIES)
    line.claim(*range(300, 350), pool=URGENT)
    line.commit()
    order = [submit.to - NUMBER for submit in line.submits()]
    assert order[:23] == [*range(300, 320), 200, 100, 320]
    assert sorted(order) == [*range(100, 110), *range(200, 230), *range(300, 350)]
    bulk = [at for at, rank in enumerate(order) if rank < 200]
    assert all(later - earlier <= 23 for earlier, later in itertools.pairwise(bulk))


def test_a_generic_nack_answers_the_submit_of_its_sequence_number(new_line):
    line = new_line()
    submits = line.send(0, 1)
    assert line.give(codec.generic_nack(submits[0].sequence, 0x0B)) & OFF_PATH
    line.give(codec.generic_nack(submits[1].sequence, 0))
    line.commit()
    assert line.kinds(Kind.REFUSED, Kind.RETRY) == [(0, 0, 0, 0x0B), (1, 0, 0, 0xFF)]
    assert len(line.pump.take_off()) == 2


def test_answers_nobody_waits_for_are_counted_and_dropped(new_line):
    line = new_line()
    (submit,) = line.send(0)
    for octets in (response(submit.sequence + 1), response(0), response(0xFFFFFFFF), codec.generic_nack(0, 3)):
        line.give(octets)
    line.answer(submit, message_id="a")
    line.answer(submit, message_id="a")
    line.commit()
    assert line.book.strange_responses == 5
    assert [r[6] for r in line.log if r[0] == Kind.ACCEPTED] == [b"a"]


def test_an_answer_without_a_message_id_or_its_nul_is_an_acceptance(new_line):
    line = new_line()
    bodies = [b"", b"\0", b"abc", b"x" * 70 + b"\0", b"abc\0\x04\x28\0\1\x32"]
    for submit, body in zip(line.send(*range(5)), bodies, strict=True):
        line.give(codec.encode(0x80000004, 0, submit.sequence, body))
    line.commit()
    assert [r[6] for r in line.log if r[0] == Kind.ACCEPTED] == [b"", b"", b"abc", b"x" * 64, b"abc"]


# ---- time


def test_what_is_unanswered_for_the_response_timeout_is_uncertain(new_line):
    line = new_line()
    submits = line.send(0, 1)
    line.answer(submits[0], message_id="a")
    assert line.pump.tick(now_ns(), 30 * SECOND) == 0
    assert line.pump.tick(now_ns() + 31 * SECOND, 30 * SECOND) == 1
    assert line.pump.tick(now_ns() + 99 * SECOND, 30 * SECOND) == 0
    assert line.book.take_returned() == [(Kind.UNCERTAIN, line.run, 1, 0, 1, 1, NUMBER + 1, 1, 0, 0)]
    line.commit()
    assert line.kinds(Kind.UNCERTAIN) == [(1, 0, 1, 0)]
    assert line.book.open_parts == line.pump.in_flight == 0 and line.pump.timeouts_in_row == 1


@pytest.mark.parametrize(
    ("status", "record"),
    [(0, (Kind.ACCEPTED, 0)), (0x0B, (Kind.REFUSED, 1)), (0x58, None), (0x14, None), (0x08, None)],
)
def test_a_late_answer_settles_what_it_settles_for_good_and_frees_nothing_twice(new_line, status, record):
    line = new_line()
    (submit,) = line.send(0)
    line.pump.tick(now_ns() + 31 * SECOND, 30 * SECOND)
    line.book.take_returned()
    line.commit()
    line.answer(submit, status, "a" if status == 0 else "")
    made = line.commit()
    assert [(r[0], r[4]) for r in made] == ([record] if record else [])
    assert line.book.take_returned() == [] and line.book.late == 1
    assert line.book.open_parts == line.pump.in_flight == line.book.run_open(line.run) == 0


# ---- the end of a bind


def test_a_closed_bind_gives_back_what_the_socket_never_had_and_leaves_the_rest_uncertain(new_line):
    line = new_line(window=2_000, ring=4096)
    line.smsc[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    line._ours[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    line.claim(*(Text(rank, (b"x" * 150,)) for rank in range(1_500)))
    line.commit()
    assert line.pump.blocked and line.pump.in_flight < 1_500
    flying = line.pump.in_flight
    reached = ranks([read_submit(pdu) for pdu in line.pdus()])  # whole PDUs; a torn one at the end counts as unsent
    line.pump.close()
    line.commit()
    released, uncertain = line.kinds(Kind.RELEASED), line.kinds(Kind.UNCERTAIN)
    assert sorted(r[0] for r in uncertain) == reached
    assert all(state == 2 for _, _, state, _ in uncertain)
    assert [r[0] for r in released] == list(range(len(reached), flying))
    assert line.pump.in_flight == 0
    assert line.book.open_parts == line.book.queued(BULK) == 1_500 - flying
    returned = line.book.take_returned()
    assert len(returned) == flying and {item[0] for item in returned} == {Kind.RELEASED, Kind.UNCERTAIN}


def test_closing_twice_settles_once(new_line):
    line = new_line()
    line.send(0)
    line.pump.close()
    line.pump.close()
    line.commit()
    assert len(line.kinds(Kind.UNCERTAIN)) == 1 and line.book.open_parts == 0


def test_what_timed_out_is_not_uncertain_again_when_its_bind_ends(new_line):
    line = new_line()
    line.send(0, 1)
    line.pump.tick(now_ns() + 31 * SECOND, 30 * SECOND)
    line.pump.close()
    line.commit()
    assert [r[2] for r in line.kinds(Kind.UNCERTAIN)] == [1, 1]


def test_a_peer_that_closes_or_resets_is_seen(new_line):
    line = new_line(binds=2)
    line.smsc[0].close()
    assert line.pump.pull() & CLOSED
    line.smsc[1].close()
    line.claim(0)
    line.commit()
    assert line.pumps[1].push() & CLOSED
    assert line.pumps[1].last_errno
    for pump in line.pumps:
        pump.close()
    line.commit()
    assert line.kinds(Kind.RELEASED) == [(0, 0, 0, 0)] and line.book.open_parts == 0


def test_another_bind_takes_what_a_broken_one_gave_back(new_line):
    line = new_line(binds=2, window=1)
    line.claim(0, 1, 2)
    line.commit()
    assert ranks(line.submits(0)) == [0] and ranks(line.submits(1)) == [1]
    line.pumps[0].close()
    line.commit()
    line.give(response(2, 0, "a"), bind=1)
    assert ranks(line.submits(1)) == [2]
    line.commit()
    assert line.kinds(Kind.UNCERTAIN) == [(0, 0, 2, 0)] and line.book.open_parts == 1
