"""The campaign verbs with no dispatcher running: each command is done here, under the writer's lock."""

import io
import json

import pytest

from dispatcher.cli.campaign import _until_over, campaign_group
from dispatcher.cli.campaign_reports import said
from dispatcher.cli.shown import plain
from dispatcher.control.commands import CreateCampaign
from dispatcher.records.states import Decision, State
from tests.campaigns.log import ACCEPTED, RECEIPT, claim, log, log_begins, record

NUMBERS = [f"+49170123456{i}" for i in range(5)]


@pytest.fixture
def shop(volley, data):
    assert volley("tenant", "create", "Shop", "--region", "DE", "--sender", "SHOP", "--data", data).status == 0
    assert volley("field", "add", "name", "text", "--data", data).status == 0
    for number in NUMBERS[:3]:
        assert volley("member", "set", number, f"name=No{number[-1]}", "--data", data).status == 0
    assert volley("member", "set", NUMBERS[3], "--data", data).status == 0
    return data


@pytest.fixture
def draft(volley, shop):
    made = volley("campaign", "create", "Autumn", "--text", "Hello {name}", "--data", shop)
    assert made.status == 0, made.err
    return made.out.strip()


def test_a_draft_goes_and_a_start_keeps_its_reason(volley, shop, draft):
    other = volley("campaign", "create", "Slip", "--text", "Hi", "--data", shop).out.strip()
    assert volley("campaign", "delete", other, "--data", shop).out.strip() == "deleted"
    assert volley("campaign", "show", other, "--data", shop).status != 0
    said = volley("campaign", "start", draft, "--yes", "--reason", "the sale began", "--data", shop, "--json")
    assert json.loads(said.out)["history"][-1]["reason"] == "the sale began"
    assert volley("campaign", "delete", draft, "--data", shop).status != 0, "what was started stays"


def test_options_are_written_shown_changed_and_taken_away(volley, shop):
    argv = ("--flash", "--priority", "3", "--replace-type", "2", "--receipts-for", "failure", "--transliterate")
    made = volley("campaign", "create", "Alarm", "--text", "Gate 4", *argv, "--data", shop, "--json").json
    assert made["options"] == {
        "class": 0, "replace_type": 2, "priority": 3, "registered_delivery": "failure", "transliterate": True,
    }  # fmt: skip
    edited = volley("campaign", "edit", made["id"], "--class", "1", "--data", shop, "--json").json
    assert edited["options"] == {"class": 1}
    assert volley("campaign", "edit", made["id"], "--no-flash", "--data", shop, "--json").json["options"] == {}
    wrong = volley("campaign", "create", "Alarm", "--priority", "9", "--data", shop)
    assert wrong.status != 0 and "priority 9: 0 to 3" in wrong.err
    late = volley("campaign", "create", "Alarm", "--valid-until", "2020-01-01T00:00:00Z", "--data", shop)
    assert late.status != 0 and "between now" in late.err


def test_a_coupon_pool_is_named_shown_and_taken_away(volley, shop):
    pool = volley("coupon", "pool", "create", "Cake", "--value", "one slice", "--stock", "2", "--data", shop)
    assert pool.status == 0, pool.err
    argv = ("--text", "For you: {coupon}", "--coupon-pool", "cake", "--data", shop)
    made = volley("campaign", "create", "Sale", *argv, "--json").json
    assert made["coupon_pool"] == pool.out.strip()
    seen = volley("campaign", "preview", made["id"], "--data", shop).out.splitlines()
    assert "coupons    Cake: one slice, 2 left" in seen and "sample     For you: XXXXXXXXXXXX" in seen
    assert any(line.startswith("note") and "2 coupons left for 4 messages" in line for line in seen)
    taken = volley("campaign", "edit", made["id"], "--no-coupon-pool", "--text", "Hi", "--data", shop, "--json").json
    assert taken["coupon_pool"] is None
    wrong = volley("campaign", "create", "Sale", "--text", "Hi", "--coupon-pool", "Cakes", "--data", shop)
    assert wrong.status != 0 and "did you mean 'Cake'?" in wrong.err


