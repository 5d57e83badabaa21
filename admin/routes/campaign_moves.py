"""Moves of a campaign: approval by somebody else, pause, resume, cancel, a winner, a copy, a test, a resend; a stop of
all. Each takes a reason for its history, and If-Match.

Touches: commands campaign.*; reads the stop.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from admin.answers import Answer, Body, Reading
from admin.asking import Ask, Asking, AskingOnce
from admin.auth import Caller, may, parsed
from admin.routes.campaigns import CampaignAnswer, IfMatch, Reason, Title, tagged, version_of
from dispatcher.campaigns.pace import RATE_MAX
from dispatcher.campaigns.stops import stopped_json
from dispatcher.control.commands import (
    ApproveCampaign,
    ArchiveCampaign,
    CancelCampaign,
    ChooseWinner,
    CloneCampaign,
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

router = APIRouter(prefix="/v1", tags=["campaigns"])

Phone = Annotated[str, Field(min_length=1, max_length=40)]


class ReasonBody(Body):
    reason: Reason = ""


class RejectBody(ReasonBody):
    reason: Annotated[Reason, Field(min_length=1)]


class ArmWonBody(ReasonBody):
    arm: Annotated[str, Field(min_length=1, max_length=40, description="its name")]


class RateBody(ReasonBody):
    rate: Annotated[int, Field(ge=0, le=RATE_MAX, description="parts a second, 0: no limit of its own")]


class TitleBody(Body):
    title: Title | None = None


class TestBody(Body):
    __test__ = False  # no test class, whatever pytest thinks of its name
    to: Annotated[list[Phone], Field(min_length=1, max_length=10, description="numbers; a member's gets its own text")]


class ReleaseBody(Body):
    reason: Reason = ""
    resume: bool = Field(False, description="what the stop paused goes on at once")


class TestAnswer(Answer):
    __test__ = False
    id: str
    messages: list[dict[str, Any]]


class StopAnswer(Answer):
    stopped: bool


def _mover(word: str, command: Any, scope: str, meaning: str, status: int = 200) -> None:
    """The route of a move that takes nothing but a reason and If-Match."""

    async def move(
        campaign: str,
        ask: Asking,
        body: ReasonBody | None = None,
        if_match: IfMatch = None,
        caller: Caller = may(scope),  # a closure's, which an annotation cannot name
    ) -> dict[str, Any]:
        return await _moved(ask, caller, command, campaign, body, if_match)

    router.add_api_route(
        f"/campaigns/{{campaign}}:{word}", move, methods=["POST"], name=f"{word}_campaign", description=meaning,
        status_code=status, response_model=CampaignAnswer,
    )  # fmt: skip


async def _moved(
    ask: Ask, caller: Caller, command: Any, campaign: str, body: ReasonBody | None, if_match: str | None
) -> dict[str, Any]:
    reason, version = body.reason if body else "", version_of(if_match)
    return tagged(
        ask.response, await ask(caller, command(campaign=parsed("cmp", campaign)), reason=reason, version=version)
    )


_mover("submit", SubmitCampaign, "campaigns:write", "Ask for an approval of what the latest preview shows.")
_mover(
    "approve", ApproveCampaign, "campaigns:approve",
    "Text, schedule and count of the latest preview are right. 403 own_approval for a key that wrote in it, above the\n"
    "tenant's limit.",
)  # fmt: skip
_mover("pause", PauseCampaign, "campaigns:send", "Nothing more is claimed; what is in flight settles.")
_mover(
    "resume", ResumeCampaign, "campaigns:send",
    "Go on with those not decided yet; of what was held before it began, begin.",
)  # fmt: skip
_mover("cancel", CancelCampaign, "campaigns:send", "Final: what is unsent is never sent.")
_mover(
    "archive", ArchiveCampaign, "campaigns:write",
    "Of one that is over: recipients' details to a compressed file, soon; `archived_at` says when. Totals, segments\n"
    "and reports go on as before.",
    202,
)  # fmt: skip


@router.post("/campaigns/{campaign}:reject", response_model=CampaignAnswer)
async def reject_campaign(
    campaign: str,
    body: RejectBody,
    ask: Asking,
    caller: Annotated[Caller, may("campaigns:approve")],
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Back to its author as a draft; also what is approved or scheduled."""
    return await _moved(ask, caller, RejectCampaign, campaign, body, if_match)


