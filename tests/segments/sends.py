"""Campaigns that were sent, made as the daemon makes them: previewed, started, their messages in the log and folded."""

from __future__ import annotations

from typing import Any

from dispatcher.campaigns.campaign import create_campaign
from dispatcher.campaigns.life import start_campaign
from dispatcher.campaigns.preview import preview_campaign
from dispatcher.control.commands import CreateCampaign, PreviewCampaign, StartCampaign
from dispatcher.outcomes.inbound import Recent, hear
from dispatcher.records.events import Delivered
from dispatcher.records.keys import parse_public_id
from dispatcher.store import Store
from tests.campaigns.log import log_begins
from tests.fakes.shop import NOW_MS, do

PHONE = 4915100000000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def started(store: Store, title: str, expr: str = "everyone", at_ms: int = NOW_MS, **parts: Any) -> int:
    """A campaign that runs; what is sent of it a test writes into the log (tests/campaigns/log.py)."""
    draft = CreateCampaign(title=title, expr=expr, **{"text": "Hi", "sender": "SHOP", **parts})
    made = do(store, create_campaign, draft, at_ms=at_ms)
    campaign = parse_public_id("cmp", made["id"])
    assert campaign is not None
    token = do(store, preview_campaign, PreviewCampaign(campaign=campaign), at_ms=at_ms)["token"]
    do(store, start_campaign, StartCampaign(campaign=campaign, token=token), at_ms=at_ms)
    log_begins(store, campaign)
    return campaign


def says(store: Store, member_no: int, text: str, at_ms: int) -> None:
    """The member's phone (PHONE + member_no) writes to the shop."""
    octets = text.encode("utf-16-be")
    message = Delivered(
        source_addr=str(PHONE + member_no), destination_addr="SHOP", octets=octets, data_coding=8, esm_class=0
    )
    with store.begin_write() as view:
        changes, _ = hear(view, message, at_ms, Recent())
        view.apply(changes)