def started(volley, shop, draft):
    assert volley("campaign", "start", draft, "--yes", "--data", shop).status == 0
    return draft


def test_every_verb_is_there_and_says_what_it_does():
    wanted = {
        "create", "edit", "list", "show", "preview", "start", "submit", "approve", "reject", "pause", "resume", "cancel",
        "clone", "resend", "delete", "test", "stop-all", "release", "progress", "recipients", "winner", "rate", "events", "report",
        "effect", "uncertain", "decide", "archive", "rehearse",
    }  # fmt: skip
    assert set(campaign_group.commands) == wanted
    assert all(command.help for command in campaign_group.commands.values())


def test_a_draft_has_the_defaults_of_its_command_and_the_tenants_sender(volley, shop, draft):
    shown = volley("campaign", "show", draft, "--data", shop, "--json").json
    default = CreateCampaign(title="")
    assert (shown["title"], shown["state"], shown["sender"]) == ("Autumn", "draft", "SHOP")
    for name in ("purpose", "expr", "max_parts", "validity_s", "receipts"):
        assert shown[name] == getattr(default, name), name
    other = ["--segment", 'name = "No1"', "--purpose", "care", "--sender", "X", "--max-parts", "2", "--no-receipts"]
    made = volley("campaign", "create", "Winter", *other, "--data", shop, "--json").json
    assert (made["canonical"], made["purpose"], made["sender"]) == ('name = "No1"', "care", "X")
    assert (made["max_parts"], made["receipts"], made["can"]) == (
        2,
        False,
        ["edit", "preview", "delete", "submit", "start"],
    )


def test_campaigns_are_listed_newest_first(volley, shop, draft):
    second = volley("campaign", "create", "Winter", "--data", shop).out.strip()
    rows = volley("campaign", "list", "--data", shop, "--json").rows
    assert [row["id"] for row in rows] == [second, draft]
    assert len(volley("campaign", "list", "--limit", "1", "--data", shop, "--json").rows) == 1
    assert volley("campaign", "list", "--state", "draft", "--data", shop, "--json").rows == rows
    none = volley("campaign", "list", "--state", "paused", "--data", shop, "--json")
    assert (none.status, none.rows) == (0, [])
    assert "Autumn" in volley("campaign", "list", "--data", shop).out


def test_a_preview_says_who_how_many_and_the_token(volley, shop, draft):
    said = volley("campaign", "preview", draft, "--data", shop)
    assert said.status == 0, said.err
    for words in ("matched    4", "skipped    1 no value", "will send  3", "3 of 1 part; GSM 7-bit 3", "Hello No0"):
        assert words in said.out
    seen = volley("campaign", "preview", draft, "--data", shop, "--json").json
    assert (seen["matched"], seen["will_send"], seen["skipped"]) == (4, 3, {"no_value": 1})
    said = volley("campaign", "start", draft, "--token", seen["token"], "--data", shop, "--json")
    assert (said.json["state"], said.json["audience"]) == ("running", 4)


def test_a_sample_is_one_line_whatever_the_text_holds(volley, shop):
    made = volley("campaign", "create", "A", "--text", "Hello\n{name|friend}", "--data", shop).out.strip()
    assert "sample     Hello No0\n" in volley("campaign", "preview", made, "--data", shop).out
    assert plain("a\x1b[2Jb\u202e") == "a [2Jb "


def test_start_without_a_token_previews_and_asks(volley, shop, draft, monkeypatch):
    for answer, status, state in (("n\n", 130, "draft"), ("", 130, "draft"), ("y\n", 0, "running")):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        said = volley("campaign", "start", draft, "--data", shop)
        assert (said.status, "Send to 3? [y/N]" in said.out) == (status, True)
        assert volley("campaign", "show", draft, "--data", shop, "--json").json["state"] == state


