"""What keeps a claimed part from leaving: opt-outs in mid-send, a paused run, a draining bind; and runs themselves."""

import pytest

from dispatcher.records.states import Decision
from dispatcher.smpp import codec
from dispatcher.smpp.pump import BULK, REPLIES, Kind, submit_head
from tests.smpp.line import CAMPAIGN, HEAD, MID, NUMBER, Line, Text, now_ns

SECOND = 1_000_000_000


def ranks(submits) -> list[int]:
    return [submit.to - NUMBER for submit in submits]


def test_nothing_leaves_to_a_revoked_number(new_line):
    line = new_line(window=1)
    exempt = line.book.open_run(9, 1, 0, HEAD, MID, receipts=False, honours_stop=False)
    other = line.book.open_run(10, 2, 0, HEAD, MID, receipts=False, honours_stop=True)
    (first,) = line.send(0)
    line.claim(Text(1, (b"a", b"b"), number=77), Text(2))
    for run in (exempt, other):
        line.claim(Text(3, number=77), run=run)
    line.commit()
    line.book.revoke(1, 77)
    line.answer(first, message_id="a")
    assert ranks(line.submits()) == [2]
    line.commit()
    assert line.kinds(Kind.SKIPPED) == [(1, 0, 20, 2), (1, 1, 20, 2)]
    assert [(item[0], item[2], item[7]) for item in line.book.take_returned()] == [(Kind.SKIPPED, 1, 20)] * 2
    assert line.book.stopped == 2
    line.answer(3, message_id="b")
    (allowed,) = line.submits()
    line.answer(allowed, message_id="c")
    (stranger,) = line.submits()
    assert (allowed.to, stranger.to) == (77, 77)  # a run that is exempt, and another tenant's
    assert line.book.revoked_count == 1
    line.book.forget_revoked()
    line.answer(stranger, message_id="d")
    assert line.send(Text(4, number=77))[0].to == 77


def test_many_revoked_numbers_are_all_found_and_no_others(new_line):
    line = new_line(window=2_000)
    for rank in range(0, 2_000, 2):
        line.book.revoke(1, NUMBER + rank)
        line.book.revoke(1, NUMBER + rank)
    assert line.book.revoked_count == 1_000
    assert ranks(line.send(*range(2_000))) == list(range(1, 2_000, 2))
    line.commit()
    assert [r[0] for r in line.kinds(Kind.SKIPPED)] == list(range(0, 2_000, 2))


def test_a_stopped_run_gives_back_what_has_not_left(new_line):
    line = new_line(window=1)
    other = line.book.open_run(9, 1, 0, HEAD, MID, receipts=False, honours_stop=True)
    (first,) = line.send(0)
    line.claim(1, Text(2, (b"a", b"b")))
    line.claim(3, run=other)
    line.commit()
    line.book.stop_run(line.run, True)
    line.answer(first, message_id="a")
    assert line.submits() == [] and line.marks[BULK] == line.book.position(BULK)[1] == 1, (
        "until that is on disk a start must find it above the mark, so nothing behind it leaves"
    )
    line.commit()
    assert ranks(line.submits()) == [3] and line.marks[BULK] == line.book.position(BULK)[1] == 5
    assert line.kinds(Kind.RELEASED) == [(1, 0, 0, 0), (2, 0, 0, 0), (2, 1, 0, 0)]
    assert [item[0] for item in line.book.take_returned()] == [Kind.RELEASED] * 3
    assert line.book.run_open(line.run) == 0 and line.book.open_parts == 1
    line.book.stop_run(line.run, False)
    line.answer(3, message_id="b")
    assert ranks(line.send(5)) == [5]


