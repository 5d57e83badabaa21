"""volley campaign submit, approve, pause, clone, test, stop-all and such: a campaign's life beside its sending."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dispatcher.cli.common import Call, common, id_of, of_tenant
from dispatcher.control.commands import (
    ApproveCampaign,
    CancelCampaign,
    ChooseWinner,
    CloneCampaign,
    DeleteCampaign,
    PauseCampaign,
    RejectCampaign,
    ReleaseAll,
    ResendCampaign,
    ResumeCampaign,
    SetCampaignRate,
    StopAll,
    SubmitCampaign,
    TestCampaign,
)


def _mover(word: str, command: Callable[..., Any], meaning: str, *, why: bool = False) -> click.Command:
    asked: dict[str, Any] = {"required": True} if why else {"default": ""}

    @click.command(word, help=meaning)
    @click.argument("campaign", metavar="cmp_...")
    @click.option("--reason", help="Kept in the campaign's history.", **asked)
    @of_tenant
    @common
    def move(call: Call, tenant: str | None, campaign: str, reason: str) -> None:
        number = id_of("cmp", campaign, "CAMPAIGN")
        reply = call.do(command(campaign=number), tenant=call.tenant(tenant), reason=reason)
        call.show(reply, str(reply["state"]))

    return move


def _maker(word: str, command: Callable[..., Any], meaning: str) -> click.Command:
    @click.command(word, help=meaning)
    @click.argument("campaign", metavar="cmp_...")
    @click.option("--title", default="", help="Of the new draft; that of the first one and a word unless given.")
    @of_tenant
    @common
    def make(call: Call, tenant: str | None, campaign: str, title: str) -> None:
        number = id_of("cmp", campaign, "CAMPAIGN")
        reply = call.do(command(campaign=number, title=title), tenant=call.tenant(tenant))
        call.show(reply, str(reply["id"]))

    return make


@click.command("delete")
@click.argument("campaign", metavar="cmp_...")
@click.option("--reason", default="", help="Kept in the audit.")
@of_tenant
@common
def delete_command(call: Call, tenant: str | None, campaign: str, reason: str) -> None:
    """Remove a draft and what its previews froze."""
    command = DeleteCampaign(campaign=id_of("cmp", campaign, "CAMPAIGN"))
    call.show(call.do(command, tenant=call.tenant(tenant), reason=reason), "deleted")


@click.command("test")
@click.argument("campaign", metavar="cmp_...")
@click.argument("phones", nargs=-1, required=True, metavar="NUMBER...")
@of_tenant
@common
def test_command(call: Call, tenant: str | None, campaign: str, phones: tuple[str, ...]) -> None:
    """Send the text as it is now to a few phones; neither the campaign's state nor its counts change.

    A member's number gets the member's own text. Example:

    \b
      volley campaign test cmp_01J0000000000 +4915112345678
    """
    command = TestCampaign(campaign=id_of("cmp", campaign, "CAMPAIGN"), to=list(phones))
    reply = call.do(command, tenant=call.tenant(tenant))
    call.show(reply, "\n".join(f"{one['id']}  {one['to']}  {one['text']!r}" for one in reply["messages"]))


test_command.__test__ = False  # type: ignore[attr-defined]  # no test, whatever pytest thinks of its name


@click.command("winner")
@click.argument("campaign", metavar="cmp_...")
@click.argument("arm")
@click.option("--reason", default="", help="Kept in the campaign's history.")
@of_tenant
@common
def winner_command(call: Call, tenant: str | None, campaign: str, arm: str, reason: str) -> None:
    """Of a test: the rest of the audience gets ARM's text from now on. Example:

    \b
      volley campaign winner cmp_01J0000000000 B --reason "clear enough"
    """
    command = ChooseWinner(campaign=id_of("cmp", campaign, "CAMPAIGN"), arm=arm)
    reply = call.do(command, tenant=call.tenant(tenant), reason=reason)
    call.show(reply, f"{reply['won']['arm']} has won")


@click.command("rate")
@click.argument("campaign", metavar="cmp_...")
@click.argument("parts_per_s", type=click.IntRange(0))
@click.option("--reason", default="", help="Kept in the audit.")
@of_tenant
@common
def rate_command(call: Call, tenant: str | None, campaign: str, parts_per_s: int, reason: str) -> None:
    """Its own pace in parts a second from now on, also while it is sent; 0: no limit of its own. Example:

    \b
      volley campaign rate cmp_01J0000000000 500
    """
    command = SetCampaignRate(campaign=id_of("cmp", campaign, "CAMPAIGN"), rate=parts_per_s)
    reply = call.do(command, tenant=call.tenant(tenant), reason=reason)
    call.show(reply, f"at most {parts_per_s:,} parts/s" if parts_per_s else "no limit of its own")


@click.command("stop-all")
@click.option("--everywhere", is_flag=True, help="Of every tenant.")
@click.option("--reason", default="", help="Shown to whoever is refused a start.")
@of_tenant
@common
def stop_all_command(call: Call, tenant: str | None, everywhere: bool, reason: str) -> None:
    """Pause whatever runs and refuse every start until it is released.

    Answers to people and confirmations of an opt-out still go out. Example:

    \b
      volley campaign stop-all --reason "wrong price"
      volley campaign release --resume
    """
    reply = call.do(StopAll(), tenant=0 if everywhere else call.tenant(tenant), reason=reason)
    call.show(reply, f"stopped; {reply['paused']:,} paused; volley campaign release lifts it")


@click.command("release")
@click.option("--everywhere", is_flag=True, help="The stop of every tenant.")
@click.option("--resume", is_flag=True, help="What the stop paused goes on at once.")
@click.option("--reason", default="", help="Kept in the audit.")
@of_tenant
@common
def release_command(call: Call, tenant: str | None, everywhere: bool, resume: bool, reason: str) -> None:
    """Lift a stop of everything; what it paused stays paused unless --resume."""
    reply = call.do(ReleaseAll(resume=resume), tenant=0 if everywhere else call.tenant(tenant), reason=reason)
    still = "; the operator's stop of everything still holds" if reply["stopped"] else ""
    call.show(reply, f"released{still}; {reply['resumed']:,} resumed")


MOVES: tuple[click.Command, ...] = (
    _mover("submit", SubmitCampaign, "Ask for an approval of what the latest preview shows."),
    _mover("approve", ApproveCampaign, "The latest preview is right; above the tenant's limit not by who wrote it."),
    _mover("reject", RejectCampaign, "Back to its author as a draft, with a reason.", why=True),
    _mover("pause", PauseCampaign, "Claim nothing more until resumed; what is in flight settles."),
    _mover("resume", ResumeCampaign, "Go on with those not yet sent to; of a held one, begin."),
    _mover("cancel", CancelCampaign, "End a campaign for good; the unsent are skipped as cancelled."),
    _maker("clone", CloneCampaign, "A new draft with the same words and audience, without the time; prints its id."),
    _maker("resend", ResendCampaign, "A new draft to those whose message failed or expired; prints its id."),
    delete_command,
    winner_command,
    rate_command,
    test_command,
    stop_all_command,
    release_command,
)
