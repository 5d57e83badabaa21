"""What a message from a phone is answered: the one confirmation of a STOP, the balance to POINTS, else nothing.

Touches: table outbox through outbox/entry, by View and Changes. Later the engine's documents stand here,
in keyword order.
"""

from __future__ import annotations

from config import SettingError
from dispatcher.apps.points.account import balance
from dispatcher.members.aliases import alias_of
from dispatcher.outbox.entry import Entry, add_entry
from dispatcher.outcomes.inbound import Heard
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import Purpose
from dispatcher.store.columns import find_number
from dispatcher.tenants import market
from dispatcher.tenants.profile import Answers, get_profile
from dispatcher.tenants.tenant import Tenant, get_tenant

ANSWER_VALID_MS = 3_600_000


def react(view: View, heard: Heard, now_ms: int, via: int = -1) -> tuple[Changes, Entry | None]:
    """The answer's entry and its rows; in the same commit as what was heard. via: the endpoint by which that came."""
    changes = Changes()
    tenant = get_tenant(view, heard.tenant)
    if tenant is None or not heard.number:
        return changes, None
    answers = _answers(tenant)
    if heard.what == "stop":
        text = answers.opt_out if heard.first else ""
    elif heard.what == "start":
        text = answers.opt_in
    elif heard.what == "help":
        text = answers.help
    elif heard.what == "points":
        member_no = find_number(view, heard.tenant, heard.number)
        if member_no is None:
            member_no = alias_of(view, heard.tenant, heard.number)
        points = None if member_no is None else balance(view, heard.tenant, member_no)
        text = market.ANSWER_NO_MEMBER if points is None else market.ANSWER_POINTS.replace("{points}", str(points))
    else:
        text = ""
    if not text:
        return changes, None
    entry = add_entry(
        changes, view, heard.tenant,
        to=heard.number, sender=heard.answer_from or tenant.sender, text=text.replace("{brand}", tenant.brand),
        purpose=Purpose.SERVICE, now_ms=now_ms, expiry_ms=now_ms + ANSWER_VALID_MS, confirmation=heard.what == "stop",
        via=via,
    )  # fmt: skip
    return changes, entry


def _answers(tenant: Tenant) -> Answers:
    """Of its market; with a profile that is wrong by now those of none: a stop is confirmed whatever happens."""
    try:
        return get_profile(tenant.market_profile).answers
    except SettingError:
        return Answers()
