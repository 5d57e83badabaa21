"""volley campaign: a broadcast from its draft to its last receipt."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dispatcher.cli.archive import archive_command
from dispatcher.cli.campaign_moves import MOVES
from dispatcher.cli.campaign_rehearse import rehearse_command
from dispatcher.cli.campaign_reports import REPORTS, said
from dispatcher.cli.campaign_written import written
from dispatcher.cli.common import Call, common, id_of, of_tenant
from dispatcher.cli.guard_options import with_guards
from dispatcher.cli.message_options import with_options
from dispatcher.cli.shown import money, plain
from dispatcher.cli.talk import NoAnswer, ask
from dispatcher.cli.uncertain import decide_command, uncertain_command
from dispatcher.clock import SystemClock
from dispatcher.control.commands import (
    AskStatus,
    CreateCampaign,
    EditCampaign,
    Envelope,
    PreviewCampaign,
    StartCampaign,
)
from dispatcher.records.keys import public_id
from dispatcher.records.states import CampaignState, Purpose
from dispatcher.store import open_store

WATCH_S = 0.25
RECEIPTS_QUIET_S = 5.0  # a done campaign is watched until no receipt has come for so long
OVER = (CampaignState.DONE, CampaignState.CANCELLED)
DEFAULTS = CreateCampaign(title="")


@click.group("campaign")
def campaign_group() -> None:
    """Campaigns: draft, preview, approve, start, watch, report."""


for _command in (*MOVES, *REPORTS, rehearse_command, uncertain_command, decide_command, archive_command):
    campaign_group.add_command(_command)


@campaign_group.command("create")
@click.argument("title")
@click.option("--segment", "expr", default=DEFAULTS.expr, show_default=True, metavar="EXPRESSION", help="To whom.")
@click.option("--text", default="", help="With {field} and {field|fallback}.")
@click.option(
    "--purpose", type=click.Choice([purpose.value for purpose in Purpose]), default=DEFAULTS.purpose, show_default=True
)
@click.option("--coupon-pool", metavar="POOL", help="Its name or id: {coupon} is each member's code there.")
@click.option("--sender", default="", help="source_addr; the tenant's unless given.")
@click.option("--max-parts", type=int, default=DEFAULTS.max_parts, show_default=True, help="Of one message.")
@click.option("--validity-s", type=int, default=DEFAULTS.validity_s, show_default=True, help="Then the SMSC gives up.")
@click.option("--no-receipts", "receipts", is_flag=True, flag_value=False, default=True, help="Ask for none.")
@of_tenant
@common
@written
@with_guards
@with_options
def create_command(call: Call, tenant: str | None, **parts: Any) -> None:
    """Make a draft; prints its id. With --at, `start` keeps it until then. Example:

    \b
      volley campaign create Spring --text "Hello {name|you}" --segment "visits > 3"
      volley campaign create Alarm --text "Gate 4, now" --flash --priority 3 --valid-until 2026-12-01T12:00:00Z
      volley campaign create Weekly --text Hi --at 2026-12-07T09:00 --repeat "FREQ=WEEKLY;BYDAY=MO" --window 09:00-20:00
      volley campaign create Sale --text "Show {coupon} at the till" --coupon-pool "Spring sale"
      volley campaign create Test --arm "A:50:Hello {name|you}" --arm "B:50:New in town" --holdout 10% \\
        --winner replied:20%:3600
    """
    given = {name: value for name, value in parts.items() if value is not None}
    reply = call.do(CreateCampaign(**given), tenant=call.tenant(tenant))
    call.show(reply, str(reply["id"]))


@campaign_group.command("edit")
@click.argument("campaign", metavar="cmp_...")
@click.option("--title")
@click.option("--segment", "expr", metavar="EXPRESSION")
@click.option("--text")
@click.option("--purpose", type=click.Choice([purpose.value for purpose in Purpose]))
@click.option("--sender")
@click.option("--max-parts", type=int)
@click.option("--validity-s", type=int)
@click.option("--coupon-pool", metavar="POOL", help="Its name or id.")
@click.option("--no-coupon-pool", is_flag=True, help="Name none.")
@click.option("--no-time", is_flag=True, help="Take its schedule away.")
@click.option("--no-arms", is_flag=True, help="One text again; takes the test of the arms away too.")
@click.option("--no-holdout", is_flag=True, help="Send to everybody.")
@click.option("--version", type=int, help="Only if the campaign is still at this one.")
@of_tenant
@common
@written
@with_guards
@with_options
def edit_command(
    call: Call, tenant: str | None, campaign: str, no_time: bool, no_arms: bool, no_holdout: bool, no_coupon_pool: bool,
    schedule: dict[str, Any] | None, **parts: Any,
) -> None:  # fmt: skip
    """Change what has not started; it is a draft again, and an approval of it is gone. Example:

    \b
      volley campaign edit cmp_01J0000000000 --text "Hello {name}" --at 2026-12-01T09:00 --zone Asia/Shanghai
    """
    changes = {name: value for name, value in parts.items() if value is not None}
    if schedule is not None or no_time:
        changes["schedule"] = schedule
    changes |= {"arms": [], "winner": None} if no_arms else {}
    changes |= {"holdout": None} if no_holdout else {}
    changes |= {"coupon_pool": None} if no_coupon_pool else {}
    if not changes:
        raise click.UsageError("say what to change")
    reply = call.do(EditCampaign(campaign=_campaign(campaign), changes=changes), tenant=call.tenant(tenant))
    call.show(reply, f"{reply['state']}, version {reply['version']}")


@campaign_group.command("list")
@click.option(
    "--state", type=click.Choice([state.value for state in CampaignState]), help="Only those, as awaiting_approval."
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@of_tenant
@common
def list_command(call: Call, tenant: str | None, state: str | None, limit: int) -> None:
    """A tenant's campaigns, newest first."""
    from dispatcher.campaigns.campaign import campaign_json, list_campaigns

    number = call.tenant(tenant)
    with call.reading() as view:
        found = list_campaigns(view, number, limit=limit, state=state)
    rows = [campaign_json(campaign, row) for campaign, row in found]
    call.show_rows(["id", "title", "purpose", "state", "audience", "started_at"], rows, tenant=number)


