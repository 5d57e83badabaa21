"""Phones that write back: POINTS is answered with the balance, STOP opts out and is confirmed once, the rest is kept.

Touches: the simulator's --mo file, the admin API, the simulator's log. What must be on the wire is returned as Reply
records, which the judge holds against the whole log at the end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.people import msisdn
from dispatcher.cli.demo_children import DemoFailed, waiting
from dispatcher.cli.demo_customer import BRAND, SENDER, Customer
from dispatcher.cli.demo_judge import Reply, read_lines
from dispatcher.tenants import market
from dispatcher.text.coding import encode
from dispatcher.text.octets import crc32

HEARD_S = 20.0
ANSWERED_S = 20.0
QUIET_S = 1.5  # in which a second confirmation would have left
EARNED = 50
STOPPING, STEP = 20, 7  # who say STOP in mid-send: so many, so many rows apart
QUESTION = "Where is your shop?"


@dataclass(frozen=True, slots=True)
class Phones:
    """The three members who write."""

    asks: dict[str, Any]
    stops: dict[str, Any]
    wonders: dict[str, Any]


def pick(customer: Customer, campaign: str) -> Phones | None:
    """Three whose message was delivered; None when there are not so many."""
    rows = customer.ask("GET", f"/v1/campaigns/{campaign}/recipients", state="delivered", limit=3)["data"]
    return Phones(*rows) if len(rows) == 3 else None


def stop_in_mid_send(mo: Path, members: int, seed: int) -> list[Reply]:
    """STOP from phones whose members stand last in the file, so that most of them are still to be sent to. Some are not
    in the audience, some not even members: all must be left alone from their confirmation on."""
    phones = [{"msisdn": str(msisdn(members - 1 - i * STEP, seed))} for i in range(min(STOPPING, members // STEP))]
    for phone in phones:
        _write(mo, phone, "STOP")
    return [_reply(phone, market.CONFIRM_STOP, "the confirmation of STOP in mid-send", must=False) for phone in phones]


def converse(customer: Customer, phones: Phones, mo: Path, log: Path) -> tuple[list[Reply], list[str], list[str]]:
    """(what the judge must find, one line for each thing shown, what was wrong)."""
    begin = log.stat().st_size
    earned = {"member": phones.asks["member"], "delta": EARNED, "source": "till", "reason": "a cup of coffee"}
    balance = customer.ask("POST", "/v1/points/entries", earned, once=True)["balance"]
    replies = [
        _reply(phones.asks, market.ANSWER_POINTS.replace("{points}", str(balance)), "the answer to POINTS"),
        _reply(phones.stops, market.CONFIRM_STOP, "the confirmation of STOP"),
    ]
    _write(mo, phones.asks, "POINTS")
    _write(mo, phones.stops, "STOP")
    _write(mo, phones.wonders, QUESTION)
    taken = {phones.asks["msisdn"]: "points", phones.stops["msisdn"]: "stop", phones.wonders["msisdn"]: "inbox"}
    wrong = _heard(customer, taken)
    wrong += _answered(log, begin, replies)
    _write(mo, phones.stops, "STOP")  # within seconds, the same octets: the SMSC's own repeat for all that can be known
    _write(mo, phones.stops, "Unsubscribe")  # the person again, in other words: opted out already, no confirmation
    wrong += _heard(customer, {phones.stops["msisdn"]: "stop"}, text="Unsubscribe")
    time.sleep(QUIET_S)
    member = customer.ask("GET", f"/v1/members/{phones.stops['member']}")
    if "marketing" not in member["opted_out"]:
        wrong.append(f"{phones.stops['member']} said STOP and is not opted out")
    shown = [
        f"POINTS from {_masked(phones.asks)}: answered with {balance:,}, {EARNED} of them earned a moment ago",
        f"STOP from {_masked(phones.stops)}: opted out of {', '.join(member['opted_out'])}; said three times, confirmed"
        " once",
        f"“{QUESTION}” from {_masked(phones.wonders)}: in the inbox",
    ]
    return replies, shown, wrong


def _reply(phone: dict[str, Any], text: str, what: str, *, must: bool = True) -> Reply:
    octets = encode(text.replace("{brand}", BRAND))[1]
    return Reply(SENDER, phone["msisdn"].removeprefix("+"), crc32(octets), what, must)


def _write(mo: Path, phone: dict[str, Any], text: str) -> None:
    with mo.open("a", encoding="utf-8") as file:
        file.write(f"{phone['msisdn'].removeprefix('+')}\t{SENDER}\t{text}\n")


def _heard(customer: Customer, wanted: dict[str, str], text: str | None = None) -> list[str]:
    """Wait until a message of each number is listed; what of them was taken for something else."""
    try:
        for _ in waiting("the messages from phones are listed", HEARD_S):
            rows = customer.ask("GET", "/v1/inbound", limit=100, order="newest")["data"]
            found = {f"+{row['from'].lstrip('+')}": row["what"] for row in rows if text in (None, row["text"])}
            if wanted.keys() <= found.keys():
                wrong = [number for number, what in wanted.items() if found[number] != what]
                return [f"a text from {number} was taken as {found[number]}, not {wanted[number]}" for number in wrong]
    except DemoFailed as exc:
        return [str(exc)]
    return []


def _answered(log: Path, begin: int, replies: list[Reply]) -> list[str]:
    """Wait for the lines of the answers; the judge says at the end how many there were."""
    wanted = {reply[:3] for reply in replies}
    for waited in waiting("the answers are on the wire", ANSWERED_S + 1.0):
        lines = {(line.source, line.destination, line.octets_hash) for line in read_lines(log, begin)}
        if wanted <= lines:
            return []
        if waited > ANSWERED_S:
            break
    return [f"{reply.what} was not on the wire after {ANSWERED_S:.0f} s" for reply in replies if reply[:3] not in lines]


def _masked(phone: dict[str, Any]) -> str:
    return f"…{phone['msisdn'][-4:]}"