def test_a_number_is_revoked_with_the_decision_that_was_given(new_line):
    line = new_line()
    line.claim(0, 1, 2)
    line.book.cut()
    line.book.revoke(1, NUMBER, Decision.SUPPRESSED)
    line.book.revoke(1, NUMBER + 2)
    line.book.revoke(1, NUMBER + 2, Decision.SUPPRESSED)  # the last word counts
    line.book.committed()
    line.pump.push()
    assert ranks(line.submits()) == [1]
    assert [(item[2], item[7]) for item in line.book.take_returned()] == [
        (0, Decision.SUPPRESSED),
        (2, Decision.SUPPRESSED),
    ]
    line.commit()
    assert [state for _, _, state, _ in line.kinds(Kind.SKIPPED)] == [Decision.SUPPRESSED] * 2


def test_at_the_end_of_a_run_what_never_left_is_given_back_and_the_mark_stays_until_then(new_line):
    line = new_line(window=2)
    submits = line.send(*range(5))
    line.claim(9, pool=REPLIES)  # not even on disk
    assert line.book.release_queued() == 4
    assert line.marks[BULK] == 2 and line.marks[REPLIES] == 0  # a start before the commit finds them above
    line.commit()
    assert line.kinds(Kind.RELEASED) == [(rank, 0, 0, 0) for rank in (2, 3, 4, 9)]
    assert list(line.marks[:2]) == [5, 1] and line.submits() == []
    for submit in submits:
        line.answer(submit, message_id="a")
    line.commit()
    assert line.book.open_parts == 0 and line.book.release_queued() == 0


def test_flying_to_counts_what_is_handed_over_and_unanswered(new_line):
    line = new_line(window=2)
    submits = line.send(Text(0, number=77), Text(1, number=77), Text(2, number=77))
    assert line.pump.flying_to(77) == 2 and line.pump.flying_to(78) == 0
    line.answer(submits[0], message_id="a")
    line.answer(submits[1], 0x0B)
    assert line.pump.flying_to(77) == 1
    line.pump.tick(now_ns() + 31 * SECOND, 30 * SECOND)
    assert line.pump.flying_to(77) == 0


# ---- runs and draining


def test_a_run_opened_again_keeps_its_number_and_takes_the_new_octets(new_line):
    line = new_line()
    again = line.book.open_run(CAMPAIGN, 1, 0, submit_head("OTHER", 1, 1, 1, 1), MID, receipts=True, honours_stop=True)
    assert again == line.run and line.book.run_id(again) == CAMPAIGN and line.book.run_id(99) is None
    (submit,) = line.send(0)
    assert codec.decode_message(submit.pdu).source_addr == "OTHER"
    with pytest.raises(ValueError, match="head at most 80"):
        line.book.open_run(1, 1, 0, bytes(81), MID, receipts=True, honours_stop=True)


def test_a_draining_bind_submits_nothing_more_and_still_answers(new_line):
    line = new_line()
    (submit,) = line.send(0)
    line.pump.draining = True
    line.claim(1)
    line.commit()
    line.give(codec.encode(0x15, 0, 77))
    assert line.pdus() == [codec.encode(0x80000015, 0, 77)]
    line.answer(submit, message_id="a")
    assert line.pump.idle and line.book.queued(BULK) == 1


def test_octets_of_pythons_making_leave_first_and_whole(new_line):
    line = new_line(window=100)
    line.claim(*range(50))
    unbind = codec.encode(6, 0, line.pump.next_sequence_number())
    many = b"".join(codec.encode(0x80000005, 0, n, b"\0") for n in range(1, 9_001))  # more than one send takes
    line.pump.queue(many + unbind)
    line.commit()
    pdus = line.pdus()
    assert b"".join(pdus[:9_001]) == many + unbind
    assert len(pdus) == 9_051


def test_the_repr_tells_the_state(new_line):
    line = new_line(window=7)
    line.send(0, 1)
    assert "in_flight=2/7" in repr(line.pump)
    with pytest.raises(ValueError, match="window"):
        line.bind(window=0)
    with pytest.raises(ValueError, match="powers of two"):
        Line(ring=3)
