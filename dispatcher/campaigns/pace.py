"""A campaign's own pace, in parts a second; it may be changed while the campaign is sent.

Touches: the campaign's row. The daemon holds it (daemon/paces.py).
"""

from __future__ import annotations

from typing import Any

from dispatcher.campaigns.campaign import campaign_json, need_campaign, save
from dispatcher.campaigns.states import CANCELLED, DONE, hold_version, remember
from dispatcher.control.commands import Envelope, SetCampaignRate
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View

RATE_MAX = 1_000_000


def set_campaign_rate(view: View, command: SetCampaignRate, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Holds from the next part on. Raises CommandRefused: 404; 409 once it is over; 422 for a rate that is none."""
    rate = command.rate
    if not isinstance(rate, int) or isinstance(rate, bool) or not 0 <= rate <= RATE_MAX:
        detail = f"rate {rate!r}: parts a second, 0 (no limit of its own) to {RATE_MAX:,}"
        problem = {"pointer": "/rate", "code": "invalid_value", "detail": detail}
        raise CommandRefused(422, "invalid_value", detail, errors=[problem])
    row = need_campaign(view, envelope.tenant, command.campaign)
    hold_version(row, envelope.version)
    if row["state"] in (DONE, CANCELLED):
        raise CommandRefused(409, "state_conflict", f"the campaign is {row['state']}: nothing more of it is sent")
    before, row["rate"] = row["rate"], rate
    remember(row, envelope.at_ms, envelope.actor, f"rate {before or 'without a limit'} to {rate or 'none'}")
    return save(envelope.tenant, command.campaign, row), campaign_json(command.campaign, row)
