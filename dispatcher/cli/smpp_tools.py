"""`volley smpp`: the group; PDUs and receipts read and written by hand, which needs no store and no settings."""

from __future__ import annotations

import json
import re
import string
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from dispatcher.cli.routes import explain_command
from dispatcher.cli.smpp_binds import (
    connect_command,
    disconnect_command,
    drain_command,
    pause_command,
    rate_command,
    reconnect_command,
    reload_command,
    status_command,
)
from dispatcher.cli.smpp_json import EXPLAINED, HEADER_KEYS, NotAPdu, encode_json, receipt_json, stream_json
from dispatcher.cli.smpp_retries import retries_command
from dispatcher.cli.smpp_trace import trace_command
from dispatcher.outcomes.receipt_text import STATES
from dispatcher.text.coding import ALPHABETS

_HEX = frozenset((string.hexdigits + string.whitespace + ":,-x").encode())


@click.group("smpp")
def smpp_group() -> None:
    """Binds of the running dispatcher; PDUs and receipts by hand."""


for _command in (
    status_command, connect_command, pause_command, drain_command, disconnect_command, reconnect_command, rate_command,
    reload_command, trace_command, retries_command, explain_command,
):  # fmt: skip
    smpp_group.add_command(_command)


@smpp_group.command("decode")
@click.argument("octets", metavar="HEX|-")
@click.option("--alphabet", type=click.Choice(ALPHABETS), default="gsm", help="What data_coding 0 means there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a PDU.")
@click.pass_context
def decode_command(context: click.Context, octets: str, alphabet: str, as_json: bool) -> None:
    """A PDU, or a stream of them, in hex; `-` reads stdin, hex or the octets themselves.

    Fields have their SMPP names, octet strings are hex. `problem` says what is wrong and what ours would answer;
    `taken` is true where it would be accepted all the same. Exit status 1 when anything is wrong.

    \b
    volley smpp decode 00000010000000150000000000000001
    volley smpp decode --json - < capture.bin
    """
    found = stream_json(_octets_of(octets), alphabet)
    if not found:
        raise click.UsageError("no octets")
    for no, shown in enumerate(found):
        if as_json:
            click.echo(json.dumps(shown, ensure_ascii=False))
        else:
            _show(shown, first=no == 0)
    if any(shown["problem"] for shown in found):
        context.exit(1)


@smpp_group.command("encode")
@click.argument("pdu", metavar="[JSON|-]", default="-")
def encode_command(pdu: str) -> None:
    """A PDU as hex, from a JSON object as decode gives it; `-` reads stdin, an object a line.

    Fields left out are empty, `text` stands in for short_message and data_coding, command_status may be a name.

    \b
    volley smpp encode '{"command": "enquire_link", "sequence_number": 7}'
    volley smpp encode '{"command": "submit_sm", "destination_addr": "491701234567", "text": "Hi"}'
    volley smpp decode --json HEX | volley smpp encode
    """
    text = sys.stdin.read() if pdu == "-" else pdu
    for given in _objects(text):
        try:
            click.echo(encode_json(given).hex())
        except NotAPdu as exc:
            raise click.ClickException(str(exc)) from exc


@smpp_group.command("receipt")
@click.argument("text", required=False)
@click.option("--hex", "octets", metavar="HEX", help="The octets of short_message or message_payload.")
@click.option("--data-coding", type=click.IntRange(0, 255), default=0, help="8: the octets are UCS-2.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def receipt_command(
    context: click.Context, text: str | None, octets: str | None, data_coding: int, as_json: bool
) -> None:
    """A delivery receipt's text, label by label; `-` reads stdin. Exit status 1 when it names no id or no known state.

    \b
    volley smpp receipt "id:42 sub:001 dlvrd:001 done date:2601010931 stat:DELIVRD err:000 text:Hi"
    volley smpp receipt --json --hex 69643a3432...
    """
    if (text is None) == (octets is None):
        raise click.UsageError("either TEXT or --hex HEX")
    if text == "-":
        text = sys.stdin.read().rstrip("\n")
    found = receipt_json(_octets_of(octets) if octets is not None else (text or "").encode(), data_coding)
    wrong = [f"no {name}" for name in ("id", "stat") if not found[name]]
    if found["stat"] and found["stat"].upper() not in STATES:
        wrong.append(f"stat {found['stat']!r} is none that anybody knows")
    found["problem"] = f"{' and '.join(wrong)}: kept, and not matched" if wrong else None
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        _table([(name, value) for name, value in found.items() if value is not None])
    if wrong:
        context.exit(1)


def _octets_of(text: str) -> bytes:
    """Octets of an argument in hex, or of stdin, in hex unless it cannot be."""
    given = sys.stdin.buffer.read() if text == "-" else text.encode()
    if text == "-" and not _HEX.issuperset(given):
        return given
    bare = re.sub(rb"0[xX]|[\s:,-]", b"", given)
    try:
        return bytes.fromhex(bare.decode())
    except ValueError as exc:
        at = next((i for i, digit in enumerate(bare) if digit not in string.hexdigits.encode()), None)
        why = f"{len(bare)} hex digits are no whole octets" if at is None else f"no hex digit at position {at}"
        raise click.UsageError(f"{text[:40]!r}: {why}") from exc


def _objects(text: str) -> list[Any]:
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        at += len(text[at:]) - len(text[at:].lstrip())
        try:
            value, at = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as exc:
            raise click.UsageError(f"no JSON: {exc}") from exc
        found.append(value)
    return found


def _show(shown: dict[str, Any], *, first: bool) -> None:
    if not first:
        click.echo()
    problem = shown["problem"]
    title = "no frame"
    if shown["command"]:
        title = f"{shown['command']}  {shown['command_status_name']}  sequence_number {shown['sequence_number']}"
    Console(markup=False, highlight=False).print(title, style="bold")
    rows = [(name, value) for name, value in shown.items() if name not in (*HEADER_KEYS, *EXPLAINED, "tlvs")]
    rows += [(f"TLV {name}", value) for name, value in shown.get("tlvs", {}).items()]
    rows += [(name, shown[name]) for name in ("udh", "concat") if shown.get(name)]
    rows += [(f"receipt {name}", value) for name, value in (shown.get("receipt") or {}).items()]
    rows.insert(0, ("command_length", shown["command_length"]))
    _table([(name, value) for name, value in rows if value is not None])
    if problem:
        answer = f"{problem['answer']} {problem['answer_status_name']}" if problem["answer"] else "nothing"
        ends = ", then close" if problem["closes"] else ", and the PDU is taken" if problem["taken"] else ""
        Console(markup=False, highlight=False, soft_wrap=True).print(
            f"problem: {_plain(problem['reason'])}; we answer {answer}{ends}", style="red"
        )


def _table(rows: list[tuple[str, Any]]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, _plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    Console(markup=False, highlight=False, emoji=False).print(table)


def _plain(text: str) -> str:
    """What a stranger wrote, without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
