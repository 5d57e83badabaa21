"""Texts end to end: as each endpoint takes them, and long messages from phones put together; the simulator's log judges."""

from __future__ import annotations

import zlib
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher.apps.messages_shown import get_message
from dispatcher.campaigns.campaign import load
from dispatcher.control import commands as c
from dispatcher.errors import CommandRefused
from dispatcher.smpp import codec
from dispatcher.smpp.consts import CommandId
from dispatcher.smpp.pdu import Message, Pdu
from dispatcher.text.alphabet import normalise
from dispatcher.text.coding import Coding
from tests.fakes.house import SENDER, House, in_house
from tests.reference.coding import made, say

LATIN, MIXED = "Ça coûte 5 œufs? Non: ñandú à 3 £. ", "日本語 👨‍👩‍👧‍👦 and e\u0301 again and again, "
LATER = datetime.now(UTC) + timedelta(days=5)
CASES: dict[str, tuple[dict[str, Any], Coding, str]] = {
    "sar": ({"long_messages": "sar"}, Coding(long_as="sar"), MIXED * 5),
    "16-bit references": ({"long_messages": "udh16"}, Coding(long_as="udh16"), MIXED * 5),
    "a payload": ({"long_messages": "payload"}, Coding(long_as="payload"), MIXED * 5),
    "latin-1": ({"latin1": True}, Coding(latin1=True), LATIN.replace("œ", "o") * 8),
    "latin-1 by default": ({"default_alphabet": "latin1"}, Coding(default_alphabet="latin1"), "£@$ ç"),
    "packed septets": ({"default_alphabet": "gsm_packed"}, Coding(default_alphabet="gsm_packed"), "€5 off! " * 30),
    "packed septets in a payload": (
        {"default_alphabet": "gsm_packed", "long_messages": "payload"},
        Coding(default_alphabet="gsm_packed", long_as="payload"),
        "€5 off! " * 30,
    ),
    "a national table": ({"single_shift": "turkish"}, Coding(single_shift=1), "Şimdi ığ " * 30),
}


def submits(text: str, coding: Coding, reference: int) -> list[tuple[int, int, int]]:
    """(part, total, crc) of each submit_sm that a text makes."""
    parts = made(say(normalise(text), coding), coding, reference)
    return [(no, len(parts), zlib.crc32(octets)) for no, (_, _, octets, _, _) in enumerate(parts, 1)]


@pytest.mark.parametrize("case", CASES)
@in_house(60, started=False)
async def test_a_campaign_and_a_message_leave_as_the_endpoint_takes_texts(house: House, case: str):
    settings, coding, text = CASES[case]
    house.endpoint(**settings)
    await house.start()
    campaign = await house.send_all(text, max_parts=10)
    house.judge(campaign)
    alone = 4_917_000_000_001
    await house.do(c.SendMessages(messages=[{"to": f"+{alone}", "text": text}]))
    await house.until(lambda: len(house.lines(alone)) == len(submits(text, coding, 0)))
    found = defaultdict(list)
    for line in house.lines():
        found[int(line.destination)].append((line.part, line.total, line.octets_hash))
    with house.store.snapshot() as view:
        seed = load(view, 1, campaign)["ref_seed"] * 0x101
    references = {number: rank + seed for rank, number in enumerate(house.numbers)} | {alone: 0x101}  # the tenant's
    assert {number: sorted(lines) for number, lines in found.items()} == {
        number: submits(text, coding, reference) for number, reference in references.items()
    }


@in_house(40)
async def test_options_of_a_campaign_reach_the_octets(house: House):
    options = {"registered_delivery": "none", "transliterate": True, "flash": True}
    campaign = await house.send("It’s quiet", options=options)
    await house.until(lambda: house.state(campaign) == "done")
    assert house.smsc.summary()["receipts_sent"] == 0
    assert {line.octets_hash for line in house.lines()} == {zlib.crc32(b"It's quiet")}


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (
            {"flash": True, "priority": 3, "registered_delivery": "failure"},
            {"data_coding": 0xF0, "priority_flag": 3, "registered_delivery": 2, "validity_period": "000002000000000R"},
        ),
        ({"class": 2, "replace_type": 7}, {"data_coding": 0xF2, "protocol_id": 0x47, "registered_delivery": 1}),
        (
            {"valid_until": f"{LATER:%Y-%m-%dT}09:00:00+01:00", "deliver_at": f"{LATER:%Y-%m-%dT}07:00:00Z"},
            {"validity_period": f"{LATER:%y%m%d}080000000+", "schedule_delivery_time": f"{LATER:%y%m%d}070000000+"},
        ),
    ],
)
@in_house(4)
async def test_every_option_stands_in_the_submit_sm_as_a_trace_shows_it(
    house: House, options: dict[str, Any], wanted: dict[str, Any]
):
    binds = [f"smsc.{no}" for no in range(2)]
    for bind in binds:  # whoever looks first begins it
        await house.do(c.TraceBind(bind=bind, number="", reveal=False), tenant=0)
    campaign = await house.send("Hello", options=options)
    await house.until(lambda: house.state(campaign) == "done")
    seen = [await house.do(c.TraceBind(bind=bind, number="", reveal=False), tenant=0) for bind in binds]
    pdus = [codec.decode(pdu["octets"]) for reply in seen for pdu in reply["pdus"] if pdu["sent"]]
    submits = [pdu for pdu in pdus if isinstance(pdu, Pdu) and pdu.command_id == CommandId.SUBMIT_SM]
    assert len(submits) == 4
    for submit in submits:
        assert {name: submit.fields[name] for name in wanted} == wanted


