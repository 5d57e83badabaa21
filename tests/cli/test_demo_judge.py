"""The demo's judge: how many lines of an SMSC's log each part may and must have, by what the ledger says of it."""

from __future__ import annotations

import time
from array import array
from pathlib import Path

import pytest

from bench.people import Expected
from dispatcher.campaigns.campaign import create_campaign
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.cli.demo_account import read_books, unlisted
from dispatcher.cli.demo_customer import Customer
from dispatcher.cli.demo_figures import Figures, Kill
from dispatcher.cli.demo_follow import RECEIPTS_S, Follower
from dispatcher.cli.demo_judge import (
    OPEN,
    RECEIPT,
    RESENT,
    ROK,
    UNCERTAIN,
    Account,
    Line,
    Reply,
    Verdict,
    judge,
    limits,
    read_lines,
)
from dispatcher.cli.demo_kills import Killer, LogWatch, Shares
from dispatcher.cli.demo_report import Report
from dispatcher.control.commands import CreateCampaign, PreviewCampaign, StartCampaign
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import Decision, State
from dispatcher.store.ledger import Counts
from tests.campaigns import log as records
from tests.campaigns.log import claim, log, log_begins, record
from tests.fakes.shop import NOW_MS, do
from tests.segments.crowd import new_crowd, settle

PHONE = 8613000000000
SENDER = "10690000"


def account(*traces: int, parts: int = 1) -> Account:
    """Recipients of `parts` parts each; `traces` part by part."""
    count = len(traces) // parts
    return Account(
        numbers=array("Q", range(PHONE, PHONE + count)),
        parts=bytearray([parts] * count),
        decisions=bytes([Decision.SENT] * count),
        states=bytes([State.DELIVERED] * count),
        text_hashes=array("I", range(1, count + 1)),
        trace=bytearray(traces),
        width=parts,
    )


def line(rank: int, part: int = 1, total: int = 1, octets_hash: int | None = None, at_ms: int = NOW_MS) -> Line:
    return Line(at_ms, SENDER, str(PHONE + rank), rank + 1 if octets_hash is None else octets_hash, part, total)


def found(verdict: Verdict) -> tuple[int, int]:
    return verdict.duplicates_on_wire, verdict.lost


def test_one_line_for_each_part_answered_rok():
    verdict = judge(account(ROK, ROK | RECEIPT), [line(0), line(1, at_ms=NOW_MS + 5)])
    assert found(verdict) == (0, 0)
    assert (verdict.lines, verdict.last_ms) == (2, NOW_MS + 5)


def test_accepted_here_and_absent_there_is_lost():
    verdict = judge(account(ROK, ROK), [line(1)])
    assert found(verdict) == (0, 1)
    assert verdict.examples == [f"{PHONE} part 1: no line (accepted)"]


def test_a_second_line_is_a_duplicate():
    assert found(judge(account(ROK), [line(0), line(0), line(0)])) == (2, 0)


@pytest.mark.parametrize(
    ("trace", "resends", "least", "most"),
    [
        (ROK, False, 1, 1),
        (ROK | RECEIPT, True, 1, 1),
        (UNCERTAIN, False, 0, 1),  # held
        (UNCERTAIN, True, 0, 1),  # would be sent again, and was not yet
        (UNCERTAIN | RECEIPT, False, 1, 1),  # settled by its number: it was there
        (UNCERTAIN | RESENT, True, 0, 2),  # uncertain again
        (UNCERTAIN | RESENT | ROK, True, 1, 2),
        (UNCERTAIN | RESENT | ROK, False, 1, 1),  # of a purpose that holds, nothing goes twice
        (OPEN, False, 0, 1),
        (0, False, 0, 0),  # refused, skipped, never claimed
    ],
)
def test_the_limits_of_a_part_follow_from_what_happened_to_it(trace, resends, least, most):
    assert limits(trace, resends) == (least, most)
    for lines in range(4):
        verdict = judge(account(trace), [line(0)] * lines, resends=resends)
        assert found(verdict) == (max(0, lines - most), int(lines < least))


def test_each_part_of_a_long_message_is_judged_by_itself():
    long = account(ROK, ROK, UNCERTAIN, parts=3)
    good = [line(0, part, 3) for part in (2, 1)]
    assert found(judge(long, good)) == (0, 0)
    assert found(judge(long, [*good, line(0, 3, 3)])) == (0, 0)
    assert found(judge(long, [*good, line(0, 1, 3)])) == (1, 0)
    assert found(judge(long, [line(0, 2, 3)])) == (0, 1)


def test_a_part_that_the_ledger_does_not_have_is_a_duplicate():
    assert found(judge(account(ROK), [line(0), line(0, 2, 2)])) == (1, 0)
    assert found(judge(account(ROK), [line(0), line(0, 0, 1)])) == (1, 0)


def test_a_line_outside_the_audience_is_a_duplicate():
    assert found(judge(account(ROK), [line(0), line(7)])) == (1, 0)


def test_octets_that_were_never_claimed_stand_for_nothing():
    assert found(judge(account(ROK), [line(0, octets_hash=77)])) == (1, 1)


