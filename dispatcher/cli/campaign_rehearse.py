"""volley campaign rehearse: the same plan against the built-in simulator, before anybody gets it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from config import SettingError
from dispatcher.campaigns.rehearsal import SHARE_LEAST
from dispatcher.cli.common import Call, common, id_of, of_tenant
from dispatcher.cli.rehearse import Told, Wishes, rehearse
from dispatcher.control.commands import RehearseCampaign
from dispatcher.errors import CommandRefused, DispatcherError

PASSED_ON = ("delay_ms", "receipt_delay_ms", "receipts", "states", "tps")


@click.command("rehearse")
@click.argument("campaign", metavar="cmp_...")
@click.option("--share", type=click.FloatRange(SHARE_LEAST, 1), default=1.0, show_default=True,
              help="Of the audience, drawn by hash; the time of the whole is extrapolated.")  # fmt: skip
@click.option("--with-windows", is_flag=True, help="Keep hours of the day and quiet hours; else it goes out at once.")
@click.option("--keep", is_flag=True, help="Leave the scratch folder until the next rehearsal or start.")
@click.option("--delay-ms", metavar="MS|lognormal:20:0.8", help="Of the simulator's answers, as `volley smsc` has it.")
@click.option("--receipt-delay-ms", metavar="MS|...", help="Of its receipts.")
@click.option("--receipts", metavar="PCT", help="How many come.")
@click.option("--states", metavar="DELIVRD:95,UNDELIV:5", help="What they say.")
@click.option("--tps", metavar="N", help="Above it the simulator throttles.")
@click.option("--status-share", multiple=True, metavar="PCT:0xSTATUS", help="What it refuses; may be repeated.")
@click.option("--steps", is_flag=True, hidden=True, help="For the API: a JSON line a step, noted in the audit already.")
@of_tenant
@common
def rehearse_command(
    call: Call, tenant: str | None, campaign: str, share: float, with_windows: bool, keep: bool, steps: bool,
    status_share: tuple[str, ...], **simulator: str | None,
) -> None:  # fmt: skip
    """Send the campaign as a start now would, to the built-in simulator: time, cost, errors, texts as received.

    Nothing leaves this machine, and nothing of the store changes but a line in the audit: a dispatcher of its own sends
    from a copy of what is needed, over as many binds, with the same windows and rates. Takes as long as the campaign
    would; --share takes less. The start's hour, windows, quiet hours and an approval are passed over. Examples:

    \b
      volley campaign rehearse cmp_01J0000000000
      volley campaign rehearse cmp_01J0000000000 --share 0.05 --delay-ms lognormal:40:0.5 --states DELIVRD:96,UNDELIV:4
    """
    number, which = call.tenant(tenant), id_of("cmp", campaign, "CAMPAIGN")
    told = [word for name in PASSED_ON if (value := simulator[name]) for word in (f"--{name.replace('_', '-')}", value)]
    told += [word for one in status_share for word in ("--status-share", one)]
    wishes = Wishes(share=share, windows=with_windows, keep=keep, smsc=tuple(told))
    with _cleaning_up():
        if steps:
            _for_the_api(call, number, which, wishes)
        else:
            _for_a_person(call, number, which, wishes)


@contextmanager
def _cleaning_up() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does, so that nothing is left."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _for_a_person(call: Call, tenant: int, campaign: int, wishes: Wishes) -> None:
    call.do(RehearseCampaign(campaign=campaign, share=wishes.share), tenant=tenant)
    with _bar() as bar:
        task = bar.add_task("preview", total=None)

        def step(word: str, done: int, total: int) -> None:
            bar.update(task, description=word, completed=done, total=total or None)

        answer = rehearse(call.settings, tenant, campaign, wishes, step)
    call.show(answer, "\n".join(_lines(answer)))


def _for_the_api(call: Call, tenant: int, campaign: int, wishes: Wishes) -> None:
    def say(**line: Any) -> None:
        click.echo(json.dumps(line, ensure_ascii=False))

    last: tuple[str, int, int] | None = None
    asker = os.getppid()

    def step(word: str, done: int, total: int) -> None:
        nonlocal last
        if os.getppid() != asker:
            raise KeyboardInterrupt  # nobody would hear the answer
        if (word, done, total) != last:
            last = (word, done, total)
            say(step=word, done=done, total=total)

    told: Told = step
    try:
        say(answer=rehearse(call.settings, tenant, campaign, wishes, told))
    except CommandRefused as exc:
        say(problem={"status": exc.status, "code": exc.code, "detail": exc.detail, "errors": exc.errors, **exc.extra})
    except (DispatcherError, SettingError, OSError) as exc:
        say(problem={"status": 500, "code": "rehearsal_failed", "detail": str(exc)})


def _bar() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=Console(stderr=True, highlight=False, emoji=False))


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"messages   {answer['messages']:,} in {answer['parts']:,} parts, billed {answer['billed_parts']:,}"
    yield from (f"skipped    {n:,} {reason.replace('_', ' ')}" for reason, n in answer["skipped"].items())
    if answer["unsent"]:
        yield f"waiting    {answer['unsent']:,} for their hour"
    if answer["cost_micros"] is not None:
        yield f"cost       {answer['cost_micros']:,} micro-{answer['currency'] or 'units'}"
    rate = f", {answer['parts_per_s']:,} parts/s" if answer["parts_per_s"] else ""
    limit = f", limited by {answer['limited_by'].replace('_', ' ')}" if answer["limited_by"] else ""
    yield f"took       {answer['took_s']:,} s{rate}{limit}"
    if answer["extrapolated"]:
        whole = answer["whole_takes_s"]
        yield f"whole      {f'{whole:,} s, extrapolated' if whole else 'too short to say'} from {answer['share']:.0%}"
    for one in answer["endpoints"]:
        error = f" 0x{one['error']:08X}" if one["error"] else ""
        yield f"endpoint   {one['endpoint']}: {one['parts']:,} {one['state'] or one['what'].replace('_', ' ')}{error}"
    for one in answer["errors"]:
        yield f"errors     {one['recipients']:,} {one['state']} {one['error'] or ''}".rstrip()
    for sample in answer["samples"]:
        text = "".join(character if character.isprintable() else " " for character in sample["text"])
        yield f"received   {sample['to']} {text}"
    yield from (f"different  {one}" for one in answer["differences"])
    if not answer["differences"]:
        yield "different  nothing: it went as its preview says"
    if answer["passed_over"]:
        yield f"note       passed over: {', '.join(answer['passed_over'])}"
    if answer["folder"]:
        yield f"kept       {answer['folder']}"
