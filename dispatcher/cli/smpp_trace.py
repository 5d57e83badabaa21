"""`volley smpp trace`: the PDUs of one bind as they cross it, on the screen, as JSON, or as a capture for Wireshark."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import IO, Any

import click

from dispatcher.cli.common import Call, common
from dispatcher.cli.smpp_binds import ask_running
from dispatcher.cli.smpp_json import pdu_json
from dispatcher.control.commands import RevealBind, TraceBind
from dispatcher.smpp.pcap import Capture, file_header

LOOK_S = 0.05
SHOWN = ("source_addr", "destination_addr", "message_id", "esm_class", "data_coding", "text")


@click.command("trace")
@click.argument("bind", metavar="BIND")
@click.option("--number", default="", metavar="NUMBER", help="Only from and to this one, and the answers to it.")
@click.option("--reveal", is_flag=True, help="Show numbers and texts; needs --reason, which is kept in the audit.")
@click.option("--reason", default="", help="Why they must be seen.")
@click.option("--pcap", type=click.File("wb"), metavar="FILE", help="Write a capture that Wireshark opens.")
@click.option("--count", type=click.IntRange(1), help="End after so many PDUs.")
@click.option("--seconds", type=click.FloatRange(0.1), help="End after so long; else with Ctrl-C.")
@common
def trace_command(
    call: Call, bind: str, number: str, reveal: bool, reason: str, pcap: IO[bytes] | None, count: int | None,
    seconds: float | None,
) -> None:  # fmt: skip
    """The PDUs of one bind as they cross it: > is ours, < the SMSC's.

    All but three digits of numbers, and texts, are masked unless --reveal. Costs nothing once nobody looks. On a bind
    at full speed not all can be shown: how many octets were passed over is said at the end. Several may look at one
    bind: each sees all of it.

    \b
    volley smpp trace main.0
    volley smpp trace main.0 --number 4915112345678 --reveal --reason 'ticket 4711'
    volley smpp trace main.0 --seconds 10 --pcap main.pcap
    """
    if reveal:
        if not reason.strip():
            raise click.UsageError("--reveal needs --reason")
        ask_running(call, RevealBind(bind=bind), reason)
    shown, lost, state, looker = 0, 0, "", f"{os.getpid()}.{time.monotonic_ns()}"
    alphabet = {one.name: one.default_alphabet for one in call.settings.endpoints}.get(bind.rpartition(".")[0], "gsm")
    capture = Capture()
    if pcap is not None:
        pcap.write(file_header())
    until = time.monotonic() + seconds if seconds else None
    try:
        while (until is None or time.monotonic() < until) and (count is None or shown < count):
            reply = ask_running(call, TraceBind(bind=bind, looker=looker, number=number, reveal=reveal))
            lost, state = reply["lost_octets"], reply["state"]
            for pdu in reply["pdus"][: None if count is None else count - shown]:
                shown += 1
                if pcap is not None:
                    pcap.write(capture.packets(pdu["at_us"], pdu["sent"], pdu["octets"]))
                else:
                    click.echo(_line(pdu, alphabet, as_json=call.json))
            if pcap is not None:
                pcap.flush()
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        pass
    passed = f", {lost:,} octets passed over" if lost else ""
    now = "" if state in ("", "bound", "paused") else f"; {bind} is {state}"
    click.echo(f"{shown:,} PDUs{passed}{now}", err=True)


def _line(pdu: dict[str, Any], alphabet: str, *, as_json: bool) -> str:
    at = datetime.fromtimestamp(pdu["at_us"] / 1e6, UTC)
    told = pdu_json(pdu["octets"], alphabet)
    if as_json:
        return json.dumps({"at": at.isoformat(), "sent": pdu["sent"], **told}, ensure_ascii=False)
    status = told.get("command_status_name", "") if told["command_status"] else ""
    what = " ".join(f"{name}={told[name]}" for name in SHOWN if told.get(name) not in (None, "", 0))
    head = f"{at:%H:%M:%S.%f} {'>' if pdu['sent'] else '<'} {told['command']} {told['sequence_number']}"
    return " ".join(filter(None, (head, status, what)))
