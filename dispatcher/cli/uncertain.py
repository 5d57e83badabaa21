"""volley campaign uncertain, decide: messages that may have arrived."""

from __future__ import annotations

import click

from dispatcher.apps.uncertain import CAUSES, DECISIONS
from dispatcher.cli.common import Call, common, id_of, of_tenant
from dispatcher.cli.talk import ask
from dispatcher.clock import SystemClock
from dispatcher.control.commands import AskStatus, DecideUncertain, Envelope

COLUMNS = ["campaign", "message", "rank", "msisdn", "cause", "endpoint", "bind", "at"]


@click.command("uncertain")
@click.argument("campaign", metavar="[cmp_...]", required=False)
@click.option("--cause", type=click.Choice(list(CAUSES.values())), default=None, help="Only those.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@of_tenant
@common
def uncertain_command(call: Call, tenant: str | None, campaign: str | None, cause: str | None, limit: int) -> None:
    """What may have arrived and is not known to: why, by which endpoint and bind, since when. Example:

    \b
      volley campaign uncertain --cause bind_lost
      volley campaign decide failed cmp_01J0000000000 --cause kill --reason "not in the SMSC's log"
    """
    from dispatcher.apps.uncertain import uncertain
    from dispatcher.campaigns.campaign import need_campaign

    number, which = call.tenant(tenant), None if campaign is None else id_of("cmp", campaign, "CAMPAIGN")
    with call.reading() as view:
        if which is not None:
            need_campaign(view, number, which)
        rows, following, about = uncertain(view, number, campaign=which, cause=cause or "", limit=limit)
    call.show_rows(COLUMNS, rows, tenant=number)
    if not call.json:
        more = f", {len(rows):,} shown" if following else ""
        click.echo(f"{about['total']:,} uncertain{more}", err=True)


@click.command("decide")
@click.argument("decision", type=click.Choice(list(DECISIONS)))
@click.argument("campaign", metavar="cmp_...|msg_...")
@click.option("--rank", "ranks", type=click.IntRange(0), multiple=True, help="Only this recipient; repeatable.")
@click.option("--cause", type=click.Choice(list(CAUSES.values())), default=None, help="Only those.")
@click.option("--reason", required=True, help="Kept in the audit.")
@of_tenant
@common
def decide_command(
    call: Call, tenant: str | None, decision: str, campaign: str, ranks: tuple[int, ...], cause: str | None, reason: str
) -> None:
    """Say what became of uncertain messages: they were sent, they failed, or send them again now.

    A resend may reach a phone twice; it needs the dispatcher and a campaign that is being sent. See `uncertain`.
    """
    single = campaign.startswith("msg_")
    if decision == "resend":
        envelope = Envelope(tenant=0, actor="cli", at_ms=SystemClock().epoch_ms())
        if ask(call.settings, AskStatus(), envelope) is None:
            raise click.ClickException("a resend needs the dispatcher: volley serve")
    command = DecideUncertain(
        decision=decision,
        campaign=None if single else id_of("cmp", campaign, "CAMPAIGN"),
        messages=[campaign] if single else [],
        ranks=list(ranks),
        cause=cause or "",
    )
    reply = call.do(command, tenant=call.tenant(tenant), reason=reason)
    left = f"; {reply['left']:,} more: say it again" if reply["left"] else ""
    call.show(reply, f"{reply['decided']:,} {decision}{left}")