@campaign_group.command("show")
@click.argument("campaign", metavar="cmp_...")
@of_tenant
@common
def show_command(call: Call, tenant: str | None, campaign: str) -> None:
    """Everything written in a campaign, and what may be done with it next."""
    from dispatcher.campaigns.campaign import campaign_json, need_campaign
    from dispatcher.tenants.tenant import need_tenant

    number, which = call.tenant(tenant), _campaign(campaign)
    with call.reading() as view:
        record, of = campaign_json(which, need_campaign(view, number, which)), need_tenant(view, number)
    call.show(record, of=of)


@campaign_group.command("preview")
@click.argument("campaign", metavar="cmp_...")
@of_tenant
@common
def preview_command(call: Call, tenant: str | None, campaign: str) -> None:
    """Freeze the audience and count exactly what a start would send; the token printed starts it, within 24 h."""
    reply = call.do(PreviewCampaign(campaign=_campaign(campaign)), tenant=call.tenant(tenant))
    token = f"token      {reply['token']}   (until {reply['expires_at']})"
    call.show(reply, "\n".join([*_preview_lines(reply), token]))


@campaign_group.command("start")
@click.argument("campaign", metavar="cmp_...")
@click.option("--token", help="Of the preview that was looked at; without it, previews now and asks.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--reason", default="", help="Kept in the campaign's history.")
@of_tenant
@common
def start_command(call: Call, tenant: str | None, campaign: str, token: str | None, yes: bool, reason: str) -> None:
    """Send a campaign to the audience that its preview froze."""
    number, which = call.tenant(tenant), _campaign(campaign)
    if token is None:
        seen = call.do(PreviewCampaign(campaign=which), tenant=number)
        click.echo("\n".join(_preview_lines(seen)), err=call.json)
        if not yes and seen["will_send"]:
            click.confirm(f"Send to {seen['will_send']:,}?", abort=True, err=call.json)
        token = str(seen["token"])
    reply = call.do(StartCampaign(campaign=which, token=token), tenant=number, reason=reason)
    until = f" for {reply['due_at']}" if reply["state"] == CampaignState.SCHEDULED else ""
    call.show(reply, f"{reply['state']}{until}; volley campaign progress {campaign} --watch")


@campaign_group.command("progress")
@click.argument("campaign", metavar="cmp_...")
@click.option("--watch", is_flag=True, help="Until it is over; with --json a line each time something changed.")
@of_tenant
@common
def progress_command(call: Call, tenant: str | None, campaign: str, watch: bool) -> None:
    """How far a campaign is, in counters that add up."""
    from dispatcher.tenants.tenant import need_tenant

    number = call.tenant(tenant)
    steps = _steps(call, number, _campaign(campaign))
    if not watch:
        with call.reading() as view:
            of = need_tenant(view, number)
        call.show(next(steps), of=of)
    elif call.json:
        _watch_lines(steps)
    else:
        _watch_bar(steps)


def _campaign(text: str) -> int:
    return id_of("cmp", text, "CAMPAIGN")


