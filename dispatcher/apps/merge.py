"""A merge as a whole, and its taking back: what is in the members' room, points and coupons, in one transaction.

Touches: what members/merge.py, members/unmerge.py, points/account.py and coupons/redeem.py touch.
"""

from __future__ import annotations

from typing import Any

from dispatcher.apps.points.account import move_all, move_back
from dispatcher.control.commands import Envelope, MergeMembers, UnmergeMembers
from dispatcher.coupons.redeem import hand_back, hand_over
from dispatcher.members.merge import merge
from dispatcher.members.unmerge import unmerge
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import parse_member_id


def merge_members(view: View, command: MergeMembers, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """`loser` into `winner`; the reply says what moved and what could not. With dry_run nothing is written."""
    changes, reply = merge(view, command, envelope)
    moved, balance = move_all(
        changes, view, envelope.tenant, loser=command.loser, winner=command.winner, at_ms=envelope.at_ms
    )
    hand_over(changes, view, envelope.tenant, loser=command.loser, winner=command.winner)
    reply |= {"points_moved": moved, "points": balance, "dry_run": command.dry_run}
    return (Changes() if command.dry_run else changes), reply


def unmerge_members(view: View, command: UnmergeMembers, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """The member is one again; the reply says what of the other changed since and stays. With dry_run nothing is
    written. `points_missing`: of those that the merge moved, what the winner has spent."""
    changes, reply = unmerge(view, command, envelope)
    moved, winner = reply.pop("points"), parse_member_id(reply["from"])
    assert winner is not None
    back = move_back(
        changes, view, envelope.tenant, loser=command.member_no, winner=winner, points=moved, at_ms=envelope.at_ms
    )
    hand_back(changes, view, envelope.tenant, loser=command.member_no, winner=winner)
    if back != moved:
        reply["changed_since"].append("points")
    reply |= {"points_back": back, "points_missing": moved - back, "dry_run": command.dry_run}
    return (Changes() if command.dry_run else changes), reply
