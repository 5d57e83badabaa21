"""The simulator as an ESME meets it: over TCP, with smpplib's client and with octets of our own."""

import json
import signal
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import smpplib.client
import trio

from dispatcher.smpp import codec
from dispatcher.smpp.consts import CommandId
from dispatcher.smpp.framing import Framer
from dispatcher.smpp.pdu import Bind
from dispatcher.smpp.smsc import Smsc
from dispatcher.smpp.smsc_session import SmscOptions
from tests.smpp.esme import bound, connect, kind, status, until, with_smsc
from tests.smpp.esme import submit as plain_submit

WITHIN_S = 10


def submit(number: int, text: bytes = b"hello", **fields: object) -> bytes:
    """With a receipt, unless told otherwise."""
    return plain_submit(number, text, **{"registered_delivery": 1} | fields)


def test_smpplibs_client_binds_submits_and_gets_its_receipt_and_an_mo(tmp_path):
    got = []

    def drive(port: int) -> str:
        client = smpplib.client.Client("127.0.0.1", port, timeout=WITHIN_S, allow_unknown_opt_params=True)
        ids: list[str] = []
        client.set_message_sent_handler(lambda pdu: ids.append(pdu.message_id.decode()))
        client.set_message_received_handler(lambda pdu: got.append(pdu) and None)
        client.connect()
        client.bind_transceiver(system_id="anybody", password="any")
        client.send_message(
            source_addr_ton=0, source_addr="777", dest_addr_ton=1, dest_addr_npi=1, destination_addr="4915112345678",
            short_message=b"Hello Anna, your points", registered_delivery=1,
        )  # fmt: skip
        while len(got) < 2 or not ids:
            client.read_once()
        client.unbind()
        client.disconnect()
        return ids[0]

    async def scene(smsc: Smsc) -> None:
        smsc.inject_mo("4915112345678", "777", "POINTS")
        message_id = await trio.to_thread.run_sync(drive, smsc.port)
        by_type = {pdu.esm_class: pdu for pdu in got}
        receipt, mo = by_type[4], by_type[0]
        text = receipt.short_message
        assert text.startswith(b"id:%s sub:001 dlvrd:001 submit date:" % message_id.encode())
        assert text.endswith(b" stat:DELIVRD err:000 text:Hello Anna, your poi")
        assert (receipt.source_addr, receipt.destination_addr) == (b"4915112345678", b"777")
        assert (receipt.receipted_message_id, receipt.message_state) == (message_id.encode(), 2)
        assert (mo.source_addr, mo.destination_addr, mo.short_message) == (b"4915112345678", b"777", b"POINTS")
        summary = smsc.summary()
        keys = ("binds", "accepted", "receipts_answered", "receipts_pending", "mo_answered", "malformed")
        assert [summary[key] for key in keys] == [1, 1, 1, 0, 1, 0]
        line = (tmp_path / "log").read_bytes().rstrip(b"\n").split(b"\t")
        crc = b"%08x" % zlib.crc32(b"Hello Anna, your points")
        assert line[1:] == [b"777", b"4915112345678", crc, b"1", b"1", message_id.encode()]

    with_smsc(scene, log=tmp_path / "log", receipt_tlvs=True)


def test_receipts_unanswered_and_unsent_wait_for_the_next_bind_of_the_same_system_id():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        await esme.send(*(submit(n) for n in range(1, 6)))
        first = [await esme.next() for _ in range(7)]
        receipts = [pdu for pdu in first if kind(pdu) == CommandId.DELIVER_SM]
        assert len(receipts) == 2
        await esme.send(codec.deliver_sm_resp(codec.decode_header(receipts[0]).sequence_number))
        await esme.next()
        await esme.stream.aclose()
        await until(lambda: smsc.summary()["came_again"] == 2)
        stranger = await bound(smsc, system_id="other")
        again = await bound(smsc)
        texts = []
        while len(texts) < 4:
            pdu = await again.next()
            texts.append(codec.decode_message(pdu).short_message)
            await again.send(codec.deliver_sm_resp(codec.decode_header(pdu).sequence_number))
        assert texts[0] == codec.decode_message(receipts[1]).short_message and len(set(texts)) == 4
        await until(lambda: smsc.summary()["receipts_pending"] == 0)
        with trio.move_on_after(0.02):
            assert not await stranger.next()

    with_smsc(scene, deliver_window=2)