def test_in_json_a_start_asks_on_stderr_and_answers_one_object(volley, shop, draft, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    said = volley("campaign", "start", draft, "--data", shop, "--json")
    assert said.json["state"] == "running"
    assert "will send  3" in said.err


def test_a_campaign_is_paused_resumed_and_cancelled_with_a_reason(volley, shop, draft):
    started(volley, shop, draft)
    assert volley("campaign", "pause", draft, "--reason", "typo", "--data", shop).out == "paused\n"
    assert volley("campaign", "resume", draft, "--data", shop).out == "running\n"
    assert volley("campaign", "cancel", draft, "--data", shop).out == "cancelled\n"
    shown = volley("campaign", "show", draft, "--data", shop, "--json").json
    assert [(step["state"], step["reason"]) for step in shown["history"]] == [
        ("draft", ""), ("running", ""), ("paused", "typo"), ("running", ""), ("cancelled", ""),
    ]  # fmt: skip
    again = volley("campaign", "resume", draft, "--data", shop)
    assert (again.status, "state_conflict" in again.err) == (1, True)


def sent(shop, draft):
    """What a dispatcher would have written: two accepted, one of them delivered, one without a value."""
    from dispatcher.records.keys import parse_public_id
    from dispatcher.store import open_store

    campaign = parse_public_id("cmp", draft)
    with open_store(shop, write=True, sync=False) as store:
        log_begins(store, campaign)
        log(
            store, campaign, 1_790_000_000_000,
            claim(0, [1, 1, 1, Decision.NO_VALUE]),
            record(ACCEPTED, 0, message_id=b"77"),
            record(ACCEPTED, 1, message_id=b"78"),
            record(RECEIPT, 0, state=State.DELIVERED),
        )  # fmt: skip


def test_progress_adds_up_before_and_after_sending(volley, shop, draft):
    assert volley("campaign", "progress", draft, "--data", shop, "--json").json["audience"] == 0
    started(volley, shop, draft)
    shown = volley("campaign", "progress", draft, "--data", shop, "--json").json
    assert (shown["state"], shown["audience"], shown["unsent"], shown["per_s"]) == ("running", 4, 4, None)
    sent(shop, draft)
    shown = volley("campaign", "progress", draft, "--data", shop, "--json").json
    assert (shown["unsent"], shown["sent"], shown["skipped"]) == (0, 3, {"no_value": 1})
    assert (shown["delivered"], shown["awaiting_receipt"], shown["in_flight"]) == (1, 1, 1)
    assert "delivered:" in volley("campaign", "progress", draft, "--data", shop).out


def test_recipients_are_shown_by_state_decision_and_rank(volley, shop, draft):
    started(volley, shop, draft)
    sent(shop, draft)

    def ranks(*options):
        return [row["rank"] for row in volley("campaign", "recipients", draft, *options, "--data", shop, "--json").rows]

    assert ranks() == [0, 1, 2, 3]
    assert ranks("--state", "delivered") == [0]
    assert ranks("--decision", "no_value") == [3]
    assert ranks("--limit", "2") == [0, 1]
    assert ranks("--after", "1", "--limit", "1") == [2]
    row = volley("campaign", "recipients", draft, "--state", "accepted", "--data", shop, "--json").json
    assert (row["msisdn"], row["decision"], row["message_id"]) == (NUMBERS[1], "sent", "78")
    assert NUMBERS[0] in volley("campaign", "recipients", draft, "--data", shop).out


@pytest.mark.parametrize("as_json", [True, False])
def test_watching_ends_with_a_campaign_that_is_over(volley, shop, draft, as_json):
    started(volley, shop, draft)
    assert volley("campaign", "cancel", draft, "--data", shop).status == 0
    said = volley("campaign", "progress", draft, "--watch", "--data", shop, *["--json"] * as_json)
    assert said.status == 0, said.err
    if as_json:
        assert [(row["state"], row["skipped"]) for row in said.rows] == [("cancelled", {"cancelled": 4})]
    else:
        assert "cancelled" in said.out and "4/4" in said.out


def step(state: str, pending: int) -> dict[str, object]:
    return {"state": state, "pending": pending}


def test_watching_goes_on_while_receipts_are_awaited():
    steps = [step("running", 9), step("done", 5), step("done", 2), step("done", 0), step("done", 0)]
    assert [seen["pending"] for seen in _until_over(iter(steps))] == [9, 5, 2, 0]


def test_what_stands_beside_the_bar_names_only_what_there_is():
    counts = dict.fromkeys(("in_flight", "retry_wait", "awaiting_receipt", "failed", "expired", "uncertain"), 0)
    shown = {**counts, "delivered": 1_200, "skipped": {"opted_out": 7}, "per_s": 50, "eta_s": 3}
    assert said(shown) == "1,200 delivered, 7 skipped, 50/s, 3 s left"
    assert said({**counts, "delivered": 0, "skipped": {}, "per_s": None, "eta_s": None}) == ""


def test_a_socket_that_a_kill_left_does_not_keep_progress_from_being_read(volley, shop, draft):
    import socket

    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(shop / "control.sock"))
    said = volley("campaign", "progress", draft, "--data", shop, "--json")
    assert (said.status, json.loads(said.out)["per_s"]) == (0, None)


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["create", "A", "--purpose", "spam"], 2, "'spam'"),
        (["create", "A", "--text", "{nmae}"], 1, "name"),
        (["create", "A", "--segment", "nmae ="], 1, "position"),
        (["show", "mem_1"], 2, "begins with cmp_"),
        (["show", "cmp_0000000000001"], 1, "not_found"),
        (["progress", "cmp_0000000000001"], 1, "not_found"),
        (["recipients", "cmp_0000000000001"], 1, "not_found"),
        (["recipients", "cmp_0000000000001", "--state", "lost"], 2, "'lost'"),
        (["preview", "cmp_0000000000001"], 1, "not_found"),
        (["pause", "cmp_0000000000001"], 1, "not_found"),
    ],
)
def test_a_mistake_is_one_line(volley, shop, argv, status, words):
    said = volley("campaign", *argv, "--data", shop)
    assert said.status == status
    assert words in said.err
    assert said.err.count("\n") == 1


