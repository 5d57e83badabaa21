"""`volley smsc`: run the SMSC simulator until SIGTERM or its scenario's end.

SIGUSR1 prints the summary so far, SIGUSR2 lets the receipts go that are held back.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import trio

from dispatcher.smpp.smsc import Smsc, serve_smsc
from dispatcher.smpp.smsc_notation import FIELDS, options_of
from dispatcher.smpp.smsc_options import DROPS, ID_FORMS, MO_ORDERS, PartOctets, SmscOptions
from dispatcher.smpp.smsc_scenario import EXAMPLE, Scenario, read_scenario
from dispatcher.smpp.smsc_session import KINDS
from dispatcher.text.parts import parts

FILE = click.Path(dir_okay=False, path_type=Path)
READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
N, PCT = click.IntRange(0), click.FloatRange(0, 100)
DELAY = "MS|uniform:A:B|lognormal:MEDIAN:SIGMA|exponential:MEAN"

# What there is, as a person reads it: name, click's attributes, help. A default not stated here is SmscOptions' own.
OPTIONS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("port", {"type": click.IntRange(0, 65535), "required": True}, "0 picks a free one."),
    ("host", {}, ""),
    ("tls-cert", {"type": READABLE}, "Serve TLS with this certificate."),
    ("tls-key", {"type": READABLE}, "And this key."),
    ("tls-client-ca", {"type": READABLE}, "Clients show a certificate of this authority."),
    ("outbind", {"metavar": "HOST:PORT"}, "Call this ESME and tell it to bind."),
    ("account", {"multiple": True, "metavar": "ID[:PASSWORD][:binds=N][:tps=N][:bind_tps=N]"}, "Who may bind."),
    ("tps", {"type": N}, "Accepted in any second; above it ESME_RTHROTTLED."),
    ("account-tps", {"type": N}, "Of one account."),
    ("bind-tps", {"type": N}, "Of one bind."),
    ("refuse-binds", {"metavar": "N[:0xSTATUS]|0xSTATUS"}, "The first N, or all."),
    ("refuse-for-s", {"type": float, "metavar": "S"}, "Every bind so long from the start, or the phase's."),
    ("mute-binds", {"type": int, "metavar": "N"}, "The first N are never answered; -1: none is."),
    ("enquire-link-s", {"type": float, "metavar": "S"}, "Send enquire_link after so long a silence; 0: never."),
    ("inactivity-s", {"type": float, "metavar": "S"}, "End a connection over which nothing came for so long."),
    ("delay-ms", {"metavar": DELAY}, "From a submit_sm to its answer; what is due sooner goes sooner."),
    ("shuffle-answers", {"type": N, "metavar": "N"}, "Out of order within groups of N."),
    ("mute-every", {"type": N, "metavar": "N"}, "Never answer, not accepted."),
    ("answer-lost-every", {"type": N, "metavar": "N"}, "Never answer, but accepted."),
    ("answer-twice-every", {"type": N, "metavar": "N"}, ""),
    ("status-every", {"multiple": True, "metavar": "N:0xSTATUS"}, "May be repeated."),
    ("status-number", {"multiple": True, "metavar": "PATTERN:0xSTATUS"}, "Of destinations, such as 4915*7."),
    ("status-of-numbers", {"multiple": True, "metavar": "PCT:0xSTATUS"}, "A share of the numbers, always the same."),
    ("status-share", {"multiple": True, "metavar": "PCT:0xSTATUS"}, "A share of the submit_sm."),
    ("queue", {"metavar": "N:PER_S"}, "ESME_RMSGQFUL when an account has N queued."),
    ("congestion", {"metavar": "0..100|auto"}, "congestion_state in answers; auto: of queue and caps."),
    ("garbage-every", {"type": N, "metavar": "N"}, "Malformed octets before, or instead of, the answer."),
    ("garbage", {"multiple": True, "type": click.Choice(tuple(KINDS)), "metavar": "KIND"}, "See --garbage-kinds."),
    ("drop-every", {"type": N, "metavar": "N"}, "End the connection instead of answering."),
    ("drop-how", {"type": click.Choice(DROPS)}, ""),
    ("read-rate", {"type": float, "metavar": "OCTETS_S"}, "Read each connection no faster."),
    ("write-rate", {"type": float, "metavar": "OCTETS_S"}, "Write no faster."),
    ("receipts", {"type": PCT, "metavar": "PCT"}, ""),
    ("receipt-delay-ms", {"metavar": DELAY}, "From acceptance to the receipt."),
    ("receipt-tlvs", {"is_flag": True}, "Add receipted_message_id and message_state."),
    ("receipt-twice-every", {"type": N, "metavar": "N"}, ""),
    ("receipt-pending-every", {"type": N, "metavar": "N"}, "Between two intermediate notifications, ENROUTE."),
    ("receipt-unknown-every", {"type": N, "metavar": "N"}, "Also for unknown ids."),
    ("receipt-early-every", {"type": N, "metavar": "N"}, "Before the answer to its submit_sm."),
    ("receipt-other-bind", {"type": PCT, "metavar": "PCT"}, "Over another bind of the account."),
    ("hold-receipts", {"type": N, "metavar": "N"}, "Keep N back, then send them in any order."),
    ("hold-idle-s", {"type": float, "metavar": "S"}, "Or when nothing came for so long; 0: wait on."),
    ("deliver-window", {"type": click.IntRange(1, 1 << 20), "metavar": "N"}, ""),
    ("ids", {"type": click.Choice(ID_FORMS)}, "message_id in the answer."),
    ("receipt-ids", {"type": click.Choice(ID_FORMS)}, "And in receipt texts."),
    ("states", {"metavar": "WORD:WEIGHT[:ERR],...", "default": "DELIVRD:1"}, ""),
    ("delivery-acks", {"type": PCT, "metavar": "PCT"}, "The phone acknowledges what arrived: esm_class 0x08."),
    ("user-acks", {"type": PCT, "metavar": "PCT"}, "And who holds it: esm_class 0x10."),
    ("ack-text", {"metavar": "TEXT"}, "What they say."),
    ("mo", {"type": FILE}, "Followed: from TAB to TAB text; `wait SECONDS`; `pdu HEX` sends any octets."),
    ("mo-rate", {"type": float, "metavar": "PER_S"}, "Texts from phones, made up."),
    ("mo-from", {"metavar": "NUMBER"}, "The first source."),
    ("mo-sources", {"type": click.IntRange(1), "metavar": "N"}, ""),
    ("mo-to", {"metavar": "NUMBER"}, ""),
    ("mo-text", {"multiple": True, "metavar": "TEXT"}, "In turn."),
    ("mo-order", {"type": click.Choice(MO_ORDERS)}, "Of the parts of a long text."),
    ("mo-reference-bits", {"type": click.Choice(["8", "16"])}, "Of a long text's reference."),
    ("mo-part-lost-every", {"type": N, "metavar": "N"}, ""),
    ("mo-part-twice-every", {"type": N, "metavar": "N"}, ""),
    ("log", {"type": FILE}, "A line for each accepted submit_sm."),
    ("count-repeats", {"is_flag": True}, "Count the same text accepted again as duplicates."),
)  # fmt: skip
RENAMED = {"account": "accounts", "mo_text": "mo_texts"}


def text_parts(text: str, reference: int) -> Sequence[PartOctets]:
    """A phone's text as it would come in: GSM 7-bit when it fits, else UCS-2, cut into parts."""
    return [(part.esm_class, part.data_coding, part.octets) for part in parts(text, reference)]


