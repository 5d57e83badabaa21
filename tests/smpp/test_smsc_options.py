"""Each way the simulator misbehaves, as a client of octets meets it over TCP."""

from __future__ import annotations

import ssl
import subprocess

import pytest
import trio

from dispatcher.clock import FakeClock
from dispatcher.smpp import codec
from dispatcher.smpp.consts import CommandId
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.smsc import Smsc
from dispatcher.smpp.smsc_notation import options_of
from dispatcher.smpp.smsc_options import AccountOptions, Delay
from dispatcher.smpp.smsc_session import KINDS
from tests.smpp.esme import (
    GENERIC_NACK,
    SUBMIT_SM_RESP,
    Esme,
    bind,
    bound,
    connect,
    kind,
    opened,
    sequence,
    status,
    submit,
    until,
    with_smsc,
)

DELIVER_SM = CommandId.DELIVER_SM


def id_of(pdu: bytes) -> str:
    return codec.decode_answer(pdu).text or ""


def receipt_id(pdu: bytes) -> str:
    return codec.decode_message(pdu).short_message.split()[0].removeprefix(b"id:").decode()


def test_accounts_have_a_password_a_number_of_binds_and_caps_of_their_own():
    shop = AccountOptions(system_id="shop", password="secret", binds=2, tps=5, bind_tps=3)

    async def scene(smsc: Smsc) -> None:
        assert (await bind(smsc, "nobody"))[1] == 0x0F
        assert (await bind(smsc, "shop", "wrong"))[1] == 0x0E
        first, second = [(await bind(smsc, "shop", "secret"))[0] for _ in range(2)]
        assert (await bind(smsc, "shop", "secret"))[1] == 0x05
        other, _ = await bind(smsc, "free")
        assert await first.submit(4) == [0, 0, 0, 0x58], "of the bind"
        assert await second.submit(3) == [0, 0, 0x58], "of the account"
        assert await other.submit(50) == [0] * 50
        summary = smsc.summary()
        assert summary["accounts"]["shop"]["statuses"] == {"0x00000000": 5, "0x00000058": 2}
        assert summary["accounts"]["shop"]["most_in_a_second"] == 5
        assert summary["accounts"]["free"]["accepted"] == 50 and summary["most_in_a_second"] == 55
        assert summary["binds_refused_by"] == {"0x00000005": 1, "0x0000000E": 1, "0x0000000F": 1}

    with_smsc(scene, accounts=(shop, AccountOptions(system_id="free")), clock=FakeClock())


def test_a_cap_lets_in_exactly_so_many_in_any_second():
    clock = FakeClock()

    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        taken = 0
        for _ in range(30):
            taken += (await esme.submit(3)).count(0)
            clock.advance(0.1)
        assert smsc.summary()["most_in_a_second"] == 10 and taken == 30

    with_smsc(scene, account_tps=10, clock=clock)


@pytest.mark.parametrize("delay", [Delay("uniform", 1, 40), Delay("lognormal", 10, 0.8), Delay("exponential", 10)])
def test_answers_that_wait_by_a_distribution_come_out_of_order_and_each_once(delay):
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        await esme.send(*(submit(number) for number in range(2, 102)))
        got = [sequence(await esme.next()) for _ in range(100)]
        assert sorted(got) == list(range(2, 102)) != got

    with_smsc(scene, delay_ms=delay)


def test_a_distributions_table_has_its_median_and_its_bounds():
    uniform = Delay("uniform", 10, 50)
    assert (uniform.quantile(0.5), uniform.quantile(0.25)) == (30, 20)
    assert Delay("lognormal", 20, 0.5).quantile(0.5) == pytest.approx(20)
    assert Delay("exponential", 10).quantile(0.5) == pytest.approx(6.93, abs=0.01)
    with pytest.raises(ValueError, match="smaller first"):
        Delay("uniform", 5, 1)


def test_shuffled_answers_leave_within_their_group():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        await esme.send(*(submit(number) for number in range(2, 102)))
        pdus = [await esme.next() for _ in range(100)]
        got = [sequence(pdu) for pdu in pdus]
        assert sorted(got) == list(range(2, 102)) != got
        assert all(abs(number - at - 2) < 10 for at, number in enumerate(got))
        ids = [int(id_of(pdu)) for pdu in sorted(pdus, key=sequence)]
        assert ids == sorted(ids), "each its own id"

    with_smsc(scene, shuffle_answers=10)


