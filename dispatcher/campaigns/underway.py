"""Which campaigns are under way, found without reading those that are over: a carrier's store has 100,000 of them.

Touches: the meta rows `underway`, through views. A campaign has one from its schedule or start until nothing of it is
awaited: no message, no settlement of its money, no archive. What saves its row keeps it in (campaign.py), housekeeping
takes it out.

    meta: "underway" tenant:2 campaign:8 -> its state, ASCII
          "underway" -> nothing, once a start has looked at every campaign; until then all rows are read
          "ended" tenant:2 finished_ms:8 campaign:8 -> its state, of what ran and is over: for who asks what was sent
                  or received since an instant (segments/runs.py)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dispatcher.campaigns.states import APPROVED, AWAITING_APPROVAL, DRAFT, OVER
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import CampaignState, moving
from dispatcher.store import Store
from dispatcher.store.layout import ENDED, ENDED_KEY, TENANT, TENANT_U64, UNDER_WAY, USAGE_KEY
from dispatcher.store.ledger import read_counts
from dispatcher.store.open_rows import open_rows
from dispatcher.store.values import unpack

Row = dict[str, Any]

DROPPED_AT_ONCE = 1_000  # rows looked at again in a commit, some 15 us each
_WRITTEN = (DRAFT, AWAITING_APPROVAL, APPROVED)  # nothing happens to it by itself


def note_under_way(changes: Changes, tenant: int, campaign: int, row: Row) -> None:
    """Its row is written: under way, or being written again."""
    if row["state"] in _WRITTEN:
        changes.delete("meta", _key(tenant, campaign))
    else:
        changes.put("meta", _key(tenant, campaign), row["state"].encode())
    _note_ended(changes, tenant, campaign, row)


def under_way(view: View, *states: CampaignState, tenant: int = 0) -> Iterator[tuple[int, int, Row]]:
    """(tenant, campaign, row as it is kept) of those under way in one of these states (none given: in any), of a tenant
    or of all (0), oldest first in a tenant. Of some nothing may be awaited any more."""
    of = TENANT.pack(tenant) if tenant else b""
    for key, octets in _rows(view, of, states):
        row = unpack(octets)
        if not states or row["state"] in states:
            yield *TENANT_U64.unpack(key), row


def known_states(view: View) -> dict[bytes, str]:
    """Key of a campaign -> its state, of all that meta rows know: most of them, without reading theirs."""
    known = open_rows(view, UNDER_WAY)
    if known is None:
        return {}
    found = {key: state.decode() for key, state in known}
    for key, state in view.range("meta", ENDED):
        tenant, _, campaign = ENDED_KEY.unpack(key[len(ENDED) :])
        found[TENANT_U64.pack(tenant, campaign)] = state.decode()
    return found


def note_all_under_way(store: Store) -> None:
    """At a dispatcher's start: those of a store from a version that read every campaign instead."""
    with store.snapshot() as view:
        if open_rows(view, UNDER_WAY) is not None:
            return
        changes = Changes()
        for tenant, campaign, row in under_way(view):
            if is_over(view, tenant, campaign, row):
                _note_ended(changes, tenant, campaign, row)
            else:
                note_under_way(changes, tenant, campaign, row)
    changes.put("meta", UNDER_WAY, b"")
    store.apply(changes)


def over_now(view: View) -> list[tuple[int, int]]:
    """(tenant, campaign) of those of which nothing is awaited any more: for drop_over."""
    found = under_way(view, *OVER)
    return [(tenant, campaign) for tenant, campaign, row in found if is_over(view, tenant, campaign, row)]


def drop_over(view: View, over: list[tuple[int, int]]) -> tuple[Changes, None]:
    """They are under way no longer, unless something has come of them meanwhile."""
    changes = Changes()
    for tenant, campaign in over:
        row = view.get("campaigns", TENANT_U64.pack(tenant, campaign))
        if row is None or is_over(view, tenant, campaign, unpack(row)):
            changes.delete("meta", _key(tenant, campaign))
    return changes, None


def is_over(view: View, tenant: int, campaign: int, row: Row) -> bool:
    """Whether nothing of a campaign is awaited any more."""
    if row["state"] not in OVER or _archives(view, tenant, campaign, row):
        return False
    counts = read_counts(view, campaign)
    return not any(map(counts.state, moving(row["receipts"]))) and not _unsettled(view, tenant, campaign, row)


def _note_ended(changes: Changes, tenant: int, campaign: int, row: Row) -> None:
    if row["state"] in OVER and row["started_ms"] is not None:
        changes.put("meta", ENDED + ENDED_KEY.pack(tenant, row["finished_ms"], campaign), row["state"].encode())


def _rows(view: View, of: bytes, states: tuple[CampaignState, ...]) -> Iterator[tuple[bytes, bytes]]:
    known = open_rows(view, UNDER_WAY, of)
    if known is None:
        yield from view.range("campaigns", of)
        return
    wanted = {state.encode() for state in states}
    for key, state in known:
        if (state in wanted or not wanted) and (octets := view.get("campaigns", key)) is not None:
            yield key, octets


def _archives(view: View, tenant: int, campaign: int, row: Row) -> bool:
    """It is to be archived, or what its archive has taken over is still in the store."""
    if not row.get("archive"):
        return False
    archive = view.get("archives", TENANT_U64.pack(tenant, campaign))
    return archive is None or not unpack(archive).get("dropped")


def _unsettled(view: View, tenant: int, campaign: int, row: Row) -> bool:
    quote = row.get("quote")
    used = view.get("usage", USAGE_KEY.pack(tenant, quote["month"], campaign)) if quote else None
    return used is not None and not unpack(used)["settled"]


def _key(tenant: int, campaign: int) -> bytes:
    return UNDER_WAY + TENANT_U64.pack(tenant, campaign)
