"""A merge as a whole: what is in the members' room, and the points, in one transaction.

Touches: what members/merge.py and points/account.py touch.
"""

from __future__ import annotations

from typing import Any

from dispatcher.apps.points.account import move_all
from dispatcher.control.commands import Envelope, MergeMembers
from dispatcher.members.merge import merge
from dispatcher.records.changes import Changes, View


def merge_members(view: View, command: MergeMembers, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """`loser` into `winner`; the reply says what moved and what could not. With dry_run nothing is written."""
    changes, reply = merge(view, command, envelope)
    moved, balance = move_all(
        changes, view, envelope.tenant, loser=command.loser, winner=command.winner, at_ms=envelope.at_ms
    )
    reply |= {"points_moved": moved, "points": balance, "dry_run": command.dry_run}
    return (Changes() if command.dry_run else changes), reply