def test_a_message_sent_again_may_have_been_rendered_anew():
    verdict = judge(account(ROK | UNCERTAIN | RESENT), [line(0, octets_hash=77), line(0)], resends=True)
    assert found(verdict) == (0, 0)


def test_answers_to_phones_are_told_apart_by_their_octets_and_come_once_each():
    points = Reply(SENDER, str(PHONE), 500, "the answer to POINTS")
    stop = Reply(SENDER, str(PHONE), 600, "the confirmation of STOP")
    lines = [line(0), line(0, octets_hash=500)]
    verdict = judge(account(ROK), lines, [points, stop])
    assert found(verdict) == (0, 0)
    assert verdict.lines == 1
    assert verdict.replies_missing == ["the confirmation of STOP"]
    twice = judge(account(ROK), [*lines, line(0, octets_hash=600), line(0, octets_hash=600)], [points, stop])
    assert (found(twice), twice.replies_missing) == ((1, 0), [])


def test_the_log_is_read_from_an_octet_on_and_only_in_whole_lines(tmp_path: Path):
    path = tmp_path / "smsc.log"
    path.write_bytes(b"1790000000000\t10690000\t8613\t0000002a\t1\t2\tabc\n")
    watch = LogWatch(path)
    with path.open("ab") as file:
        file.write(b"1790000000001\t10690000\t8614\tdeadbeef\t2\t2\tabd\n1790000000002\t1069")
    assert list(read_lines(path, watch.begin)) == [Line(1790000000001, "10690000", "8614", 0xDEADBEEF, 2, 2)]
    assert watch.accepted() == 1
    with path.open("ab") as file:
        file.write(b"0000\t8615\t00000001\t1\t1\tabe\n")
    assert watch.accepted() == 2


def test_a_log_of_another_format_is_refused(tmp_path: Path):
    path = tmp_path / "other.log"
    path.write_text("accepted a message\n")
    with pytest.raises(ValueError, match="not enough values"):
        list(read_lines(path))


def test_one_kill_comes_at_a_third_and_several_divide_the_parts():
    assert Shares(1).of(300_000) == [100_000]
    assert Shares(3).of(400) == [100, 200, 300]
    assert Shares(0).of(400) == []


# ---- the account, from a store


@pytest.fixture
def campaign(store) -> int:
    tenant = new_crowd(store)
    settle(store, tenant, {no: {"phone": PHONE + 10 * no, "live": True} for no in range(6)}, {}, 6)
    reply = do(store, create_campaign, CreateCampaign(title="Spring", text="Hi", sender="SHOP", max_parts=2))
    number = parse_public_id("cmp", reply["id"])
    assert number is not None
    token = do(store, preview_campaign, PreviewCampaign(campaign=number))["token"]
    do(store, start_campaign, StartCampaign(campaign=number, token=token))
    log_begins(store, number)
    return number


def books_of(store, campaign: int):
    with store.snapshot() as view:
        return read_books(view, 1, campaign)


def test_the_account_has_each_part_s_story_from_the_log(store, campaign):
    log(store, campaign, NOW_MS, claim(0, [1, 2, 1, 1, Decision.OPTED_OUT]))
    log(
        store,
        campaign,
        NOW_MS + 10,
        record(records.ACCEPTED, 0, message_id=b"a"),
        record(records.RECEIPT, 0, state=State.DELIVERED),
        record(records.ACCEPTED, 1, part=1, message_id=b"b"),
        record(records.UNCERTAIN, 1, part=0, state=3),
        record(records.REFUSED, 2, status=0x0B),
        record(records.RELEASED, 3),
    )
    books = books_of(store, campaign)
    assert list(books.account.numbers) == [PHONE + 10 * no for no in range(6)]
    assert books.account.width == 2
    assert list(books.account.trace) == [ROK | RECEIPT, 0, UNCERTAIN, ROK, 0, 0, 0, 0, 0, 0, 0, 0]
    assert books.differences() == []
    assert unlisted(books.account) == 2  # released, and never claimed
    assert books.ledger_octets > 0


def test_a_claim_after_the_uncertainty_is_the_resend_and_not_something_unsent(store, campaign):
    log(store, campaign, NOW_MS, claim(0, [1]))
    log(store, campaign, NOW_MS + 10, record(records.UNCERTAIN, 0, state=3))
    log(store, campaign, NOW_MS + 9_000, claim(0, [1]))
    account = books_of(store, campaign).account
    assert account.trace[0] == UNCERTAIN | RESENT | OPEN
    assert not account.unsent_at(NOW_MS + 5)
    log(store, campaign, NOW_MS + 9_010, record(records.RELEASED, 0))
    assert books_of(store, campaign).account.trace[0] == UNCERTAIN
    log(store, campaign, NOW_MS + 9_020, claim(1, [1]))
    assert books_of(store, campaign).account.unsent_at(NOW_MS + 5)


