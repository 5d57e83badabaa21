"""Run numbers of a Book: given again once nothing speaks of their campaign, and then of the new one alone."""

from __future__ import annotations

import pytest

from dispatcher.smpp.pump import Kind
from tests.smpp.line import CAMPAIGN, HEAD, MID, now_ns, receipt

MAX_RUNS = 4_096
SECOND = 1_000_000_000


def open_run(line, campaign: int) -> int:
    return line.book.open_run(campaign, 1, 0, HEAD, MID, receipts=True, honours_stop=True)


def recycle(line, run: int) -> None:
    assert line.book.close_run(run)
    line.commit()
    while line.book.sweep_runs():
        pass


def test_ten_thousand_campaigns_pass_through_one_process(new_line):
    line = new_line()
    for number in range(10_000):
        if line.book.runs_free == 0:
            for run in range(1, MAX_RUNS):
                assert line.book.close_run(run)
            while line.book.sweep_runs():
                line.commit()
            assert line.book.runs_free == MAX_RUNS - 1
        run = open_run(line, CAMPAIGN + 1 + number)
        (submit,) = line.send(number, run=run)
        line.answer(submit, message_id=f"id{number}")
        if number % 3:  # others never have their receipt
            line.give(receipt(f"id{number}"))
        line.commit()
    settled = {record[1:3] for record in line.log if record[0] == Kind.RECEIPT}
    assert settled == {(CAMPAIGN + 1 + number, number) for number in range(10_000) if number % 3}
    with pytest.raises(ValueError, match="at most 4096"):
        for number in range(MAX_RUNS):
            open_run(line, number + 1)


def test_a_late_receipt_of_a_closed_run_is_held_like_one_of_an_unknown_id(new_line):
    line = new_line()
    old = open_run(line, 7)
    (submit,) = line.send(5, run=old)
    line.answer(submit, message_id="a1")
    line.commit()
    recycle(line, old)
    assert line.book.run_id(old) is None and line.book.index_live == 0
    assert open_run(line, 8) == old
    line.send(5, run=old)
    line.give(receipt("a1"))
    made = line.commit()
    assert [record[0] for record in made] == [Kind.HELD] and line.book.n_held == 1


def test_an_id_that_the_smsc_gives_again_is_of_the_new_message(new_line):
    line = new_line()
    old = open_run(line, 7)
    (submit,) = line.send(5, run=old)
    line.answer(submit, message_id="a1")
    line.commit()
    recycle(line, old)
    new = open_run(line, 8)
    (submit,) = line.send(6, run=new)
    line.answer(submit, message_id="a1")
    line.give(receipt("a1"))
    assert [record[1:3] for record in line.commit() if record[0] == Kind.RECEIPT] == [(8, 6)]


def test_what_is_in_flight_late_or_not_taken_keeps_its_run(new_line):
    line = new_line()
    (first,) = line.send(0)
    assert not line.book.close_run(line.run)
    line.pump.tick(now_ns() + 31 * SECOND, 30 * SECOND)
    line.commit()
    assert not line.book.close_run(line.run)
    assert [item[0] for item in line.book.take_returned()] == [Kind.UNCERTAIN]
    assert not line.book.close_run(line.run)  # it may be answered yet
    line.answer(first, message_id="late")
    assert line.book.close_run(line.run) and not line.book.close_run(line.run)


def test_a_late_one_that_nobody_answers_is_let_go_with_its_connection_or_its_place(new_line):
    line = new_line(window=1)
    other = open_run(line, 8)
    line.send(0)
    line.pump.tick(now_ns() + 31 * SECOND, 30 * SECOND)
    line.book.take_returned()
    for rank in range(16):  # round the table of 16 places
        (submit,) = line.send(rank, run=other)
        line.answer(submit, message_id=f"id{rank}")
    assert line.book.close_run(line.run)
    line.send(99, run=other)
    line.pump.tick(now_ns() + 31 * SECOND, 30 * SECOND)
    line.book.take_returned()
    assert not line.book.close_run(other)
    line.pump.close()
    assert line.book.close_run(other)


def test_what_the_journal_still_says_of_a_closed_run_is_written_under_its_own_campaign(new_line):
    line = new_line()
    old = open_run(line, 7)
    line.book.log(Kind.SETTLED, 0, 6, 3, old, 0)
    assert line.book.close_run(old)
    assert [line.book.sweep_runs() for _ in range(3)] == [True] * 3  # its records must be cut first
    assert open_run(line, 8) != old
    assert [record[1:3] for record in line.commit()] == [(7, 3)]
    assert not line.book.sweep_runs() and open_run(line, 9) == old
    with pytest.raises(ValueError, match="closed"):
        line.book.log(Kind.SETTLED, 0, 6, 3, free_run(line), 0)


def free_run(line) -> int:
    run = open_run(line, 10)
    recycle(line, run)
    return run