def test_a_draft_is_edited_and_its_version_may_be_demanded(volley, shop, draft):
    said = volley("campaign", "edit", draft, "--text", "Hi {name}", "--max-parts", "2", "--data", shop)
    assert (said.status, said.out) == (0, "draft, version 2\n")
    late = volley("campaign", "edit", draft, "--text", "Ho", "--version", "1", "--data", shop)
    assert (late.status, "version_changed" in late.err) == (1, True)
    assert volley("campaign", "edit", draft, "--data", shop).status == 2


def test_a_time_a_window_and_a_repetition_are_written_and_taken_away(volley, shop):
    when = ["--at", "2027-12-07T09:00", "--zone", "Asia/Shanghai", "--window", "09:00-20:00", "--days", "mo,tu"]
    made = volley(
        "campaign", "create", "Weekly", "--text", "Hi", *when, "--spread-s", "60", "--data", shop, "--json"
    ).json
    assert made["schedule"] == {
        "at": "2027-12-07T09:00", "zone": "Asia/Shanghai", "window": {"from": "09:00", "to": "20:00", "days": ["mo", "tu"]},
        "spread_over_s": 60, "repeat": "", "if_late": "run", "count_change_percent": None,
    }  # fmt: skip
    shown = volley("campaign", "preview", made["id"], "--data", shop)
    assert "start      at 2027-12-07 09:00:00 Asia/Shanghai; from 09:00 to 20:00 on mo, tu" in shown.out
    said = volley("campaign", "start", made["id"], "--yes", "--data", shop)
    assert "scheduled for 2027-12-07T01:00:00.000Z" in said.out
    assert volley("campaign", "edit", made["id"], "--no-time", "--data", shop).out == "draft, version 5\n"
    assert volley("campaign", "show", made["id"], "--data", shop, "--json").json["schedule"] is None