def _preview_lines(seen: Mapping[str, Any]) -> Iterator[str]:
    """What a person should have read before they start."""
    yield f"matched    {seen['matched']:,}"
    yield from (f"skipped    {n:,} {reason.replace('_', ' ')}" for reason, n in seen["skipped"].items())
    yield f"will send  {seen['will_send']:,}"
    parts = ", ".join(f"{n:,} of {count} part{'s' * (count != '1')}" for count, n in seen["parts"].items())
    yield f"parts      {parts or 'none'}; GSM 7-bit {seen['alphabet']['gsm7']:,}, UCS-2 {seen['alphabet']['ucs2']:,}"
    currency = seen["currency"]
    if seen["cost_micros"] is not None:
        balance = seen["balance_after_micros"]
        after = f", balance after {money(balance, currency)}" if balance is not None else ""
        yield f"cost       {money(seen['cost_micros'], currency)} for {seen['billed_parts']:,} parts{after}"
    for name, one in seen["by_route"].items() if len(seen["by_route"]) > 1 else ():
        cost = money(one["micros"], currency)
        yield f"by {name:8}{one['messages']:,} messages, {one['billed']:,} parts, {cost}"
    if pool := seen["coupon_pool"]:
        stock = f", {pool['left']:,} left" if pool["left"] is not None else ""
        until = f", until {pool['valid_until']}" if pool["valid_until"] else ""
        yield f"coupons    {plain(pool['name'])}: {plain(pool['value'])}{stock}{until}"
    if seen["waiting"]:
        first = seen["waiting_until"][0]["at"]
        yield f"waiting    {seen['waiting']:,} for their own hour, the first until {first}"
    if seen["eta"]["end"]:
        yield f"eta        {seen['eta']['start']} to {seen['eta']['end']}, limited by {seen['eta']['limit']}"
    yield from (f"dearer     {_dearer(one)}" for one in seen["dearer"][:3])
    yield f"start      {seen['schedule']}" + ("; somebody else approves it first" if seen["approval_needed"] else "")
    yield from (f"sample     {plain(sample['text'])}" for sample in seen["samples"][:3])
    yield from (f"note       {warning}" for warning in seen["warnings"])


def _dearer(one: Mapping[str, Any]) -> str:
    return f"{one['field']} {plain(one['value'])!r} makes {one['parts']} parts of {one['without']}"


def _steps(call: Call, tenant: int, campaign: int) -> Iterator[dict[str, Any]]:
    """The campaign's progress now, and again as often as it is asked for, WATCH_S apart at least. Ends never."""
    from dispatcher.campaigns.campaign import need_campaign
    from dispatcher.campaigns.progress import progress

    with open_store(call.settings.data) as store:
        while True:
            live = _live(call, campaign)
            with store.snapshot() as view:
                need_campaign(view, tenant, campaign)
                found = progress(view, tenant, campaign, live, SystemClock().epoch_ms())
            assert found is not None
            yield found
            time.sleep(WATCH_S)


def _live(call: Call, campaign: int) -> Mapping[str, Any] | None:
    """What the dispatcher says of a campaign it is sending; None without a dispatcher."""
    envelope = Envelope(tenant=0, actor="cli", at_ms=SystemClock().epoch_ms())
    try:
        status = ask(call.settings, AskStatus(), envelope)
    except NoAnswer:  # it is just stopping
        return None
    return status["campaigns"].get(public_id("cmp", campaign)) if status else None


def _until_over(steps: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Steps until nothing more is sent and no receipt comes any more."""
    quiet_since, pending = time.monotonic(), -1
    for step in steps:
        yield step
        if step["pending"] != pending:
            quiet_since, pending = time.monotonic(), step["pending"]
        if step["state"] in OVER and (not pending or time.monotonic() - quiet_since > RECEIPTS_QUIET_S):
            return


def _watch_lines(steps: Iterator[dict[str, Any]]) -> None:
    shown: dict[str, Any] = {}
    for step in _until_over(steps):
        if {**step, "as_of": None} != {**shown, "as_of": None}:
            click.echo(json.dumps(step, ensure_ascii=False))
            sys.stdout.flush()
            shown = step


def _watch_bar(steps: Iterator[dict[str, Any]]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
    )
    step: dict[str, Any] = {}
    with Progress(*columns, console=Console(highlight=False, emoji=False)) as bar:
        task = bar.add_task("", total=None, said="")
        for step in _until_over(steps):
            done = step["audience"] - step["unsent"]
            bar.update(task, description=step["state"], total=step["audience"], completed=done, said=said(step))
