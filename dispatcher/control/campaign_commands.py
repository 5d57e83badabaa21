"""Commands about campaigns and single messages."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from dispatcher.control.command import Command, command


@command("campaign.create")
class CreateCampaign(Command):
    title: str
    purpose: str = "marketing"
    expr: str = "everyone"
    text: str = ""
    sender: str = ""
    max_parts: int = 3
    validity_s: int = 172_800
    receipts: bool = True
    schedule: dict[str, Any] | None = None  # campaigns/schedule.py
    arms: list[dict[str, Any]] = field(default_factory=list)  # {name, share, text}: campaigns/arm_rules.py
    holdout: dict[str, Any] | None = None  # {percent | size, salt}
    winner: dict[str, Any] | None = None  # {by, after_s, test_percent}
    stratify: str = ""  # a dictionary field
    signature: str = ""  # "": the tenant's
    budget_micros: int | None = None
    caps: list[dict[str, int]] = field(default_factory=list)  # {max, within_s}, beside those of market and tenant
    rate: int = 0  # parts a second, 0: no limit of its own
    coupon_pool: str | None = None  # its id or name: what `{coupon}` in the texts is of
    options: dict[str, Any] | None = None  # {class, flash, replace_type, priority, ...}: text/options.py


@command("campaign.edit")
class EditCampaign(Command):
    campaign: int
    changes: dict[str, Any]


@command("campaign.delete")
class DeleteCampaign(Command):
    campaign: int


@command("campaign.preview")
class PreviewCampaign(Command):
    campaign: int


@command("campaign.start")
class StartCampaign(Command):
    campaign: int
    token: str


@command("campaign.pause")
class PauseCampaign(Command):
    campaign: int


@command("campaign.resume")
class ResumeCampaign(Command):
    campaign: int


@command("campaign.cancel")
class CancelCampaign(Command):
    campaign: int


@command("campaign.submit")
class SubmitCampaign(Command):
    """Ask for the approval of somebody who did not write it."""

    campaign: int


@command("campaign.approve")
class ApproveCampaign(Command):
    campaign: int


@command("campaign.reject")
class RejectCampaign(Command):
    """Back to its author, with the envelope's reason."""

    campaign: int


@command("campaign.clone")
class CloneCampaign(Command):
    campaign: int
    title: str = ""  # "" = its title and (copy)


@command("campaign.rehearse")
class RehearseCampaign(Command):
    """Changes nothing: its line in the audit says who rehearsed what."""

    campaign: int
    share: float = 1.0


@command("campaign.resend")
class ResendCampaign(Command):
    """A new draft to those of a campaign whose message failed or expired."""

    campaign: int
    title: str = ""


@command("campaign.winner")
class ChooseWinner(Command):
    """The rest of a test's audience gets this arm's text, before the rule decides."""

    campaign: int
    arm: str  # its name


@command("campaign.archive")
class ArchiveCampaign(Command):
    """Of one that is over: recipients to a compressed file, totals kept."""

    campaign: int


@command("uncertain.decide")
class DecideUncertain(Command):
    """A person's word on messages that may have arrived: sent, failed, or resend. Of a campaign those of `ranks`, or
    all that fit the filter; or single messages."""

    decision: str
    campaign: int | None = None
    ranks: list[int] = field(default_factory=list)  # none: by the filter
    messages: list[str] = field(default_factory=list)  # public ids
    cause: str = ""  # filter: timeout, bind_lost, kill, power_cut
    before_ms: int | None = None  # filter: uncertain since before then


@command("campaign.rate")
class SetCampaignRate(Command):
    """Its own pace from now on, also while it is sent."""

    campaign: int
    rate: int  # parts a second, 0: no limit of its own


@command("campaign.test")
class TestCampaign(Command):
    """The text as it is now to a few phones, beside any audience."""

    campaign: int
    to: list[str]


@command("campaign.stop_all")
class StopAll(Command):
    """Pause whatever runs and start nothing: of the envelope's tenant, or of every tenant when that is the operator."""


@command("campaign.release")
class ReleaseAll(Command):
    """Lift a stop of everything."""

    resume: bool = False  # what it paused goes on


@command("message.send")
class SendMessages(Command):
    messages: list[dict[str, Any]]  # each {to, text | template and vars, purpose, validity_s, ref, sender}


@command("message.cancel")
class CancelMessage(Command):
    message: str  # its public id