def test_answers_are_lost_and_doubled_as_told():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        await esme.send(*(submit(number) for number in range(2, 8)))
        assert [sequence(await esme.next()) for _ in range(6)] == [2, 3, 3, 5, 5, 6]
        summary = smsc.summary()
        assert (summary["accepted"], summary["answers_lost"], summary["answers_doubled"]) == (6, 2, 2)

    with_smsc(scene, answer_lost_every=3, answer_twice_every=2)


def test_statuses_by_number_pattern_by_share_of_numbers_and_by_share():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        assert await esme.submit(destination_addr="4915100000007") == [0x0B]
        assert await esme.submit(destination_addr="4930") == [0x0B]
        first = [(await esme.submit(destination_addr=f"33{n:08}"))[0] for n in range(200)]
        again = [(await esme.submit(destination_addr=f"33{n:08}"))[0] for n in range(200)]
        assert 5 <= first.count(0x14) <= 45
        assert [s == 0x14 for s in first] == [s == 0x14 for s in again], "the same numbers each time"
        assert 40 <= (first + again).count(0x08) <= 160

    rules = {
        "status-number": ["49151*7:0x0B", "49??:0x0B"],
        "status-of-numbers": ["10%:0x14"],
        "status-share": "25%:0x08",
    }
    with_smsc(scene, **options_of(rules))


def test_a_full_queue_answers_0x14_until_it_has_drained_and_congestion_tells_how_full_it_is():
    clock = FakeClock()

    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        answers = [await esme.ask(submit(number)) for number in range(2, 7)]
        assert [status(pdu) for pdu in answers] == [0, 0, 0, 0, 0x14]
        assert [codec.decode_answer(pdu).tlvs[0x0428][0] for pdu in answers] == [25, 50, 75, 100, 100]
        clock.advance(0.5)
        assert await esme.submit(3) == [0, 0, 0x14]

    with_smsc(scene, queue=(4, 4), congestion="auto", clock=clock)


def test_a_stated_congestion_state_is_in_every_answer():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        for number, wanted in ((2, 0), (3, 0x58)):
            answer = await esme.ask(submit(number))
            assert status(answer) == wanted and codec.decode_answer(answer).tlvs == {0x0428: b"\x5a"}

    with_smsc(scene, congestion=90, tps=1)


@pytest.mark.parametrize("how", ["fin", "rst", "half-open"])
def test_a_drop_is_seen_by_the_client_as_what_it_is(how):
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        await esme.send(submit(2), submit(3))
        assert sequence(await esme.next()) == 2
        if how == "half-open":
            with trio.move_on_after(0.05) as scope:
                await esme.ask(codec.encode(CommandId.ENQUIRE_LINK, 0, 9))
            assert scope.cancelled_caught
            await esme.stream.aclose()
        elif how == "fin":
            assert await esme.stream.receive_some() == b""
        else:
            with pytest.raises(trio.BrokenResourceError):
                await esme.stream.receive_some()
        await until(lambda: not smsc._peers)

    with_smsc(scene, drop_every=2, drop_how=how)


@pytest.mark.parametrize(("how", "late"), [("unbind", False), ("unbind-late", True)])
def test_an_unbind_goes_before_the_answer_or_in_its_place(how, late):
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        await esme.send(submit(2), submit(3))
        kinds = [(kind(pdu), sequence(pdu)) for pdu in [await esme.next() for _ in range(2 + late)]]
        assert kinds == [(SUBMIT_SM_RESP, 2), (6, 0x7FFFFFFF), (SUBMIT_SM_RESP, 3)][: 2 + late]
        await esme.send(codec.encode(0x80000006, 0, 0x7FFFFFFF))
        assert await esme.ended()

    with_smsc(scene, drop_every=2, drop_how=how)


def test_a_slow_reader_and_a_slow_writer_take_their_time():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        began = trio.current_time()
        await esme.send(*(submit(number) for number in range(2, 22)))
        octets = 20 * len(submit(2))
        for _ in range(20):
            await esme.next()
        assert trio.current_time() - began > octets / 4000 * 0.5

    with_smsc(scene, read_rate=4000)
    with_smsc(scene, write_rate=2000)


def test_binds_are_refused_for_a_time_or_never_answered():
    clock = FakeClock()

    async def scene(smsc: Smsc) -> None:
        assert (await bind(smsc))[1] == 0x58
        clock.advance(6)
        with trio.move_on_after(0.05) as scope:
            await bind(smsc)
        assert not scope.cancelled_caught
        smsc.change(refuse_for_s=0, mute_binds=-1)
        with trio.move_on_after(0.05) as scope:
            await bind(smsc)
        assert scope.cancelled_caught and smsc.summary()["binds_muted"] == 1

    with_smsc(scene, refuse_for_s=5, refuse_status=0x58, clock=clock)


