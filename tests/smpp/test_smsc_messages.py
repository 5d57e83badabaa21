"""The simulator asked about what it took: query_sm, cancel_sm, replace_sm, submit_multi, data_sm; and its own timers."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import smpplib.client
import trio

from dispatcher.smpp import codec
from dispatcher.smpp.consts import CommandId
from dispatcher.smpp.pdu import Destination, Pdu, UnsuccessSme
from dispatcher.smpp.smsc import Smsc
from dispatcher.smpp.smsc_options import ID_FORMS, AccountOptions
from tests.smpp.esme import Esme, bound, kind, status, submit, until, with_smsc

TO = "4915112345678"
NODE = Path("build/peers")  # where `volley bench peers` puts node's smpp


async def ask(esme: Esme, command: int, **fields: object) -> Pdu:
    """The response to a request of these fields."""
    esme.sequence += 1
    request = Pdu(command_id=command, sequence_number=esme.sequence, fields=fields)
    answer = codec.decode(await esme.ask(codec.encode_pdu(request)))
    assert isinstance(answer, Pdu)
    return answer


async def taken(esme: Esme, **fields: object) -> str:
    """A submit_sm; its message_id."""
    esme.sequence += 1
    answer = codec.decode(await esme.ask(submit(esme.sequence, **fields)))
    assert isinstance(answer, Pdu) and answer.command_status == 0
    return str(answer.fields["message_id"])


def test_smpplibs_client_learns_what_became_of_its_message():
    async def scene(smsc: Smsc) -> None:
        def client() -> list[tuple[str, int, bytes | None]]:
            with smpplib.client.Client("127.0.0.1", smsc.port, 5, allow_unknown_opt_params=True) as esme:
                found = []
                esme.connect()
                esme.bind_transceiver(system_id="volley", password="x")
                esme.send_message(source_addr="777", destination_addr=TO, short_message=b"hello")
                answer = esme.read_pdu()
                for source in ("777", "778"):
                    esme.query_message(message_id=answer.message_id.decode(), source_addr=source)
                    told = esme.read_pdu()
                    found.append((told.command, told.status, getattr(told, "message_state", None)))
                esme.unbind()
            return found

        found = await trio.to_thread.run_sync(client)
        assert [each[:2] for each in found] == [("query_sm_resp", 0), ("query_sm_resp", 0x67)]
        assert found[0][2] in (2, b"\2")

    with_smsc(scene)


@pytest.mark.parametrize("form", ID_FORMS)
def test_a_message_is_enroute_until_its_receipt_is_due_and_found_by_its_id_in_any_form(form):
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        waiting = await taken(esme)
        answer = await ask(esme, CommandId.QUERY_SM, message_id=waiting, source_addr="777")
        assert (answer.command_status, answer.fields["message_id"], answer.fields["message_state"]) == (0, waiting, 1)
        assert answer.fields["final_date"] == ""
        smsc.change(receipt_delay_ms=0)
        over = await ask(esme, CommandId.QUERY_SM, message_id=await taken(esme), source_addr="777")
        assert over.fields["message_state"] == 2 and str(over.fields["final_date"]).endswith("00+")
        for fields in ({"message_id": "999"}, {"message_id": "no number"}, {"message_id": waiting, "source_addr": "1"}):
            answer = await ask(esme, CommandId.QUERY_SM, **{"source_addr": "777"} | fields)
            assert answer.command_status == 0x67

    with_smsc(scene, ids=form, receipt_delay_ms=60_000)


def test_another_accounts_message_is_nobodys_business():
    async def scene(smsc: Smsc) -> None:
        mine = await taken(await bound(smsc, system_id="shop"))
        answer = await ask(await bound(smsc, system_id="other"), CommandId.QUERY_SM, message_id=mine, source_addr="777")
        assert answer.command_status == 0x67

    with_smsc(scene, accounts=(AccountOptions(system_id="shop"), AccountOptions(system_id="other")))


def test_a_cancelled_message_is_deleted_and_its_receipt_says_so():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        mine = await taken(esme, registered_delivery=1)
        asked = {"message_id": mine, "source_addr": "777", "destination_addr": TO}
        assert (await ask(esme, CommandId.CANCEL_SM, **asked | {"destination_addr": "1"})).command_status == 0x11
        assert (await ask(esme, CommandId.CANCEL_SM, **asked | {"message_id": "1"})).command_status == 0x0C
        assert (await ask(esme, CommandId.CANCEL_SM, **asked)).command_status == 0
        assert (await ask(esme, CommandId.CANCEL_SM, **asked)).command_status == 0x11
        answer = await ask(esme, CommandId.QUERY_SM, message_id=mine, source_addr="777")
        assert answer.fields["message_state"] == 4
        receipt = codec.decode_message(await esme.next_of(CommandId.DELIVER_SM))
        assert b"stat:DELETED" in receipt.short_message
        assert smsc.summary()["deleted"] == 1

    with_smsc(scene, receipt_delay_ms=150)


def test_cancel_without_an_id_takes_all_between_two_addresses():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        mine = [await taken(esme) for _ in range(3)]
        other = await taken(esme, destination_addr="4915100000001")
        answer = await ask(esme, CommandId.CANCEL_SM, source_addr="777", destination_addr=TO)
        assert answer.command_status == 0
        states = [
            (await ask(esme, CommandId.QUERY_SM, message_id=each, source_addr="777")).fields["message_state"]
            for each in (*mine, other)
        ]
        assert states == [4, 4, 4, 1]
        again = await ask(esme, CommandId.CANCEL_SM, source_addr="777", destination_addr=TO)
        assert again.command_status == 0x11

    with_smsc(scene, receipt_delay_ms=60_000)


def test_a_message_is_replaced_while_it_is_not_final():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        fields = {"message_id": await taken(esme), "source_addr": "777", "short_message": b"better"}
        assert (await ask(esme, CommandId.REPLACE_SM, **fields)).command_status == 0
        smsc.change(receipt_delay_ms=0)
        fields["message_id"] = await taken(esme)
        assert (await ask(esme, CommandId.REPLACE_SM, **fields)).command_status == 0x13
        assert smsc.summary()["replaced"] == 1

    with_smsc(scene, receipt_delay_ms=60_000)


def test_a_data_sm_is_taken_as_a_submit_sm_is_with_its_text_in_message_payload(tmp_path):
    log = tmp_path / "log"

    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        fields = {"source_addr": "777", "destination_addr": TO, "registered_delivery": 1}
        request = Pdu(command_id=CommandId.DATA_SM, sequence_number=9, fields=fields, tlvs=((0x0424, b"by data_sm"),))
        answer = codec.decode(await esme.ask(codec.encode_pdu(request)))
        assert isinstance(answer, Pdu) and (answer.name, answer.command_status) == ("data_sm_resp", 0)
        message_id = str(answer.fields["message_id"])
        receipt = codec.decode_message(await esme.next_of(CommandId.DELIVER_SM))
        assert receipt.short_message.startswith(f"id:{message_id} ".encode()) and receipt.source_addr == TO
        long = replace(request, fields=fields | {"destination_addr": "9" * 40})
        assert status(await esme.ask(codec.encode_pdu(long))) == 0x0B
        assert message_id in log.read_text() and smsc.summary()["accepted"] == 1

    with_smsc(scene, log=log)


def test_the_script_of_texts_sends_any_octets_so_that_every_pdu_can_be_tried(tmp_path):
    script = tmp_path / "mo"
    alert = Pdu(command_id=CommandId.ALERT_NOTIFICATION, fields={"source_addr": TO, "esme_addr": "777"})

    async def scene(smsc: Smsc) -> None:
        script.write_text(f"pdu {codec.encode_pdu(alert).hex()}\n")
        await until(lambda: smsc.summary()["mo_lines_refused"] == 1)  # nobody is bound
        esme = await bound(smsc, "rx")
        with script.open("a") as file:
            file.write(f"pdu {codec.encode_pdu(alert).hex()}\npdu 0xyz\n")
        assert codec.decode(await esme.next()) == codec.decode(codec.encode_pdu(alert))
        await until(lambda: smsc.summary()["mo_lines_refused"] == 2)

    with_smsc(scene, mo=script)


def test_submit_multi_is_one_message_to_each_of_its_destinations(tmp_path):
    log = tmp_path / "log"

    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        to = tuple(Destination(dest_addr_ton=1, dest_addr_npi=1, destination_addr=f"49151{no}") for no in range(3))
        answer = await ask(
            esme, CommandId.SUBMIT_MULTI, source_addr="777", registered_delivery=1, short_message=b"hello",
            dest_address=(*to, Destination(dl_name="friends")),
        )  # fmt: skip
        assert answer.command_status == 0
        failed = [(one.destination_addr, one.error_status_code) for one in answer.fields["unsuccess_sme"]]
        assert all(isinstance(one, UnsuccessSme) for one in answer.fields["unsuccess_sme"])
        assert failed == [("491511", 0x0B), ("", 0x34)]
        receipts = [codec.decode_message(await esme.next_of(CommandId.DELIVER_SM)) for _ in range(2)]
        assert sorted(receipt.source_addr for receipt in receipts) == ["491510", "491512"]
        assert all(f"id:{answer.fields['message_id']} ".encode() in one.short_message for one in receipts)
        lines = [line.split("\t")[2] for line in log.read_text().splitlines()]
        assert lines == ["491510", "491512"] and smsc.summary()["accepted"] == 2
        only = await ask(
            esme, CommandId.SUBMIT_MULTI, source_addr="777", dest_address=(Destination(dl_name="friends"),)
        )
        assert only.command_status == 0x34

    with_smsc(scene, log=log, status_number=(("*1", 0x0B),))


def test_nothing_is_told_to_who_is_not_bound():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc, "rx")
        assert (await ask(esme, CommandId.QUERY_SM, message_id="1", source_addr="777")).command_status == 0x67
        answer = await ask(
            esme, CommandId.SUBMIT_MULTI, source_addr="1", dest_address=(Destination(destination_addr="2"),)
        )
        assert answer.command_status == 0x04

    with_smsc(scene)


def test_it_asks_a_silent_esme_and_lets_one_go_that_does_not_answer():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        asked = await esme.next_of(CommandId.ENQUIRE_LINK)
        await esme.send(codec.encode(0x80000015, 0, codec.decode_header(asked).sequence_number))
        assert kind(await esme.next()) == CommandId.ENQUIRE_LINK  # and again after the next silence
        assert status(await esme.ask(submit(9))) == 0

    with_smsc(scene, enquire_link_s=0.05)


def test_a_connection_over_which_nothing_comes_ends():
    async def scene(smsc: Smsc) -> None:
        esme = await bound(smsc)
        assert await esme.ended()
        await until(lambda: smsc.summary()["fell_silent"] == 1)

    with_smsc(scene, inactivity_s=0.1)


NODE_CLIENT = """
const smpp = require('smpp');
const session = smpp.connect({ url: 'smpp://127.0.0.1:PORT' });
session.bind_transceiver({ system_id: 'volley', password: 'x' }, () => {
  session.submit_sm({ source_addr: '777', destination_addr: '49151', short_message: 'hello' }, (taken) => {
    const one = { message_id: taken.message_id, source_addr: '777' };
    session.query_sm(one, (asked) => {
      session.cancel_sm({ ...one, destination_addr: '49151' }, (cancelled) => {
        session.replace_sm({ ...one, short_message: 'x' }, (replaced) => {
          console.log(JSON.stringify([taken, asked, cancelled, replaced].map((pdu) => pdu.command_status)));
          session.unbind(() => process.exit(0));
        });
      });
    });
  });
});
"""


@pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules" / "smpp").exists(), reason="node's smpp is not installed"
)
def test_nodes_smpp_asks_and_cancels(tmp_path):
    async def scene(smsc: Smsc) -> None:
        program = NODE / "asks.js"
        program.write_text(NODE_CLIENT.replace("PORT", str(smsc.port)))
        run = trio.run_process(["node", str(program)], capture_stdout=True)
        done: subprocess.CompletedProcess[bytes] = await run
        assert json.loads(done.stdout) == [0, 0, 0, 0x13]

    with_smsc(scene, receipt_delay_ms=60_000)
