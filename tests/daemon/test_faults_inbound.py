"""What phones send: opt-outs in the middle of a campaign, a balance asked for, words nobody knows, and garbage."""

from __future__ import annotations

from collections import Counter

import pytest
import trio

from dispatcher.errors import CommandRefused
from dispatcher.records.batches import batch_of
from dispatcher.records.states import State
from dispatcher.smpp import codec
from dispatcher.smpp.consts import ESME_RTHROTTLED, CommandId
from dispatcher.smpp.pdu import Message
from dispatcher.store import ledger
from dispatcher.tenants import market
from tests.fakes.house import BRAND, SENDER, House, in_house, reply_to

CONFIRMED = market.CONFIRM_STOP.replace("{brand}", BRAND)


def confirmation(number: int):
    return reply_to(number, CONFIRMED, "confirmation")


def last_line_is_the_confirmation(house: House, number: int) -> bool:
    lines = house.lines(number)
    marks = [line.octets_hash == confirmation(number).octets_hash for line in lines]
    return marks.count(True) == 1 and marks[-1]


def points_of(house: House, number: int) -> str:
    return market.ANSWER_POINTS.replace("{brand}", BRAND).replace("{points}", str(house.numbers.index(number) % 50))


@in_house(3_000, delay_ms=2, endpoint={"window": 10})
async def test_stop_in_mid_send_makes_its_confirmation_the_last_message_to_that_number(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 300)
    stopped = house.numbers[100:3_000:100]  # some have their message, some are claimed, most are not
    for number in stopped:
        house.smsc.inject_mo(str(number), SENDER, "STOP")
    await house.settled(campaign)
    await house.until(lambda: all(last_line_is_the_confirmation(house, number) for number in stopped))
    counts = house.judge(campaign, *(confirmation(number) for number in stopped))
    without = [number for number in stopped if len(house.lines(number)) == 1]
    assert counts["skipped"] == {"opted_out": len(without)}
    assert 0 < len(without) < len(stopped)
    assert counts["states"]["delivered"] == 3_000 - len(without)


@in_house(40, delivery_acks=100, user_acks=50, ack_text="points", receipt_tlvs=True)
async def test_what_phones_acknowledge_is_kept_settles_nothing_and_is_not_answered(house: House):
    campaign = await house.send_all()
    await house.until(lambda: house.smsc.summary()["acks_answered"] == house.smsc.summary()["acks_sent"] > 40)
    summary = house.smsc.summary()
    assert summary["receipts_answered"] == 40 and summary["accepted"] == 40, "nobody was told their points"
    heard = Counter((row["what"], row["esm_class"]) for row in house.inbox())
    assert heard.keys() <= {("acknowledgement", 0x08), ("acknowledgement", 0x10)}
    assert heard["acknowledgement", 0x08] == 40
    assert house.judge(campaign)["states"]["delivered"] == 40
    told = (await house.status())["faults"]
    assert (told["receipts_unread"], told["receipts_unmatched"], told["receipts_odd"]) == (0, 0, 0)


@in_house(30, user_acks=100, ack_text="STOP")
async def test_an_end_in_an_acknowledgement_is_an_end(house: House):
    await house.send_all()
    await house.until(lambda: len([row for row in house.inbox() if row["what"] == "stop"]) == 30)
    with pytest.raises(CommandRefused, match="all 30 members are skipped"):
        await house.send("Once more")


@in_house(10)
async def test_stop_in_a_quiet_hour_is_confirmed_at_once(house: House):
    house.smsc.inject_mo(str(house.numbers[0]), SENDER, "STOP")
    await house.until(lambda: house.lines(house.numbers[0]), within_s=0.5)


@in_house(200)
async def test_a_second_stop_is_kept_and_not_confirmed(house: House):
    number = house.numbers[7]
    house.smsc.inject_mo(str(number), SENDER, "STOP")
    await house.until(lambda: len(house.lines(number)) == 1)
    house.smsc.inject_mo(str(number), SENDER, "stop, please")
    await house.until(lambda: house.smsc.summary()["mo_answered"] == 2)
    campaign = await house.send_all()
    counts = house.judge(campaign, confirmation(number))
    assert counts["skipped"] == {"opted_out": 1}
    assert [row["what"] for row in house.inbox()] == ["stop", "stop"]


@in_house(200)
async def test_who_writes_start_after_stop_gets_messages_again(house: House):
    number = house.numbers[7]
    for word in ("STOP", "START"):
        house.smsc.inject_mo(str(number), SENDER, word)
        await house.until(lambda word=word: house.inbox() and house.inbox()[-1]["text"] == word)
    started = reply_to(number, market.CONFIRM_START.replace("{brand}", BRAND), "started")
    campaign = await house.send_all()
    await house.until(lambda: len(house.lines(number)) == 3)
    assert house.judge(campaign, confirmation(number), started)["skipped"] == {}


