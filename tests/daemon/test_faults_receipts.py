"""Receipts as they really come: early, twice, for unknown ids, in another base, with TLVs alone, after a restart."""

from __future__ import annotations

import pytest

from dispatcher.smpp import codec
from dispatcher.smpp.consts import ESM_RECEIPT, CommandId, Tag
from dispatcher.smpp.pdu import Message
from tests.fakes.house import SENDER, House, in_house


def receipt(number: int, text: bytes, tlvs: dict[int, bytes] | None = None, esm_class: int = ESM_RECEIPT) -> bytes:
    """A deliver_sm from a phone's number to ours."""
    message = Message(
        source_addr_ton=1, source_addr_npi=1, source_addr=str(number), dest_addr_ton=0, dest_addr_npi=1,
        destination_addr=SENDER, esm_class=esm_class, data_coding=0, short_message=text, tlvs=tlvs or {},
    )  # fmt: skip
    return codec.encode_message(CommandId.DELIVER_SM, 0, message)


def ids(house: House) -> dict[str, str]:
    """The simulator's message_id by destination."""
    rows = (line.split("\t") for line in house.log.read_text().splitlines())
    return {row[2]: row[6] for row in rows}


@in_house(1_000, receipt_twice_every=10, receipt_unknown_every=10)
async def test_a_receipt_that_comes_twice_or_for_nobody_is_counted_and_changes_nothing(house: House):
    campaign = await house.send_all()
    await house.until(lambda: house.smsc.summary()["receipts_pending"] == 0)
    counts = house.judge(campaign)
    assert counts["states"]["delivered"] == counts["receipts"] == 1_000
    status = await house.status()
    assert status["totals"]["receipts"] == 1_200
    assert status["totals"]["receipts_repeated"] == 100
    assert status["held_receipts"] == 100, "kept until their answer can no longer come"


@in_house(300, dispatcher={"holding_s": 0.3}, receipt_unknown_every=3)
async def test_a_receipt_for_nobody_ends_as_unmatched_after_the_holding_time(house: House):
    campaign = await house.send_all()
    await house.until(lambda: house.dispatcher.settler.counters.unmatched == 100)
    house.judge(campaign)
    assert (await house.status())["held_receipts"] == 0


STATES = (
    ("DELIVRD", 3, "000"), ("EXPIRED", 2, "027"), ("UNDELIV", 2, "011"), ("REJECTD", 1, "034"), ("DELETED", 1, "000"),
    ("UNKNOWN", 1, "000"), ("ACCEPTD", 1, "000"), ("ENROUTE", 1, "000"),
)  # fmt: skip


@in_house(600, states=STATES)
async def test_every_state_of_a_receipt_is_counted_and_those_that_are_not_final_settle_nothing(house: House):
    campaign = await house.send()
    await house.until(lambda: house.state(campaign) == "done")
    await house.until(lambda: house.smsc.summary()["receipts_answered"] == 600)
    open_ = house.dispatcher.book.receipts_not_final
    await house.until(lambda: house.counts(campaign)["states"]["accepted"] == open_)
    states = house.judge(campaign)["states"]
    assert min(states["delivered"], states["expired"], states["failed"], states["unknown"], open_) > 0
    errors = {(r["state"], r["error"]) for r in house.recipients(campaign)}
    assert ("expired", 27) in errors and {("failed", 11), ("failed", 34)} <= errors


@pytest.mark.parametrize(
    ("form", "smsc"),
    [
        ("same", {"ids": "hex", "receipt_ids": "hex"}),
        ("hex_decimal", {"ids": "hex", "receipt_ids": "decimal"}),
        ("decimal_hex", {"ids": "decimal", "receipt_ids": "hex"}),
        ("hex_decimal", {"ids": "hex", "receipt_ids": "decimal", "receipt_tlvs": True}),
        ("same", {"ids": "decimal", "receipt_ids": "hex", "receipt_tlvs": True}),
    ],
    ids=["both hex", "answer hex", "receipt hex", "answer and TLV hex", "text alone hex"],
)
@in_house(300, started=False)
async def test_ids_meet_whatever_base_each_side_writes_them_in(house: House, form: str, smsc: dict[str, object]):
    house.smsc.change(**smsc)
    house.endpoint(receipt_ids=form)
    await house.start()
    campaign = await house.send_all()
    assert house.judge(campaign)["states"]["delivered"] == 300