# ---- from phones


def part(number: int, reference: int, total: int, no: int, text: bytes) -> bytes:
    message = Message(
        source_addr_ton=1, source_addr_npi=1, source_addr=str(number), dest_addr_ton=0, dest_addr_npi=1,
        destination_addr=SENDER, esm_class=0x40, short_message=bytes((5, 0, 3, reference, total, no)) + text,
    )  # fmt: skip
    return codec.encode_message(CommandId.DELIVER_SM, 0, message)


@in_house(20)
async def test_a_long_message_from_a_phone_is_one_however_its_parts_come_and_over_a_restart(house: House):
    number, other = house.numbers[:2]
    for no, text in ((3, b"three"), (1, b"one, ")):
        for who in (number, other):
            house.smsc.inject(part(who, 0, 3, no, text))
    await house.until(lambda: house.smsc.summary()["mo_answered"] == 4)
    assert house.inbox() == []
    await house.restart()
    for who in (other, number):
        house.smsc.inject(part(who, 0, 3, 2, b"two, "))
        house.smsc.inject(part(who, 0, 3, 1, b"one, "))
    await house.until(lambda: len(house.inbox()) == 2)
    await house.until(lambda: house.smsc.summary()["mo_answered"] == 8)
    assert [row["text"] for row in house.inbox()] == ["one, two, three"] * 2
    house.judge(await house.send_all())


@in_house(20)
async def test_a_stop_in_one_part_of_a_long_message_holds_at_once(house: House):
    number = house.numbers[0]
    house.smsc.inject(part(number, 9, 2, 1, b"STOP"))
    await house.until(lambda: len(house.lines(number)) == 1)  # confirmed, though the rest never comes
    assert house.inbox() == []


@in_house(20)
async def test_a_flood_from_one_phone_is_refused_and_its_stop_is_not(house: House):
    number, other = house.numbers[:2]
    for n in range(150):
        house.smsc.inject_mo(str(number), SENDER, f"hello {n}")
    house.smsc.inject_mo(str(number), SENDER, "STOP")
    house.smsc.inject_mo(str(other), SENDER, "hello")
    await house.until(lambda: house.lines(number))
    await house.until(lambda: any(row["from"] == str(other) for row in house.inbox()))
    await house.until(lambda: house.smsc.summary()["came_again"] > 50)
    assert sum(row["from"] == str(number) for row in house.inbox()) < 80


@in_house(20, endpoint={"default_alphabet": "latin1"})
async def test_what_a_phone_writes_is_read_in_the_alphabet_of_its_endpoint(house: House):
    message = Message(source_addr=str(house.numbers[0]), destination_addr=SENDER, short_message=b"\xa3@")
    house.smsc.inject(codec.encode_message(CommandId.DELIVER_SM, 0, message))
    await house.until(lambda: [row["text"] for row in house.inbox()] == ["£@"])


@in_house(20, endpoint={"default_alphabet": "gsm_packed"})
async def test_packed_septets_of_a_phone_are_read_also_in_parts(house: House):
    number = house.numbers[0]
    alone = Message(source_addr=str(number), destination_addr=SENDER, short_message=b"\x01\x00")
    house.smsc.inject(codec.encode_message(CommandId.DELIVER_SM, 0, alone))
    await house.until(lambda: [row["text"] for row in house.inbox()] == ["£@"])
    house.smsc.inject(part(number, 5, 2, 2, bytes.fromhex("e8f737")))
    house.smsc.inject(part(number, 5, 2, 1, bytes.fromhex("deee320b04")))
    await house.until(lambda: [row["text"] for row in house.inbox()] == ["£@", "one, two"])


@in_house(10, endpoint={"ucs2": False})
async def test_what_an_endpoint_has_no_alphabet_for_is_not_sent_and_says_why(house: House):
    reply = await house.do(c.SendMessages(messages=[{"to": "+4917000000001", "text": "日"}]))
    with pytest.raises(CommandRefused, match="no_recipients"):
        await house.send("日 for you")
    house.judge(await house.send("for you"))

    def shown() -> dict[str, Any]:
        assert house.store is not None
        with house.store.snapshot() as view:
            return get_message(view, 1, reply["results"][0]["id"], 0) or {}

    await house.until(lambda: shown().get("decision") == "no_alphabet")


@in_house(20)
async def test_a_message_without_receipts_takes_those_of_the_others_from_nobody(house: House):
    asked = [{"to": f"+{4_917_000_000_001 + n}", "text": "hi"} for n in range(40)]
    for n in range(0, 40, 2):
        asked[n]["options"] = {"registered_delivery": "none"}
    reply = await house.do(c.SendMessages(messages=asked))

    def states() -> list[str]:
        assert house.store is not None
        with house.store.snapshot() as view:
            shown = [get_message(view, 1, result["id"], 0) for result in reply["results"]]
        return [message["state"] for message in shown if message is not None]

    await house.until(lambda: states() == ["accepted", "delivered"] * 20)