def test_a_time_that_cannot_be_is_refused_in_one_line(volley, shop):
    for at, code in (("2020-01-01T09:00", "schedule_in_the_past"), ("soon", "invalid_schedule")):
        said = volley("campaign", "create", "A", "--text", "Hi", "--at", at, "--data", shop)
        assert (said.status, f"[{code}]" in said.err, said.err.count("\n")) == (1, True, 1)
    assert volley("campaign", "create", "A", "--days", "mo", "--data", shop).status == 2


def test_above_the_tenants_limit_the_shell_that_wrote_it_cannot_approve_it(volley, shop, draft):
    tenant = volley("tenant", "list", "--data", shop, "--json").rows[0]["id"]
    said = volley("tenant", "edit", tenant, "--approval-above", "2", "--data", shop, "--json")
    assert said.json["approval_above"] == 2
    shown = volley("campaign", "preview", draft, "--data", shop)
    assert "somebody else approves it first" in shown.out
    refused = volley("campaign", "start", draft, "--yes", "--data", shop)
    assert (refused.status, "approval_required" in refused.err) == (1, True)
    assert volley("campaign", "submit", draft, "--data", shop).out == "awaiting_approval\n"
    own = volley("campaign", "approve", draft, "--data", shop)
    assert (own.status, "own_approval" in own.err) == (1, True)
    assert volley("campaign", "reject", draft, "--data", shop).status == 2, "a rejection says why"
    assert volley("campaign", "reject", draft, "--reason", "typo", "--data", shop).out == "draft\n"


def test_everything_is_stopped_and_released(volley, shop, draft):
    started(volley, shop, draft)
    said = volley("campaign", "stop-all", "--reason", "wrong price", "--data", shop)
    assert (said.status, "1 paused" in said.out) == (0, True)
    refused = volley("campaign", "resume", draft, "--data", shop)
    assert (refused.status, "wrong price" in refused.err) == (1, True)
    assert "1 resumed" in volley("campaign", "release", "--resume", "--data", shop).out
    assert "paused" in volley("campaign", "stop-all", "--everywhere", "--data", shop).out
    assert "released" in volley("campaign", "release", "--everywhere", "--data", shop).out
    assert volley("campaign", "show", draft, "--data", shop, "--json").json["state"] == "paused"


def test_a_copy_and_a_test_to_a_phone(volley, shop, draft):
    copy = volley("campaign", "clone", draft, "--data", shop).out.strip()
    assert volley("campaign", "show", copy, "--data", shop, "--json").json["clone_of"] == draft
    sent = volley("campaign", "test", draft, NUMBERS[0], "+4917099999999", "--data", shop, "--json").json
    assert [one["text"] for one in sent["messages"]] == ["Hello No0", "Hello {name}"]
    wrong = volley("campaign", "test", draft, "17", "--data", shop)
    assert wrong.status == 1
    nobody = volley("campaign", "resend", started(volley, shop, draft), "--data", shop)
    assert (nobody.status, "state_conflict" in nobody.err) == (1, True)