def test_a_receipt_may_come_before_its_answer():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        assert [kind(pdu) for pdu in (await esme.ask(submit(2, registered_delivery=1)), await esme.next())] == [
            DELIVER_SM,
            SUBMIT_SM_RESP,
        ]

    with_smsc(scene, receipt_early_every=1)


def test_receipts_come_over_another_bind_and_over_the_same_when_there_is_none():
    async def scene(smsc: Smsc) -> None:
        one = await bound(smsc)
        assert kind(await one.ask(submit(2, registered_delivery=1))) == SUBMIT_SM_RESP
        assert kind(await one.next()) == DELIVER_SM
        two = await bound(smsc)
        await one.send(*(submit(number, registered_delivery=1) for number in range(3, 13)))
        answered = [id_of(await one.next()) for _ in range(10)]
        assert sorted([receipt_id(await two.next()) for _ in range(10)]) == sorted(answered)
        await two.stream.aclose()
        assert sorted([receipt_id(await one.next()) for _ in range(10)]) == sorted(answered), "the bind is gone"

    with_smsc(scene, receipt_other_bind=100)


@pytest.mark.parametrize(
    ("ids", "receipt_ids", "number"),
    [("hex", "decimal", 16), ("hex-upper", "hex", 16), ("padded", "decimal", 10), ("hex-padded", "padded", 16)],
)
def test_ids_are_written_as_told_in_answer_and_receipt(ids, receipt_ids, number):
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        answer = await esme.ask(submit(2, registered_delivery=1))
        receipt = receipt_id(await esme.next())
        assert int(id_of(answer), number) == int(receipt, 16 if receipt_ids == "hex" else 10)
        assert len(id_of(answer)) == (20 if "padded" in ids else len(id_of(answer)))
        assert id_of(answer) == id_of(answer).upper() or ids == "hex"

    with_smsc(scene, ids=ids, receipt_ids=receipt_ids)


def test_receipts_are_held_back_and_come_shuffled_when_there_are_enough_or_nothing_more_comes():
    clock = FakeClock()

    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        await esme.submit(99, registered_delivery=1)
        assert smsc.summary()["receipts_held"] == 99 and smsc.summary()["receipts_sent"] == 0
        await esme.send(submit(200, registered_delivery=1))
        ids = [receipt_id(await esme.next_of(DELIVER_SM)) for _ in range(100)]
        assert len(set(ids)) == 100 and ids != sorted(ids)
        await esme.submit(5, registered_delivery=1)
        assert smsc.summary()["receipts_held"] == 5
        clock.advance(3)
        assert len({receipt_id(await esme.next_of(DELIVER_SM)) for _ in range(5)}) == 5
        await esme.submit(5, registered_delivery=1)
        assert smsc.release_receipts() == 5
        assert len({receipt_id(await esme.next_of(DELIVER_SM)) for _ in range(5)}) == 5
        await until(lambda: smsc.summary()["receipts_pending"] == 0)

    with_smsc(scene, hold_receipts=100, clock=clock)


def test_receipts_that_wait_by_a_distribution_come_all_and_out_of_order():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        await esme.submit(200, registered_delivery=1)
        ids = [receipt_id(await esme.next_of(DELIVER_SM)) for _ in range(200)]
        assert len(set(ids)) == 200 and ids != sorted(ids)

    with_smsc(scene, receipt_delay_ms=Delay("uniform", 100, 300))


def test_texts_from_phones_are_made_up_at_a_rate_from_many_numbers():
    clock = FakeClock()

    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        smsc.tick()
        clock.advance(0.05)
        smsc.tick()
        mo = [codec.decode_message(await esme.next()) for _ in range(50)]
        assert {m.short_message for m in mo} == {b"STOP"} and {m.destination_addr for m in mo} == {"777"}
        assert [m.source_addr for m in mo] == [str(4915100000000 + n % 7) for n in range(50)]
        with trio.move_on_after(0.02):
            assert not await esme.next()

    with_smsc(scene, mo_rate=1000, mo_sources=7, clock=clock)


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
@pytest.mark.parametrize("bits", [8, 16])
def test_long_texts_come_in_parts_in_any_order_under_a_reference_of_8_or_16_bits(order, bits):
    def parts(text: str, reference: int) -> list[tuple[int, int, bytes]]:
        return [(0x40, 0, bytes((5, 0, 3, reference, 4, part)) + text.encode()) for part in range(1, 5)]

    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        assert smsc.inject_mo("4911", "777", "long") == 4
        octets = [codec.decode_message(await esme.next()).short_message for _ in range(4)]
        head = 6 if bits == 8 else 7
        assert {text[: head - 2] for text in octets} == {b"\5\0\3\1" if bits == 8 else b"\6\x08\4\0\1"}
        numbers = [text[head - 1] for text in octets]
        assert sorted(numbers) == [1, 2, 3, 4]
        assert numbers == {"forward": [1, 2, 3, 4], "reverse": [4, 3, 2, 1]}.get(order, numbers)

    with_smsc(scene, mo_order=order, mo_reference_bits=bits, mo_parts=parts)


