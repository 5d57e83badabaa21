"""volley campaign recipients, events, report, effect: what became of a campaign."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from dispatcher.cli.common import Call, common, id_of, of_tenant
from dispatcher.cli.reports import effect_lines, report_lines
from dispatcher.clock import SystemClock
from dispatcher.records.states import Decision, State
from dispatcher.store import Snapshot, open_store

COLUMNS = ["rank", "msisdn", "decision", "state", "parts", "error", "message_id"]  # what 80 characters hold
LOOK_S = 0.25
STREAM_ROWS = 2_000


@click.command("recipients")
@click.argument("campaign", metavar="cmp_...")
@click.option("--state", type=click.Choice([state.word for state in State]))
@click.option("--decision", type=click.Choice([decision.word for decision in Decision]))
@click.option("--group", help="An arm's name, holdout or rest.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@click.option("--all", "whole", is_flag=True, help="All of them, as they are read; for --json.")
@click.option("--after", type=int, metavar="RANK", help="Go on after this one.")
@of_tenant
@common
def recipients_command(
    call: Call, tenant: str | None, campaign: str, state: str | None, decision: str | None, group: str | None,
    limit: int, whole: bool, after: int | None,
) -> None:  # fmt: skip
    """Who was in the audience, what was decided about each and what became of it. Example:

    \b
      volley campaign recipients cmp_01J0000000000 --state failed --all --json > failed.ndjson
    """
    from dispatcher.apps.archive import recipients_anywhere
    from dispatcher.campaigns.campaign import need_campaign

    number, which = call.tenant(tenant), id_of("cmp", campaign, "CAMPAIGN")
    if whole and not call.json:
        raise click.UsageError("--all is for --json: a table of millions helps nobody")

    def read(view: Snapshot, after: int | None, limit: int) -> list[dict[str, Any]]:
        need_campaign(view, number, which)
        return recipients_anywhere(
            view, number, which, after_rank=after, limit=limit, group=group, folder=call.settings.data,
            state=State[state.upper()] if state else None, decision=Decision[decision.upper()] if decision else None,
        )  # fmt: skip

    if not whole:
        with call.reading() as view:
            rows = read(view, after, limit)
        call.show_rows(COLUMNS, rows)
        return
    with open_store(call.settings.data) as store:
        while True:
            with store.snapshot() as view:
                rows = read(view, after, STREAM_ROWS)
            if not rows:
                return
            call.show_rows(COLUMNS, rows)
            after = rows[-1]["rank"]


@click.command("events")
@click.argument("campaign", metavar="cmp_...")
@click.option("--after", metavar="ID", help="Go on after this event.")
@of_tenant
@common
def events_command(call: Call, tenant: str | None, campaign: str, after: str | None) -> None:
    """Moves and progress as they happen, until the campaign is over. With --json a line an event: {event, id, data}."""
    from dispatcher.campaigns.progress import Place, look, progress

    number, which = call.tenant(tenant), id_of("cmp", campaign, "CAMPAIGN")
    since = Place() if after is None else Place.parse(after)
    if since is None:
        raise click.UsageError(f"--after {after!r}: not an id of an event, as 4711.3")
    shown: object = None
    with open_store(call.settings.data) as store:
        while True:
            with store.snapshot() as view:
                seen = look(view, number, which, since)
                step = progress(view, number, which, None, SystemClock().epoch_ms())
            if seen is None or step is None:
                raise click.ClickException(f"no campaign {campaign}")
            for move in seen.moves:
                reason = f": {move['reason']}" if move["reason"] else ""
                _tell(call, "state", seen.place, move, f"{move['at']}  {move['state']} by {move['actor']}{reason}")
            if (seen.place, seen.counts) != shown:
                shown = seen.place, seen.counts
                _tell(call, "progress", seen.place, step, f"{step['as_of']}  {step['state']}, {said(step)}")
            since = seen.place
            if seen.over:
                _tell(call, "end", seen.place, {}, "over")
                return
            time.sleep(LOOK_S)


def _tell(call: Call, event: str, place: object, data: Mapping[str, Any], line: str) -> None:
    text = json.dumps({"event": event, "id": str(place), "data": data}, ensure_ascii=False) if call.json else line
    click.echo(text)
    sys.stdout.flush()


@click.command("report")
@click.argument("campaign", metavar="cmp_...")
@click.option("--bucket-s", type=click.IntRange(1, 86_400), help="Seconds a point of the line.")
@of_tenant
@common
def report_command(call: Call, tenant: str | None, campaign: str, bucket_s: int | None) -> None:
    """Funnel, errors by code and endpoint, rate, delivery times, cost; of the last fold, about a second ago."""
    from dispatcher.apps.reports.campaign import report

    number, which = call.tenant(tenant), id_of("cmp", campaign, "CAMPAIGN")
    with call.reading() as view:
        found = report(view, number, which, SystemClock().epoch_ms(), bucket_s=bucket_s)
    _show(call, campaign, found, report_lines)


@click.command("effect")
@click.argument("campaign", metavar="cmp_...")
@click.option("--goal", metavar="EXPRESSION", help='How many match it now in each group, as "last_visit > today - 7".')
@click.option("--confidence", type=click.FloatRange(0.5, 0.999), default=0.95, show_default=True)
@of_tenant
@common
def effect_command(call: Call, tenant: str | None, campaign: str, goal: str | None, confidence: float) -> None:
    """What each arm did, and more than the holdout and the first arm, with intervals."""
    from dispatcher.campaigns.campaign import need_campaign
    from dispatcher.campaigns.effect import effect

    number, which = call.tenant(tenant), id_of("cmp", campaign, "CAMPAIGN")
    with call.reading() as view:
        row, now_ms = need_campaign(view, number, which), SystemClock().epoch_ms()
        found = effect(view, number, which, row, now_ms, goal=goal, confidence=confidence)
    _show(call, campaign, found, effect_lines)


def _show(call: Call, campaign: str, found: dict[str, Any] | None, lines: Callable[[Mapping[str, Any]], Any]) -> None:
    if found is None:
        raise click.ClickException(f"no campaign {campaign}")
    call.show(found, "\n".join(lines(found)))


REPORTS: tuple[click.Command, ...] = (recipients_command, events_command, report_command, effect_command)


def said(step: Mapping[str, Any]) -> str:
    """A progress in words: the counters that are not zero, the rate and the time left."""
    names = ("in_flight", "retry_wait", "awaiting_receipt", "delivered", "failed", "expired", "uncertain")
    words = [f"{step[name]:,} {name.replace('_', ' ')}" for name in names if step[name]]
    skipped = sum(step["skipped"].values())
    words += [f"{skipped:,} skipped"] if skipped else []
    limit = f", limited by {step['limit'].replace('_', ' ')}" if step.get("limit") else ""
    words += [f"{step['per_s']:,}/s{limit}"] if step["per_s"] or limit else []
    words += [f"{step['eta_s']:,} s left"] if step["eta_s"] is not None else []
    words += [f"waits until {step['waiting_until']}"] if step.get("waiting_until") else []
    return ", ".join(words)