def _all_options(command: Any) -> Any:
    for name, attributes, help_text in reversed(OPTIONS):
        field = FIELDS.get(name.replace("-", "_"))
        told = dict(attributes)
        default = field.default if field is not None else None
        if isinstance(default, int | float | str) and default and "default" not in told:
            told |= {"default": str(default) if isinstance(told.get("type"), click.Choice) else default}
        command = click.option(f"--{name}", help=help_text or None, show_default="default" in told, **told)(command)
    return command


def _kinds(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        for kind, garbage in KINDS.items():
            place = "instead of the answer" if garbage.instead else "ends the framing" if garbage.ends else ""
            click.echo(f"{kind:24} {len(garbage.octets):4} octets  {place}".rstrip())
        context.exit()


EPILOG = (
    "\b\nFor instance:\n"
    "  volley smsc --port 2775 --tps 500 --congestion auto --log smsc.log\n"
    "  volley smsc --port 2775 --account shop:secret:binds=4:tps=1000 --delay-ms lognormal:20:0.8\n"
    "  volley smsc --port 2775 --status-of-numbers 5%:0x14 --drop-every 5000 --drop-how rst\n"
    "  volley smsc --port 2775 --delivery-acks 100 --user-acks 5 --ack-text 'menu 2'\n"
    "  volley smsc --port 2775 --scenario night.toml --summary night.json\n\n"
    "\b\nA scenario, night.toml:\n" + "\n".join(f"  {line}" for line in EXAMPLE.splitlines())
)


@click.command("smsc", epilog=EPILOG)
@_all_options
@click.option("--garbage-kinds", is_flag=True, is_eager=True, expose_value=False, callback=_kinds, help="List them.")
@click.option("--scenario", "scenario_file", type=READABLE, help="Phases, each with options of its own (TOML).")
@click.option("--summary", "summary_file", type=FILE, help="Write the summary here too, at the end.")
def smsc_command(scenario_file: Path | None, summary_file: Path | None, **written: Any) -> None:
    """An SMSC simulator: accounts, receipts, texts from phones, faults; a JSON summary at the end."""
    try:
        named = {RENAMED.get(name, name): value for name, value in written.items()}
        told = SmscOptions(**options_of(named), mo_parts=text_parts)
        scenario = None
        if scenario_file is not None:
            scenario, told = read_scenario(scenario_file, told)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    try:
        trio.run(_serve, told, scenario, summary_file)
    except* OSError as failed:
        cause: BaseException = failed
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        place = f"{told.host}:{told.port}: " if isinstance(cause, OSError) and cause.filename is None else ""
        raise click.ClickException(f"{place}{cause}") from failed


async def _serve(options: SmscOptions, scenario: Scenario | None, summary_file: Path | None) -> None:
    smsc: Smsc | None = None
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2) as signals:
        async with trio.open_nursery() as nursery:

            async def serve(task_status: trio.TaskStatus[Smsc]) -> None:
                await serve_smsc(options, scenario=scenario, task_status=task_status)
                nursery.cancel_scope.cancel()  # the scenario is over

            smsc = await nursery.start(serve)
            click.echo(f"listening on {smsc.host}:{smsc.port}")
            async for signum in signals:
                if signum == signal.SIGUSR2:
                    smsc.release_receipts()
                elif signum == signal.SIGUSR1:
                    click.echo(json.dumps(smsc.summary()))
                else:
                    break
            nursery.cancel_scope.cancel()
    if smsc is not None:
        text = json.dumps(smsc.summary())
        click.echo(text)
        if summary_file is not None:
            summary_file.write_text(text + "\n")


if __name__ == "__main__":
    smsc_command()