def test_a_claim_of_one_part_of_a_message_speaks_of_that_part_alone(store, campaign):
    log(store, campaign, NOW_MS, claim(0, [2]))
    log(
        store,
        campaign,
        NOW_MS + 10,
        record(records.UNCERTAIN, 0, state=3),
        record(records.UNCERTAIN, 0, part=1, state=3),
    )
    log(store, campaign, NOW_MS + 9_000, claim(0, [2], again=0b10))
    assert list(books_of(store, campaign).account.trace[:2]) == [UNCERTAIN, UNCERTAIN | RESENT | OPEN]


# ---- the figures


def counts(sent: int, skipped: int = 0, **states: int) -> Counts:
    values = [0] * 64
    values[Decision.SENT], values[Decision.SUPPRESSED] = sent, skipped
    for word, number in states.items():
        values[32 + State[word.upper()]] = number
    values[48] = values[50] = sent
    return Counts(tuple(values))


def figures(**changed: object) -> Figures:
    rows = {"rows_read": 10, "members_imported": 8, "rows_updated": 1, "rows_rejected": 1}
    made = Figures(imported=rows, expected=Expected(10, 8, 1, 1), audience=5, counts=counts(4, 1, delivered=4))
    made.verdict = Verdict(lines=4)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def recovery(**changed: int) -> dict[str, int]:
    return {"uncertain": 100, "claim_credit": 100, "at_or_above_mark": 0, "released": 7, **changed}


def kill(**changed: object) -> Kill:
    made = Kill(at_ms=NOW_MS, log_begins=0, restart_s=2.5, recovery=recovery())
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def test_a_run_in_which_everything_adds_up_is_ok():
    result = figures(kills=[kill()], kills_wanted=1).result()
    assert (result["ok"], result["reasons"]) == (True, [])
    assert (result["sent"], result["skipped"], result["delivered"], result["lost"]) == (4, {"suppressed": 1}, 4, 0)
    assert (result["kills"], result["uncertain_at_restart"], result["judge"]) == (1, 100, "log")


def test_without_a_log_the_ledger_judges_and_says_nothing_of_the_wire():
    result = figures(verdict=None).result()
    assert result["ok"]
    assert (result["judge"], result["lost"], result["duplicates_on_wire"]) == ("ledger", None, None)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"audience": 6}, "audience 6 is not skipped 1 + sent 4"),
        ({"counts": counts(4, 1, delivered=3)}, "sent 4 is not the sum"),
        ({"counts": counts(4, 1, delivered=3, accepted=1)}, "1 pending at the end"),
        ({"expected": Expected(10, 9, 1, 0)}, "import: members_imported is 8, the file has 9"),
        ({"verdict": Verdict(lost=1)}, "1 lost"),
        ({"verdict": Verdict(duplicates_on_wire=2)}, "2 lines of the log above"),
        ({"verdict": Verdict(replies_missing=["the answer to POINTS"])}, "the answer to POINTS never came"),
        ({"unlisted": 3}, "3 lost"),
        ({"kills_wanted": 1}, "1 kills were wanted, 0 came about"),
        ({"kills": [kill(found_unsent=False)], "kills_wanted": 1}, "kill 1 found nothing unsent"),
        ({"kills": [kill(recovery={})], "kills_wanted": 1}, "kill 1: the dispatcher's next start left no report"),
        ({"kills": [kill(recovery=recovery(uncertain=101))], "kills_wanted": 1}, "kill 1 made 101 members uncertain"),
        ({"kills": [kill(recovery=recovery(at_or_above_mark=1))], "kills_wanted": 1}, "at or above the mark"),
        ({"troubles": ["the moon was wrong"]}, "the moon was wrong"),
    ],
)
def test_whatever_does_not_hold_is_said_and_is_not_ok(changed, reason):
    result = figures(**changed).result()
    assert not result["ok"]
    assert any(reason in said for said in result["reasons"]), result["reasons"]


def test_an_smsc_that_sends_no_receipts_may_leave_all_pending():
    assert figures(counts=counts(4, 1, accepted=4), receipts_come=False).result()["ok"]


def test_another_smsc_may_owe_receipts_that_a_kill_kept_from_being_answered_and_ours_owes_none(tmp_path):
    progress = {"state": "done", "pending": 1, "delivered": 9, "failed": 0, "expired": 0, "uncertain": 0}
    for foreign in (True, False):
        killer = Killer(tmp_path, LogWatch(tmp_path / "log"), [])
        follower = Follower(
            Customer("http://127.0.0.1:1", ""), "cmp_1", 10, watch=LogWatch(tmp_path / "log"), killer=killer,
            report=Report(as_json=True), figures=Figures(), foreign=foreign,
        )  # fmt: skip
        assert not follower._over(progress), "they may still come"
        follower._moved_at = killer.last_change = time.monotonic() - RECEIPTS_S - 1
        assert follower._over(progress) is foreign


# ---- the command


def test_a_folder_with_something_in_it_is_refused_and_left_alone(volley, tmp_path):
    (tmp_path / "precious").write_text("x")
    said = volley("demo", "--data", tmp_path)
    assert said.status == 2
    assert "is not empty" in said.err
    assert (tmp_path / "precious").exists()


def test_a_log_without_its_smsc_is_a_mistake(volley):
    said = volley("demo", "--smsc-log", "x.log")
    assert said.status == 2
    assert "--smsc" in said.err