def test_receipts_of_a_transmitter_go_to_the_accounts_receiver():
    async def scene(smsc: Smsc) -> None:
        tx, rx = await bound(smsc, "tx"), await bound(smsc, "rx")
        assert status(await tx.ask(submit(5))) == 0
        assert codec.decode_message(await rx.next()).esm_class == 4
        assert status(await rx.ask(submit(1))) == 0x04

    with_smsc(scene)


def test_a_receipt_comes_no_sooner_than_its_delay_and_an_answer_neither():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        began = trio.current_time()
        assert kind(await esme.ask(submit(1))) == 0x80000004
        assert trio.current_time() - began >= 0.03
        assert kind(await esme.next()) == CommandId.DELIVER_SM
        assert trio.current_time() - began >= 0.06

    with_smsc(scene, delay_ms=30, receipt_delay_ms=60)


def test_lines_appended_to_the_mo_file_arrive_and_bad_ones_are_counted(tmp_path):
    path = tmp_path / "mo"

    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc, "rx")
        with path.open("ab", buffering=0) as file:
            file.write(b"4911\t777\tSTOP\nno tabs here\n4912\t777\tpa")
            stop = codec.decode_message(await esme.next())
            file.write("ź\n".encode())
            other = codec.decode_message(await esme.next())
        assert (stop.source_addr, stop.destination_addr, stop.short_message, stop.data_coding) == (
            "4911",
            "777",
            b"STOP",
            0,
        )
        assert (other.short_message.decode("utf-16-be"), other.data_coding) == ("paź", 8)
        await esme.send(codec.deliver_sm_resp(1), codec.deliver_sm_resp(2))
        await until(lambda: smsc.summary()["mo_answered"] == 2)
        assert smsc.summary()["mo_lines_refused"] == 1

    with_smsc(scene, mo=path)


def test_binds_are_refused_as_told_and_only_the_first():
    async def scene(smsc: Smsc) -> None:
        request = codec.encode_bind(CommandId.BIND_TRANSCEIVER, 1, Bind(system_id="a"))
        statuses = []
        for _ in range(3):
            esme = await connect(smsc)
            statuses.append(status(await esme.ask(request)))
        assert statuses == [0x0E, 0x0E, 0]
        assert status(await esme.ask(request)) == 0x05
        assert (smsc.summary()["binds"], smsc.summary()["binds_refused"]) == (1, 3)

    with_smsc(scene, refuse_binds=2, refuse_status=0x0E)


def test_what_may_not_cross_is_answered_and_the_session_stays():
    async def scene(smsc: Smsc) -> None:
        esme = await connect(smsc)
        assert status(await esme.ask(submit(1))) == 0x04
        assert status(await esme.ask(codec.encode(CommandId.QUERY_SM, 0, 6, b"1\0\0\0\0"))) == 0x04
        nack = await esme.ask(codec.encode(0x0999, 0, 7, b"1\0\0\0\0"))
        assert codec.decode_header(nack) == codec.Header(16, CommandId.GENERIC_NACK, 0x03, 7)
        await esme.send(codec.encode(0x80000999, 0, 8), codec.encode(CommandId.ALERT_NOTIFICATION, 0, 9))
        assert kind(await esme.ask(codec.encode(CommandId.ENQUIRE_LINK, 0, 10))) == 0x80000015
        assert status(await esme.ask(codec.encode_bind(9, 11, Bind(system_id="a")))) == 0
        assert status(await esme.ask(codec.encode(CommandId.SUBMIT_SM, 0, 12, b"\0\0"))) == 0x02
        assert kind(await esme.ask(codec.encode(CommandId.UNBIND, 0, 13))) == 0x80000006
        assert await esme.ended()

    with_smsc(scene)