@in_house(1_000, delay_ms=2)
async def test_a_balance_asked_for_in_mid_send_is_answered_once_and_before_the_rest(house: House):
    campaign = await house.send()
    await house.until(lambda: house.smsc.summary()["accepted"] >= 100)
    asking = house.numbers[3:23]
    for number in asking:
        house.smsc.inject_mo(str(number), SENDER, "Points")
    replies = [reply_to(number, points_of(house, number)) for number in asking]
    await house.settled(campaign)
    await house.until(lambda: house.smsc.summary()["accepted"] == 1_020)
    house.judge(campaign, *replies)
    hashes = {reply.octets_hash for reply in replies}
    at = [index for index, line in enumerate(house.lines()) if line.octets_hash in hashes]
    assert max(at) < 900, "a person who asks does not wait for a broadcast"


@in_house(5)
async def test_a_stranger_who_asks_for_points_is_told_so_and_one_who_says_stop_is_opted_out(house: House):
    stranger = 4_917_000_000_001
    house.smsc.inject_mo(str(stranger), SENDER, "POINTS")
    house.smsc.inject_mo(str(stranger + 1), SENDER, "STOP")
    answer = reply_to(stranger, market.ANSWER_NO_MEMBER.replace("{brand}", BRAND))
    await house.until(lambda: len(house.lines()) == 2)
    house.judge(await house.send_all(), answer, confirmation(stranger + 1))


@in_house(50)
async def test_what_no_word_explains_lands_in_the_inbox_and_a_likely_opt_out_is_marked(house: House):
    texts = ["when do you open?", "stop 12345", "dont stop", "Grüße € {}", "取消", "退订", "Stop\n", "", " STOP "]
    for number, text in zip(house.numbers, texts, strict=False):
        house.smsc.inject_mo(str(number), SENDER, text)
    await house.until(lambda: len(house.inbox()) == len(texts))
    rows = {row["text"]: row for row in house.inbox()}
    assert {text: rows[text]["what"] for text in texts} == {
        "when do you open?": "inbox", "stop 12345": "inbox", "dont stop": "inbox", "Grüße € {}": "inbox",
        "取消": "inbox", "退订": "stop", "Stop\n": "stop", "": "inbox", " STOP ": "stop",
    }  # fmt: skip
    assert [text for text in texts if rows[text]["probable_opt_out"]] == ["stop 12345"]
    stopped = [house.numbers[index] for index in (5, 6, 8)]
    await house.until(lambda: len(house.lines()) == 3)
    house.judge(await house.send_all(), *(confirmation(number) for number in stopped))


@in_house(20)
async def test_a_stop_in_ucs2_is_understood_in_any_case(house: House):
    number = house.numbers[0]
    octets = "sToP".encode("utf-16-be")
    house.smsc.inject(mo(number, octets, data_coding=8))
    await house.until(lambda: house.lines(number))
    house.judge(await house.send_all(), confirmation(number))


def mo(number: int | str, octets: bytes, *, data_coding: int = 0, esm_class: int = 0) -> bytes:
    message = Message(
        source_addr_ton=1, source_addr_npi=1, source_addr=str(number), dest_addr_ton=0, dest_addr_npi=1,
        destination_addr=SENDER, esm_class=esm_class, data_coding=data_coding, short_message=octets,
    )  # fmt: skip
    return codec.encode_message(CommandId.DELIVER_SM, 0, message)


@in_house(300, delay_ms=2)
async def test_garbage_from_phones_is_kept_and_answered_and_the_bind_lives(house: House):
    campaign = await house.send()
    number = house.numbers[0]
    odd = [
        mo("SHOP", b"hello"),
        mo("", b""),
        mo("49151000000000000099", b"x" * 160),
        mo(number, b"\xff\x00\xfe", data_coding=8),
        mo(number, b"\xd8\x3d\xde", data_coding=8),
        mo(number, bytes(range(128, 208)), data_coding=0xF5),
        mo(number, b"\x05\x00\x03", esm_class=0x40),
        mo(number, b"\xff\x00\x03\x01\x02", esm_class=0x40),
    ]
    for pdu in odd:
        house.smsc.inject(pdu)
    await house.settled(campaign)
    await house.until(lambda: house.smsc.summary()["mo_answered"] == len(odd))
    house.judge(campaign)
    assert len(house.inbox()) == len(odd)
    assert house.smsc.summary()["binds"] <= 2