@router.post("/campaigns/{campaign}:rate", response_model=CampaignAnswer)
async def set_campaign_rate(
    campaign: str,
    body: RateBody,
    ask: Asking,
    caller: Annotated[Caller, may("campaigns:send")],
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Its own pace from the next part on, also while it is sent."""
    command = SetCampaignRate(campaign=parsed("cmp", campaign), rate=body.rate)
    return tagged(ask.response, await ask(caller, command, reason=body.reason, version=version_of(if_match)))


@router.post("/campaigns/{campaign}:winner", response_model=CampaignAnswer)
async def choose_winner(
    campaign: str,
    body: ArmWonBody,
    ask: Asking,
    caller: Annotated[Caller, may("campaigns:send")],
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Of a test: the rest gets this arm's text from now on, whatever the rule would say later."""
    command = ChooseWinner(campaign=parsed("cmp", campaign), arm=body.arm)
    return tagged(ask.response, await ask(caller, command, reason=body.reason, version=version_of(if_match)))


@router.post("/campaigns/{campaign}:clone", status_code=201, response_model=CampaignAnswer)
async def clone_campaign(
    campaign: str, ask: Asking, caller: Annotated[Caller, may("campaigns:write")], body: TitleBody | None = None
) -> dict[str, Any]:
    """A new draft with the same words, audience and windows, and without the time."""
    command = CloneCampaign(campaign=parsed("cmp", campaign), title=body.title or "" if body else "")
    return tagged(ask.response, await ask(caller, command))


@router.post("/campaigns/{campaign}:resend", status_code=201, response_model=CampaignAnswer)
async def resend_campaign(
    campaign: str, ask: Asking, caller: Annotated[Caller, may("campaigns:write")], body: TitleBody | None = None
) -> dict[str, Any]:
    """A new draft to those whose message failed or expired, linked to this campaign. Preview and start it as any."""
    command = ResendCampaign(campaign=parsed("cmp", campaign), title=body.title or "" if body else "")
    return tagged(ask.response, await ask(caller, command))


@router.post("/campaigns/{campaign}:test", response_model=TestAnswer)
async def send_test(
    campaign: str, body: TestBody, ask: AskingOnce, caller: Annotated[Caller, may("campaigns:send")]
) -> dict[str, Any]:
    """Send the text as it is now to a few phones. Neither the campaign's state nor its counts change."""
    return await ask(caller, TestCampaign(campaign=parsed("cmp", campaign), to=body.to))


@router.post("/campaigns:stop_all", response_model=StopAnswer)
async def stop_all(
    ask: Asking, caller: Annotated[Caller, may("campaigns:send", tenant=False)], body: ReasonBody | None = None
) -> dict[str, Any]:
    """Pause whatever runs and refuse every start until `:release`; for an operator's key without X-Tenant, of every
    tenant."""
    return await ask(caller, StopAll(), reason=body.reason if body else "")


@router.post("/campaigns:release", response_model=StopAnswer)
async def release_all(
    ask: Asking, caller: Annotated[Caller, may("campaigns:send", tenant=False)], body: ReleaseBody | None = None
) -> dict[str, Any]:
    """Lift a stop of everything. What it paused is resumed by hand, or at once with `resume`."""
    command = ReleaseAll(resume=body.resume if body else False)
    return await ask(caller, command, reason=body.reason if body else "")


@router.get("/campaigns:stopped", response_model=StopAnswer)
async def get_stop(caller: Annotated[Caller, may("campaigns:read", tenant=False)], reads: Reading) -> dict[str, Any]:
    """Whether a stop stands, by whom, since when and why."""
    return reads.now(stopped_json, caller.tenant)