@in_house(300, receipts=0)
async def test_receipts_of_every_dialect_are_read(house: House):
    campaign = await house.send()
    await house.until(lambda: house.counts(campaign)["accepted"] == 300)
    id_of = ids(house)
    dialects = [
        lambda number, id: receipt(number, b"", {Tag.RECEIPTED_MESSAGE_ID: id + b"\0", Tag.MESSAGE_STATE: b"\2"}),
        lambda number, id: receipt(number, b"", {Tag.RECEIPTED_MESSAGE_ID: id, Tag.MESSAGE_STATE: b"\2"}),
        lambda number, id: receipt(number, b"stat:DELIVRD id:" + id + b" err:000"),
        lambda number, id: receipt(number, b"ID:" + id + b"  SUB:001 Stat:delivrd Err:21b Text:\xff\x00"),
        lambda number, id: receipt(number, b"id:000" + id + b" stat:DELIVRD"),
        lambda number, id: receipt(number, b"", {Tag.MESSAGE_PAYLOAD: b"id:" + id + b" stat:DELIVRD err:0000\0"}),
    ]
    for index, number in enumerate(house.numbers):
        house.smsc.inject(dialects[index % len(dialects)](number, id_of[str(number)].encode()))
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == 300)
    house.judge(campaign)
    assert house.smsc.summary()["mo_refused"] == 0


@in_house(50, receipts=0)
async def test_what_looks_like_a_receipt_but_was_typed_by_a_phone_settles_nothing(house: House):
    campaign = await house.send()
    await house.until(lambda: house.counts(campaign)["accepted"] == 50)
    number, id = next(iter(ids(house).items()))
    house.smsc.inject(receipt(int(number), b"id:" + id.encode() + b" stat:UNDELIV err:001", esm_class=0))
    await house.until(lambda: house.smsc.summary()["mo_answered"] == 1)
    assert [row["what"] for row in house.inbox()] == ["inbox"]
    assert house.counts(campaign)["states"]["accepted"] == 50


@in_house(300, receipts=0, delay_ms=300)
async def test_a_receipt_that_overtakes_its_answer_waits_for_it(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 40)
    early = ids(house)
    for number, id in early.items():
        house.smsc.inject(receipt(int(number), b"id:" + id.encode() + b" sub:001 dlvrd:001 stat:DELIVRD err:000"))
    await house.until(lambda: house.dispatcher.book.n_held >= 40)
    house.smsc.change(delay_ms=0)
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == len(early))
    await house.until(lambda: house.state(campaign) == "done")
    house.judge(campaign)
    assert (await house.status())["held_receipts"] == 0


@in_house(500, receipt_delay_ms=600)
async def test_receipts_that_come_after_a_restart_are_matched(house: House):
    campaign = await house.send()
    await house.until(lambda: house.counts(campaign)["accepted"] == 500)
    await house.restart()
    assert house.counts(campaign)["states"]["delivered"] == 0
    await house.settled(campaign)
    assert house.judge(campaign)["states"]["delivered"] == 500


@in_house(10)
async def test_a_receipt_held_across_a_restart_is_not_forgotten(house: House):
    house.smsc.inject(receipt(house.numbers[0], b"id:nobodys stat:DELIVRD err:000"))
    await house.until(lambda: house.smsc.summary()["mo_answered"] == 1)
    await house.restart()
    assert (await house.status())["held_receipts"] == 1


@in_house(400, drop_every=50, dispatcher={"holding_s": 0.4})
async def test_the_receipt_of_an_uncertain_message_settles_it_by_its_number(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["dropped"] >= 6)
    house.smsc.change(drop_every=0)
    await house.settled(campaign)
    there = {line.destination for line in house.lines()}
    await house.until(lambda: house.counts(campaign)["states"]["delivered"] == len(there))
    counts = house.judge(campaign)
    assert counts["settled_by_number"] >= 3, "every second dropped connection had accepted its message"
    held = {r["msisdn"].lstrip("+") for r in house.recipients(campaign) if r["state"] == "uncertain"}
    assert not held & there, "what is left uncertain is not in the log"
