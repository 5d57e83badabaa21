"""`volley smsc`: run the SMSC simulator until SIGTERM; SIGUSR1 prints the summary so far."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import trio

from dispatcher.smpp.consts import ESME_RBINDFAIL
from dispatcher.smpp.smsc import Smsc, serve_smsc
from dispatcher.smpp.smsc_session import GARBAGE, PartOctets, SmscOptions
from dispatcher.text.parts import parts


def text_parts(text: str, reference: int) -> Sequence[PartOctets]:
    """A phone's text as it would come in: GSM 7-bit when it fits, else UCS-2, cut into parts."""
    return [(part.esm_class, part.data_coding, part.octets) for part in parts(text, reference)]


def _states(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[tuple[str, int, str], ...]:
    states = []
    for item in value.split(","):
        word, weight, error = (*item.strip().split(":"), "", "")[:3]
        if not weight.isdecimal():
            raise click.BadParameter(f"{item!r}: WORD:WEIGHT or WORD:WEIGHT:ERR, such as DELIVRD:97")
        states.append((word.upper(), int(weight), error or ("000" if word.upper() == "DELIVRD" else "001")))
    return tuple(states)


def _status_every(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[int, int], ...]:
    return tuple(_pair(value) for value in values)


def _refuse(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int]:
    if not value:
        return 0, ESME_RBINDFAIL
    if ":" in value:
        head, _, status = value.partition(":")
        return (-1, int(status, 0)) if head == "all" else _pair(value)
    try:
        number = int(value, 0)
    except ValueError as exc:
        raise click.BadParameter(f"{value!r}: N, 0xSTATUS, N:0xSTATUS or all:0xSTATUS") from exc
    return (-1, number) if value.lower().startswith("0x") else (number, ESME_RBINDFAIL)


def _pair(value: str) -> tuple[int, int]:
    head, _, status = value.partition(":")
    try:
        return int(head), int(status, 0)
    except ValueError as exc:
        raise click.BadParameter(f"{value!r}: N:0xSTATUS, such as 1000:0x58") from exc


@click.command("smsc")
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="0 picks a free one.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--tps", type=click.IntRange(0), default=0, help="Accepted in any second; above it ESME_RTHROTTLED.")
@click.option("--delay-ms", type=click.IntRange(0), default=0, help="From a submit_sm to its answer.")
@click.option("--receipts", type=click.FloatRange(0, 100), default=100.0, show_default=True, metavar="PCT")
@click.option("--receipt-delay-ms", type=click.IntRange(0), default=0, help="From acceptance to the receipt.")
@click.option("--receipt-tlvs", is_flag=True, help="Add receipted_message_id and message_state.")
@click.option("--receipt-twice-every", type=click.IntRange(0), default=0, metavar="N")
@click.option("--receipt-unknown-every", type=click.IntRange(0), default=0, metavar="N", help="Also for unknown ids.")
@click.option("--deliver-window", type=click.IntRange(1, 1 << 20), default=10_000, show_default=True, metavar="N")
@click.option("--drop-every", type=click.IntRange(0), default=0, metavar="N", help="Close instead of answering.")
@click.option("--mute-every", type=click.IntRange(0), default=0, metavar="N", help="Never answer, not accepted.")
@click.option("--status-every", multiple=True, callback=_status_every, metavar="N:0xSTATUS", help="May be repeated.")
@click.option("--garbage-every", type=click.IntRange(0), default=0, metavar="N", help="Garbage before the answer.")
@click.option("--garbage", type=click.Choice(tuple(GARBAGE)), multiple=True, help="Which; all in turn by default.")
@click.option("--refuse-binds", callback=_refuse, metavar="N[:0xSTATUS]|0xSTATUS", help="The first N, or all.")
@click.option("--ids", type=click.Choice(["decimal", "hex"]), default="decimal", help="message_id in the answer.")
@click.option("--receipt-ids", type=click.Choice(["decimal", "hex"]), default="decimal", help="And in receipt texts.")
@click.option("--states", callback=_states, default="DELIVRD:1", show_default=True, metavar="WORD:WEIGHT[:ERR],...")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="A line for each accepted submit_sm.")
@click.option("--mo", type=click.Path(dir_okay=False, path_type=Path), help="Followed: from TAB to TAB text.")
def smsc_command(refuse_binds: tuple[int, int], garbage: tuple[str, ...], **options: Any) -> None:
    """An SMSC simulator: any system_id, receipts, texts from phones, faults; a JSON summary at the end."""
    refuse, status = refuse_binds
    try:
        told = SmscOptions(
            **options,
            garbage=garbage or tuple(GARBAGE),
            refuse_binds=refuse,
            refuse_status=status,
            mo_parts=text_parts,
        )
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    try:
        trio.run(_serve, told)
    except* OSError as failed:
        cause: BaseException = failed
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        raise click.ClickException(str(cause)) from failed


async def _serve(options: SmscOptions) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1) as signals:
        async with trio.open_nursery() as nursery:
            smsc: Smsc = await nursery.start(lambda task_status: serve_smsc(options, task_status=task_status))
            click.echo(f"listening on {smsc.host}:{smsc.port}")
            async for signum in signals:
                click.echo(json.dumps(smsc.summary()))
                if signum != signal.SIGUSR1:
                    break
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    smsc_command()