def test_there_are_at_least_35_kinds_of_malformed_pdus_and_each_is_sent_as_it_stands():
    assert len(KINDS) >= 35 and sum(garbage.instead for garbage in KINDS.values()) >= 10

    async def scene(smsc: Smsc) -> None:
        for name, garbage in KINDS.items():
            smsc.change(garbage=(name,), garbage_every=1)
            esme = await bound(smsc)
            await esme.send(submit(2))
            wanted = garbage.octets[:12] + b"\0\0\0\2" + garbage.octets[16:] if garbage.instead else garbage.octets
            got = b""
            while len(got) < len(wanted):
                got += await esme.stream.receive_some()
            assert got.startswith(wanted), name
            await esme.stream.aclose()

    with_smsc(scene)


@pytest.mark.parametrize("name", [name for name, garbage in KINDS.items() if not garbage.ends])
def test_what_does_not_end_the_framing_is_framed(name):
    assert Framer().feed(KINDS[name].octets) == [KINDS[name].octets]


@pytest.mark.parametrize(
    "name", ["zero-length", "length-15", "length-over-cap", "length-top-bit", "tls-alert", "zeros"]
)
def test_what_ends_the_framing_is_told_by_the_framer(name):
    framer = Framer()
    assert framer.feed(KINDS[name].octets) == [] and framer.lost is not None


def test_repeats_are_counted_by_sender_number_text_and_part():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        await esme.submit(3)
        await esme.submit(2, text=b"other")
        await esme.submit(1, destination_addr="4917")
        assert smsc.summary()["duplicates"] == 3

    with_smsc(scene, count_repeats=True)


def test_an_outbind_calls_the_esme_and_serves_its_bind():
    async def scene(smsc: Smsc) -> None:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(smsc.call_out, f"127.0.0.1:{listener.socket.getsockname()[1]}")
            esme = Esme(await listener.accept())
            opened.extend((listener.socket, esme.stream.socket))
            assert kind(await esme.next()) == CommandId.OUTBIND
            assert (
                kind(await esme.ask(codec.encode(CommandId.BIND_TRANSCEIVER, 0, 1, b"a\0\0\0\x34\0\0\0"))) == 0x80000009
            )
            assert await esme.submit() == [0]
            nursery.cancel_scope.cancel()

    with_smsc(scene)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", str(folder / "key"), "-out", str(folder / "cert")],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def test_with_a_certificate_the_session_is_inside_tls_and_a_plain_client_is_turned_away(certificate):
    async def scene(smsc: Smsc) -> None:
        context = ssl.create_default_context(cafile=str(certificate / "cert"))
        tcp = (await connect(smsc)).stream
        esme = Esme(trio.SSLStream(tcp, context, server_hostname="localhost"))
        assert status(await esme.ask(codec.encode(9, 0, 1, b"a\0\0\0\x34\0\0\0"))) == 0
        assert await esme.submit(300, registered_delivery=1) == [0] * 300
        for _ in range(300 - smsc.summary()["receipts_answered"]):
            if smsc.summary()["receipts_pending"]:
                await esme.next_of(DELIVER_SM)
        plain = await connect(smsc)
        await plain.send(codec.encode(9, 0, 1, b"a\0\0\0\x34\0\0\0"))
        while True:
            try:
                data = await plain.stream.receive_some()
            except trio.BrokenResourceError:
                break
            if not data:
                break
            assert data[:1] == b"\x15", "an alert"
        await until(lambda: smsc.summary()["handshakes_failed"] == 1)

    with_smsc(scene, tls_cert=certificate / "cert", tls_key=certificate / "key")


def test_a_command_length_that_is_none_is_nacked_also_while_others_are_served():
    async def scene(smsc: Smsc) -> None:
        esme, other = await bound(smsc), await bound(smsc)
        assert kind(await esme.ask(b"\xff\xff\xff\xff")) == GENERIC_NACK
        assert await other.submit(10) == [0] * 10

    with_smsc(scene)