@pytest.mark.parametrize("octets", [b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x0f"])
def test_a_bad_command_length_is_nacked_and_ends_that_connection_only(octets):
    async def scene(smsc: Smsc) -> None:
        other, esme = await bound(smsc), await bound(smsc)
        nack = await esme.ask(octets)
        assert (kind(nack), status(nack)) == (CommandId.GENERIC_NACK, 0x02)
        assert await esme.ended()
        assert status(await other.ask(submit(1))) == 0
        assert smsc.summary()["malformed"] == 1

    with_smsc(scene)


def test_a_drop_ends_the_connection_and_a_mute_only_stays_silent(tmp_path):
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        await esme.send(*(submit(n) for n in range(1, 5)))
        answered = [codec.decode_header(await esme.next()).sequence_number for _ in range(2)]
        assert answered == [1, 3] and await esme.ended()
        assert len((tmp_path / "log").read_bytes().splitlines()) == 2
        summary = smsc.summary()
        assert (summary["dropped"], summary["muted"], summary["accepted"]) == (1, 1, 2)

    with_smsc(scene, drop_every=4, mute_every=2, receipts=0, log=tmp_path / "log")


def test_behaviour_changes_while_it_runs():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        assert status(await esme.ask(submit(1))) == 0
        smsc.change(status_every=((1, 0x14),))
        assert status(await esme.ask(submit(2))) == 0x14
        smsc.change(status_every=(), tps=2)
        assert [status(await esme.ask(submit(n))) for n in (3, 4)] == [0, 0x58]
        smsc.unbind_all()
        assert kind(await esme.next()) == CommandId.UNBIND
        smsc.close_all()
        assert await esme.ended()
        assert smsc.summary()["throttled"] == 1

    with_smsc(scene, receipts=0)


def test_ids_of_a_later_start_lie_above():
    ids: list[int] = []

    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        ids.extend([int(codec.decode_answer(await esme.ask(submit(n))).text) for n in (1, 2)])

    for _ in range(2):
        with_smsc(scene, receipts=0)
    assert ids == sorted(set(ids)) and len(ids) == 4


@pytest.mark.parametrize(
    "wrong", [{"deliver_window": 0}, {"ids": "octal"}, {"states": (("GONE", 1, "0"),)}, {"receipts": 101}]
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).removesuffix("s")):
        SmscOptions(**wrong)


def run_cli(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dispatcher.cli.smsc", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_prints_its_port_and_its_summary_and_writes_its_log(tmp_path):
    options = ("--states", "DELIVRD:97,UNDELIV:2:027", "--status-every", "3:0x58", "--ids", "hex")
    process = run_cli("--port", "0", "--log", str(tmp_path / "log"), "--mo", str(tmp_path / "mo"), *options)
    try:
        host, port = process.stdout.readline().removeprefix("listening on ").split(":")
        with socket.create_connection((host, int(port)), timeout=WITHIN_S) as esme:
            esme.sendall(codec.encode_bind(9, 1, Bind(system_id="a")) + submit(2) + submit(3) + submit(4))
            framer, pdus = Framer(), []
            while sum(kind(pdu) == 0x80000004 for pdu in pdus) < 3:
                pdus += framer.feed(esme.recv(4096))
            (tmp_path / "mo").write_text("4911\t777\t" + "long é " * 40 + "\n")
            while sum(kind(pdu) == 5 for pdu in pdus) < 4:  # two receipts and two parts
                pdus += framer.feed(esme.recv(4096))
            process.send_signal(signal.SIGUSR1)
            assert json.loads(process.stdout.readline())["throttled"] == 1
            process.send_signal(signal.SIGTERM)
            summary = json.loads(process.stdout.readline())
        assert process.wait(WITHIN_S) == 0 and process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()
    parts = [
        codec.decode_message(pdu) for pdu in pdus if kind(pdu) == 5 and codec.decode_message(pdu).esm_class == 0x40
    ]
    assert [part.short_message[:6] for part in parts] == [b"\5\0\3\1\2\1", b"\5\0\3\1\2\2"]
    expected = {
        "binds": 1,
        "submits": 3,
        "accepted": 2,
        "throttled": 1,
        "receipts_sent": 2,
        "receipts_pending": 2,
        "mo_sent": 2,
    }
    assert summary | expected == summary
    message_id = next(codec.decode_answer(pdu).text for pdu in pdus if kind(pdu) == 0x80000004)
    line = Path(tmp_path / "log").read_text().splitlines()[0].split("\t")
    assert line[-1] == message_id and int(message_id, 16) > 10**18


def test_a_port_in_use_is_a_sentence_and_not_a_traceback():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = run_cli("--port", str(taken.getsockname()[1]))
        _, errors = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 1 and errors.startswith("Error: ") and "Traceback" not in errors


def test_a_wrong_option_of_the_command_says_what_is_right():
    process = run_cli("--port", "0", "--states", "GONE:1")
    _, errors = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 2 and "DELIVRD" in errors