@in_house(20)
async def test_the_same_message_again_within_moments_is_answered_and_done_once(house: House):
    number = house.numbers[3]
    for _ in range(5):
        house.smsc.inject(mo(number, b"POINTS"))
    await house.until(lambda: house.smsc.summary()["mo_answered"] == 5)
    await house.until(lambda: len(house.lines()) == 1)
    house.judge(await house.send_all(), reply_to(number, points_of(house, number)))
    assert len(house.inbox()) == 1


@in_house(10, store={"sync_delay_ms": 200.0})
async def test_an_answer_of_ours_never_strays_to_the_next_connection(house: House):
    number = house.numbers[0]
    for n in range(5):
        house.smsc.inject(mo(number, b"question %d" % n))
    await house.until(lambda: house.smsc.summary()["mo_sent"] == 5)
    house.smsc.close_all()  # the disk is slow: they are not kept yet, and come again on a new connection
    await house.until(lambda: house.smsc.summary()["mo_answered"] == 5)
    await trio.sleep(0.3)
    assert house.smsc.summary()["unexpected_answers"] == 0
    assert len(house.inbox()) == 5


@in_house(50, endpoint={"adapt_rate": False}, dispatcher={"retry_s": 0.2})
async def test_an_answer_that_is_throttled_waits_before_it_goes_again(house: House):
    number = house.numbers[3]
    house.smsc.change(status_every=((1, ESME_RTHROTTLED),))
    house.smsc.inject_mo(str(number), SENDER, "POINTS")
    await house.until(lambda: house.smsc.summary()["submits"])
    await trio.sleep(0.7)
    assert 3 <= house.smsc.summary()["submits"] <= 4, "one at once, then one every 0.2 s"
    house.smsc.change(status_every=())
    await house.until(lambda: len(house.lines()) == 1)
    house.judge(await house.send_all(), reply_to(number, points_of(house, number)))


@in_house(5, brand="街角小店有限责任公司旗舰", dispatcher={"retry_s": 0.2})
async def test_a_confirmation_of_two_parts_of_which_one_was_throttled_is_completed_not_repeated(house: House):
    number = house.numbers[3]
    house.smsc.change(status_every=((2, ESME_RTHROTTLED),))
    house.smsc.inject_mo(str(number), SENDER, "STOP")
    await house.until(lambda: len(house.lines()) == 2)
    await trio.sleep(0.3)
    assert [(line.part, line.total) for line in house.lines(number)] == [(1, 2), (2, 2)]
    assert house.smsc.summary()["submits"] == 3


@in_house(50, dispatcher={"tries_max": 3})
async def test_an_answer_that_is_refused_again_and_again_is_given_up(house: House):
    house.smsc.change(status_every=((1, 0x45),))
    house.smsc.inject_mo(str(house.numbers[3]), SENDER, "POINTS")
    await house.until(lambda: house.dispatcher.book.refused == 1)
    assert house.smsc.summary()["submits"] == 3
    assert not house.lines()


@in_house(5, dispatcher={"retry_s": 0.2})
async def test_an_answer_still_waiting_when_its_person_says_stop_is_not_sent_any_more(house: House):
    number = house.numbers[3]
    house.smsc.change(status_every=((1, ESME_RTHROTTLED),))
    house.smsc.inject_mo(str(number), SENDER, "POINTS")
    await house.until(lambda: house.smsc.summary()["submits"])
    house.smsc.inject_mo(str(number), SENDER, "STOP")
    await house.until(lambda: house.smsc.summary()["mo_answered"] == 2)
    house.smsc.change(status_every=())
    await house.until(lambda: len(house.lines()) == 1)
    await trio.sleep(0.5)
    assert [line.octets_hash for line in house.lines()] == [confirmation(number).octets_hash]


@in_house(400, delay_ms=5)
async def test_a_flood_of_messages_does_not_stop_the_sending(house: House):
    campaign = await house.send()
    for number in range(1_000):
        house.smsc.inject_mo(str(4_917_000_000_000 + number), SENDER, f"hello {number}")
    await house.settled(campaign)
    await house.until(lambda: house.smsc.summary()["mo_answered"] == 1_000)
    house.judge(campaign)
    assert Counter(row["what"] for row in house.inbox()) == {"inbox": 1_000}


QUICK = {"response_timeout_s": 0.2}
HELD = {"holding_s": 0.4}


async def ask_for_points_in_vain(house: House, number: int) -> None:
    """The balance is asked for, and what answers it is lost on the way."""
    house.smsc.change(mute_every=1)
    house.smsc.inject_mo(str(number), SENDER, "POINTS")
    await house.until(lambda: house.dispatcher.book.uncertain == house.smsc.summary()["muted"] > 0)
    house.smsc.change(mute_every=0)