def test_arms_are_written_and_taken_away_and_bad_ones_are_named(volley, shop):
    made = volley(
        "campaign", "create", "Test", "--arm", "A:50:Hello {name|you}", "--arm", "B:50:New: in town", "--holdout", "10%",
        "--winner", "replied:20%:3600", "--data", shop,
    )  # fmt: skip
    assert made.status == 0, made.err
    draft = made.out.strip()
    shown = volley("campaign", "show", draft, "--json", "--data", shop).json
    assert [(arm["name"], arm["share"], arm["text"]) for arm in shown["arms"]] == [
        ("A", 50, "Hello {name|you}"), ("B", 50, "New: in town"),
    ]  # fmt: skip
    assert (shown["holdout"], shown["winner"]["after_s"]) == ({"percent": 10}, 3600)
    assert volley("campaign", "edit", draft, "--no-arms", "--no-holdout", "--data", shop).status == 0
    shown = volley("campaign", "show", draft, "--json", "--data", shop).json
    assert (shown["arms"], shown["holdout"], shown["winner"]) == ([], None, None)
    for wrong in (["--arm", "A"], ["--holdout", "ten"], ["--winner", "replied"], ["--salt", "x"]):
        assert volley("campaign", "create", "Test", *wrong, "--data", shop).status == 2, wrong
    short = volley("campaign", "create", "Test", "--arm", "A:40:Hi", "--data", shop)
    assert (short.status, "A 40" in short.err) == (1, True)


def test_a_report_an_effect_events_and_a_story_are_told_in_words_and_as_json(volley, shop, draft):
    campaign = started(volley, shop, draft)
    assert volley("campaign", "pause", campaign, "--reason", "lunch", "--data", shop).status == 0
    report = volley("campaign", "report", campaign, "--data", shop)
    assert (report.status, "planned" in report.out) == (0, True), report.err
    assert volley("campaign", "report", campaign, "--json", "--data", shop).json["funnel"][0]["count"] == 4
    assert volley("campaign", "effect", campaign, "--json", "--data", shop).json["groups"][0]["group"] == "all"
    assert volley("campaign", "effect", campaign, "--goal", "points >= 0", "--data", shop).status == 0
    assert volley("campaign", "cancel", campaign, "--data", shop).status == 0
    events = volley("campaign", "events", campaign, "--json", "--data", shop).rows
    assert [one["event"] for one in events] == [*["state"] * (len(events) - 2), "progress", "end"]
    assert "lunch" in [one["data"].get("reason") for one in events]
    rest = volley("campaign", "events", campaign, "--after", events[-1]["id"], "--json", "--data", shop).rows
    assert [one["event"] for one in rest] == ["progress", "end"]
    story = volley("member", "messages", NUMBERS[0], "--data", shop)
    assert (story.status, "the campaign was cancelled first" in story.out) == (0, True), story.err
    assert volley("report", "--json", "--data", shop).rows[-1]["sent"] == 0
    assert volley("campaign", "uncertain", "--json", "--data", shop).rows == []
    assert volley("campaign", "decide", "resend", campaign, "--reason", "x", "--data", shop).status == 1


def test_all_recipients_are_a_stream_for_programs(volley, shop, draft):
    campaign = started(volley, shop, draft)
    rows = volley("campaign", "recipients", campaign, "--all", "--json", "--data", shop).rows
    assert len(rows) == 4
    assert volley("campaign", "recipients", campaign, "--all", "--data", shop).status == 2


def test_a_campaign_that_is_over_is_archived_with_no_dispatcher_running(volley, shop, draft):
    campaign = started(volley, shop, draft)
    assert volley("campaign", "archive", campaign, "--data", shop).status == 1, "it is not over"
    assert volley("campaign", "cancel", campaign, "--data", shop).status == 0
    before = volley("campaign", "recipients", campaign, "--json", "--data", shop).rows
    done = volley("campaign", "archive", campaign, "--json", "--data", shop)
    assert (done.status, done.json["recipients"]) == (0, 4), done.err
    assert (shop / "archive" / done.json["file"]).exists()
    assert volley("campaign", "recipients", campaign, "--json", "--data", shop).rows == before
    assert volley("campaign", "show", campaign, "--json", "--data", shop).json["archived_at"] is not None
    assert volley("verify", "--data", shop).status == 0
    (shop / "archive" / done.json["file"]).unlink()
    said = volley("verify", "--data", shop)
    assert said.status == 1 and f"{shop / 'archive' / done.json['file']}: missing" in said.out
