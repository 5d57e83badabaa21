"""Receipts that come when the log of their message is long gone: matched by what is kept of it, through real sockets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.apps.messages_found import who_had
from dispatcher.apps.reports.days import days
from dispatcher.campaigns.campaign import load, save
from dispatcher.control import commands as c
from dispatcher.daemon.housekeeping import DAY_MS, _minute, count_ids, drop_log, keep_ids
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store import ids_kept, ledger
from dispatcher.store.verify import find_problems
from dispatcher.tenants.tenant import need_tenant
from tests.daemon.test_faults_receipts import ids, receipt
from tests.fakes.house import LONG_TEXT, House, in_house


def log_values(house: House) -> int:
    with house.dispatcher.store.snapshot() as view:
        return view.count("outcome_log")


def shifted(view: View, campaign: int) -> tuple[Changes, None]:
    row = load(view, 1, campaign)
    assert row is not None
    row["started_ms"] -= 30 * DAY_MS
    return save(1, campaign, row), None


async def forget(house: House, campaign: int, members: int) -> None:
    """Time ends what it awaits, its log is dropped, and a start finds nothing of it to put into the index."""
    await house.until(lambda: house.state(campaign) == "done")
    await house.dispatcher.works.do(partial(shifted, campaign=campaign))
    await _minute(house.dispatcher, house.life.imports)
    await house.until(lambda: house.counts(campaign)["states"]["no_receipt"] == members)
    await house.send("Another, so that the last value of the log is not its", receipts=False)
    await house.until(lambda: log_values(house) > 2)
    house.dispatcher.committer.force_fold()
    await house.until(lambda: folded(house))
    later_ms = house.dispatcher.clock.epoch_ms() + 31 * DAY_MS
    await keep_ids(house.dispatcher, later_ms)
    await drop_log(house.dispatcher, later_ms)
    assert log_values(house) <= 2
    await house.restart()


def folded(house: House) -> bool:
    with house.dispatcher.store.snapshot() as view:
        return ledger.folded_to(view) > next(ledger.log_values(view, reverse=True))[0]


def deliver(house: House, sent: dict[str, str], stat: bytes = b"DELIVRD err:000") -> None:
    for number, id in sent.items():
        house.smsc.inject(receipt(int(number), b"id:" + id.encode() + b" stat:" + stat))


def problems(house: House) -> list[Any]:
    with house.dispatcher.store.snapshot() as view:
        return list(find_problems(view))


@in_house(60, receipts=0, dispatcher={"holding_s": 0.2})
async def test_a_receipt_that_comes_after_the_log_is_dropped_settles_its_message_and_changes_its_day(house: House):
    campaign = await house.send("Hi", validity_s=60)
    await house.until(lambda: house.counts(campaign)["accepted"] == 60)
    sent = ids(house)
    began = time.time_ns() // 1_000_000
    await forget(house, campaign, 60)
    with house.dispatcher.store.snapshot() as view:
        assert sum(one.entries for one in ids_kept.kept_ids(view)) >= 60
    await count_ids(house.dispatcher)
    kept = (await house.status())["kept_ids"]
    assert kept["ids"] >= 60 and kept["segments"] == 1 and kept["octets"] > 8 * 60 and kept["oldest_ms"] >= began
    assert kept["days"] == house.settings.store.log_kept_days + house.settings.store.ids_kept_days
    number, text = next(iter(sent.items()))
    (told,) = found(house, f"000{text}")
    assert (told["kind"], told["campaign"]) == ("campaign", public_id("cmp", campaign))
    assert (told["msisdn"], told["part"], told["state"], told["endpoint"]) == (f"+{number}", 1, "no_receipt", "smsc")
    assert found(house, text, tenant=2) == found(house, "nobody's") == [], "each tenant's own"
    late = dict(list(sent.items())[:40])
    deliver(house, late)
    deliver(house, dict(list(sent.items())[40:50]), b"UNDELIV err:011")
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == 40)
    await house.until(lambda: house.counts(campaign)["states"]["failed"] == 10)
    assert house.dispatcher.settler.counters.held_matched_in_log == 50
    assert house.dispatcher.settler.counters.unmatched == 0
    deliver(house, late)  # again: it says nothing new
    await house.until(lambda: house.dispatcher.settler.counters.held_matched_in_log == 90)
    assert house.counts(campaign)["states"]["delivered"] == 40
    with house.dispatcher.store.snapshot() as view:
        day = datetime.fromtimestamp(began / 1000, ZoneInfo(need_tenant(view, 1).zone)).date()
        (told,) = days(view, 1, day, day, began, since_ms=began)
    assert told["changed_since"]["recipients"] >= 50, "the day of the sending says that it has changed"
    assert problems(house) == []


@in_house(20, receipts=0, ids="hex", started=False)
async def test_a_message_id_is_found_while_it_is_young_in_either_form_that_its_endpoint_writes(house: House):
    house.endpoint(receipt_ids="hex_decimal")
    await house.start()
    campaign = await house.send("Hi")
    await house.until(lambda: house.counts(campaign)["accepted"] == 20)
    text = ids(house)[str(house.numbers[7])]
    for written in (text, text.upper(), str(int(text, 16))):
        (told,) = found(house, written, two_forms=["smsc"])
        assert (told["msisdn"], told["state"]) == (f"+{house.numbers[7]}", "accepted")
    one = {"to": f"+{house.numbers[3]}", "text": "Code", "purpose": "otp", "ref": "till"}
    await house.do(c.SendMessages(messages=[one]))
    await house.until(lambda: len(house.lines()) == 21)
    text = [line.split("\t")[6] for line in house.log.read_text().splitlines()][-1]
    await house.until(lambda: found(house, text, two_forms=["smsc"]))
    (told,) = found(house, text, two_forms=["smsc"])
    assert (told["kind"], told["to"], told["ref"], told["id"][:4]) == ("message", one["to"], "till", "msg_")


def found(house: House, text: str, *, tenant: int = 1, two_forms: Sequence[str] = ()) -> list[dict[str, Any]]:
    with house.dispatcher.store.snapshot() as view:
        return who_had(view, tenant, text, two_forms, 1, folder=house.settings.data)


@in_house(20, receipts=0, dispatcher={"holding_s": 0.2})
async def test_an_archived_campaign_of_several_parts_takes_late_receipts_for_each(house: House):
    campaign = await house.send(LONG_TEXT, validity_s=60)
    await house.until(lambda: house.counts(campaign)["accepted"] == 20)
    sent = [row.split("\t") for row in house.log.read_text().splitlines()]
    await forget(house, campaign, 20)
    await house.do(c.ArchiveCampaign(campaign=campaign))
    await house.until(lambda: archived(house, campaign))
    assert len(sent) > 20
    for row in sent:
        house.smsc.inject(receipt(int(row[2]), b"id:" + row[6].encode() + b" stat:DELIVRD err:000"))
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == 20)
    assert problems(house) == []


def archived(house: House, campaign: int) -> bool:
    with house.dispatcher.store.snapshot() as view:
        row = load(view, 1, campaign)
        return bool(row and (row["archive"] or {}).get("at_ms"))