@in_house(50, endpoint=QUICK, dispatcher=HELD)
async def test_an_answer_that_may_be_lost_is_sent_again_once_after_the_holding_time(house: House):
    number = house.numbers[3]
    await ask_for_points_in_vain(house, number)
    assert not house.lines(), "it is held first"
    await house.until(lambda: house.lines(number))
    await trio.sleep(2.5)
    assert house.smsc.summary()["submits"] == 2
    assert (await house.status())["uncertain_parts"] == 0
    house.judge(await house.send_all(), reply_to(number, points_of(house, number)))


@in_house(50, endpoint=QUICK, dispatcher=HELD)
async def test_an_answer_that_may_be_lost_twice_is_held(house: House):
    number = house.numbers[3]
    house.smsc.change(mute_every=1)
    house.smsc.inject_mo(str(number), SENDER, "POINTS")
    await house.until(lambda: house.dispatcher.book.uncertain == 2)
    house.smsc.change(mute_every=0)
    await trio.sleep(2.5)
    assert house.smsc.summary()["submits"] == 2
    assert (await house.status())["uncertain_parts"] == 1
    await house.restart()
    await trio.sleep(2.5)
    assert house.smsc.summary()["submits"] == 2, "nor by the next start"


@in_house(50, endpoint=QUICK, dispatcher={"holding_s": 1.0})
async def test_a_receipt_that_names_the_number_of_an_answer_spares_its_resend(house: House):
    number = house.numbers[3]
    await ask_for_points_in_vain(house, number)
    house.smsc.inject(mo(number, b"id:elsewhere sub:001 dlvrd:001 stat:DELIVRD err:000", esm_class=4))
    await house.until(lambda: house.dispatcher.settler.counters.by_number == 1)
    await trio.sleep(2.5)
    assert house.smsc.summary()["submits"] == 1
    assert house.dispatcher.settler.counters.resent == 0
    batch = batch_of(1)
    with house.store.snapshot() as view:
        assert ledger.read_counts(view, batch).state(State.DELIVERED) == ledger.read_counts(view, batch).by_number == 1


@in_house(50, endpoint=QUICK, dispatcher={"holding_s": 1.0})
async def test_an_answer_that_came_late_is_not_sent_again(house: House):
    number = house.numbers[3]
    house.smsc.change(delay_ms=600)
    house.smsc.inject_mo(str(number), SENDER, "POINTS")
    await house.until(lambda: house.dispatcher.book.uncertain == 1)
    await house.until(lambda: house.dispatcher.book.accepted == 1)
    await trio.sleep(3.0)
    assert house.smsc.summary()["submits"] == len(house.lines(number)) == 1


@in_house(50, endpoint=QUICK, dispatcher={"holding_s": 1.0})
async def test_an_answer_that_may_be_lost_is_sent_again_by_the_next_life(house: House):
    number = house.numbers[3]
    await ask_for_points_in_vain(house, number)
    await house.restart()
    await house.until(lambda: house.lines(number))
    await house.restart()
    await trio.sleep(2.5)
    assert house.smsc.summary()["submits"] == 2
    house.judge(await house.send_all(), reply_to(number, points_of(house, number)))


@in_house(50, endpoint=QUICK, dispatcher=HELD)
async def test_a_confirmation_of_stop_that_may_be_lost_is_never_sent_again(house: House):
    house.smsc.change(mute_every=1)
    house.smsc.inject_mo(str(house.numbers[3]), SENDER, "STOP")
    await house.until(lambda: house.dispatcher.book.uncertain == 1)
    house.smsc.change(mute_every=0)
    await trio.sleep(2.5)
    await house.restart()
    await trio.sleep(2.5)
    assert house.smsc.summary()["submits"] == 1
    assert (await house.status())["uncertain_parts"] == 1, "it is listed"


@in_house(50, endpoint=QUICK, dispatcher=HELD)
async def test_who_says_stop_meanwhile_is_not_sent_the_lost_answer_again(house: House):
    number = house.numbers[3]
    await ask_for_points_in_vain(house, number)
    house.smsc.inject_mo(str(number), SENDER, "STOP")
    await house.until(lambda: house.lines(number))
    await trio.sleep(2.5)
    assert [line.octets_hash for line in house.lines()] == [confirmation(number).octets_hash]


@in_house(5, brand="街角小店" * 15, endpoint=QUICK, dispatcher=HELD)
async def test_of_an_answer_of_two_parts_only_the_lost_one_goes_again(house: House):
    number = house.numbers[3]
    house.smsc.change(mute_every=2)
    house.smsc.inject_mo(str(number), SENDER, "POINTS")
    await house.until(lambda: house.dispatcher.book.uncertain == 1)
    house.smsc.change(mute_every=0)
    await house.until(lambda: len(house.lines(number)) == 2)
    await trio.sleep(2.5)
    assert [(line.part, line.total) for line in house.lines(number)] == [(1, 2), (2, 2)]
    assert house.smsc.summary()["submits"] == 3
