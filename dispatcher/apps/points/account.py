"""Points: entries that add up to a member's balance. The balance is never edited, only moved by an entry.

Touches: `points_entries`, `points_keys`, and the column FIELD_POINTS through the delta.
An entry is double: it takes `delta` from one account and gives it to another, so all accounts of a
tenant always sum to zero. The member's account is `member`; the other side is named by the source.
    balance = opening (the column FIELD_POINTS_OPENING, as imported) + the sum of the entries' deltas
"""

from __future__ import annotations

import hashlib
from typing import Any

from dispatcher.control.commands import AddPoints, Envelope
from dispatcher.errors import CommandRefused
from dispatcher.members.aliases import gone
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id, public_member_id
from dispatcher.store.blocks import NUMBER
from dispatcher.store.columns import Column, ColumnKind, put_delta, read_member
from dispatcher.store.ids import next_id
from dispatcher.store.layout import FIELD_POINTS, FIELD_POINTS_OPENING, POINTS_KEY, TENANT
from dispatcher.store.values import pack, unpack

POINTS: Column = (FIELD_POINTS, 0, ColumnKind.I64)
OPENING: Column = (FIELD_POINTS_OPENING, 0, ColumnKind.I64)
BALANCE_MAX = 1 << 53  # exact in JSON, and far from 2^63
KEY_MAX, SOURCE_MAX, WHY_MAX = 200, 40, 200  # characters
MERGE = "merge"  # source of the two entries of a merge; the account between them sums to zero
UNMERGE = "unmerge"  # begins the key of those that take one back, which are of the same source


def add_points(view: View, command: AddPoints, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Earn (delta > 0) or spend (delta < 0). The same key again answers the first entry and writes nothing.

    409 insufficient_points when the balance would fall below 0, idempotency_conflict when the key named
    another entry before.
    """
    tenant = envelope.tenant
    _check(command)
    key = TENANT.pack(tenant) + hashlib.sha256(command.key.encode("utf-8", "surrogatepass")).digest()
    if (earlier := view.get("points_keys", key)) is not None:
        return Changes(), _repeated(view, tenant, command, earlier)
    held = read_member(view, tenant, command.member_no, [POINTS]) if 0 <= command.member_no < 1 << 32 else None
    if held is None:
        raise gone(view, tenant, command.member_no)
    before = int(held[POINTS] or 0)
    after = before + command.delta
    if after < 0:
        raise CommandRefused(
            409,
            "insufficient_points",
            f"balance {before}, asked for {-command.delta}",
            extra={"balance": before, "delta": command.delta},
        )
    if after > BALANCE_MAX:
        raise CommandRefused(422, "invalid_value", f"delta {command.delta}: the balance would pass {BALANCE_MAX}")
    changes = Changes()
    entry = next_id(changes, view, envelope.at_ms)
    other = f"source:{command.source}"
    row = {
        "delta": command.delta,
        "balance": after,
        "reason": command.why,
        "source": command.source,
        "key": command.key,
        "at_ms": envelope.at_ms,
        "debit": other if command.delta > 0 else "member",
        "credit": "member" if command.delta > 0 else other,
    }
    place = POINTS_KEY.pack(tenant, command.member_no, entry)
    changes.put("points_entries", place, pack(row))
    changes.put("points_keys", key, place[TENANT.size :])
    put_delta(changes, view, tenant, command.member_no, {POINTS: NUMBER[ColumnKind.I64].pack(after)})
    return changes, _shown(command.member_no, entry, row)


def move_all(changes: Changes, view: View, tenant: int, *, loser: int, winner: int, at_ms: int) -> tuple[int, int]:
    """All points of one member to another, for a merge: an entry in each account. Returns (moved, winner's balance).

    The loser's column is whoever empties its slot's to clear. 422 when the winner would have more than BALANCE_MAX.
    """
    moved, before = (int(_held(view, tenant, no)) for no in (loser, winner))
    if not moved:
        return 0, before
    if before + moved > BALANCE_MAX:
        raise CommandRefused(422, "invalid_value", f"points {before} and {moved}: the balance would pass {BALANCE_MAX}")
    _transfer(changes, view, tenant, {loser: (-moved, 0), winner: (moved, before + moved)}, MERGE, loser, at_ms)
    put_delta(changes, view, tenant, winner, {POINTS: NUMBER[ColumnKind.I64].pack(before + moved)})
    return moved, before + moved


def move_back(changes: Changes, view: View, tenant: int, *, loser: int, winner: int, points: int, at_ms: int) -> int:
    """What a merge moved, back to the loser, whose account it closed with 0: as much of it as the winner still has.
    Returns how much."""
    before = _held(view, tenant, winner)
    back = max(0, min(points, before)) if points > 0 else points
    if back:
        _transfer(changes, view, tenant, {winner: (-back, before - back), loser: (back, back)}, UNMERGE, loser, at_ms)
        put_delta(changes, view, tenant, winner, {POINTS: NUMBER[ColumnKind.I64].pack(before - back)})
    put_delta(changes, view, tenant, loser, {POINTS: NUMBER[ColumnKind.I64].pack(back)})
    return back


def _transfer(
    changes: Changes, view: View, tenant: int, sides: dict[int, tuple[int, int]], word: str, loser: int, at_ms: int
) -> None:
    """An entry in each of two accounts. sides: {member_no: (delta, balance after)}"""
    for (member_no, (delta, after)), other in zip(sides.items(), reversed(sides), strict=True):
        row = {
            "delta": delta,
            "balance": after,
            "reason": f"{'into' if delta < 0 else 'from'} {public_member_id(other)}",
            "source": MERGE,
            "key": f"{word}:{public_member_id(loser)}",
            "at_ms": at_ms,
            "debit": "member" if delta < 0 else "transfer:merge",
            "credit": "transfer:merge" if delta < 0 else "member",
        }
        changes.put("points_entries", POINTS_KEY.pack(tenant, member_no, next_id(changes, view, at_ms)), pack(row))


def _held(view: View, tenant: int, member_no: int) -> int:
    return balance(view, tenant, member_no) or 0


def balance(view: View, tenant: int, member_no: int) -> int | None:
    """A member's points now; None when there is no such member."""
    held = read_member(view, tenant, member_no, [POINTS])
    return None if held is None else int(held[POINTS] or 0)


def opening(view: View, tenant: int, member_no: int) -> int:
    """What the member came with, before any entry."""
    held = read_member(view, tenant, member_no, [OPENING])
    return int(held[OPENING] or 0) if held else 0


def statement(
    view: View, tenant: int, member_no: int, limit: int = 100, *, before: int | None = None
) -> list[dict[str, Any]]:
    """Up to `limit` entries, newest first, older than the entry `before`."""
    prefix = POINTS_KEY.pack(tenant, member_no, 0)[:-8]
    after = None if before is None else POINTS_KEY.pack(tenant, member_no, before)
    found: list[dict[str, Any]] = []
    for key, row in view.range("points_entries", prefix, after=after, reverse=True):
        if len(found) == limit:
            break
        found.append(_shown(member_no, POINTS_KEY.unpack(key)[2], unpack(row)))
    return found


def _repeated(view: View, tenant: int, command: AddPoints, earlier: bytes) -> dict[str, Any]:
    member_no, entry = int.from_bytes(earlier[:4], "big"), int.from_bytes(earlier[4:], "big")
    row = view.get("points_entries", TENANT.pack(tenant) + earlier)
    assert row is not None, "a points key without its entry"
    value = unpack(row)
    if (member_no, value["delta"], value["source"]) != (command.member_no, command.delta, command.source):
        raise CommandRefused(409, "idempotency_conflict", f"key {command.key!r} named another entry before")
    return {**_shown(member_no, entry, value), "repeated": True}


def _shown(member_no: int, entry: int, row: dict[str, Any]) -> dict[str, Any]:
    return {"id": public_id("pts", entry), "entry": entry, "member": public_member_id(member_no), **row}


def _check(command: AddPoints) -> None:
    errors = []
    if command.delta == 0 or abs(command.delta) > BALANCE_MAX:
        errors.append(("delta", f"a whole number but 0, at most {BALANCE_MAX} either way"))
    if not 1 <= len(command.key) <= KEY_MAX:
        errors.append(("key", f"1 to {KEY_MAX} characters"))
    if not 1 <= len(command.source) <= SOURCE_MAX:
        errors.append(("source", f"1 to {SOURCE_MAX} characters, such as pos or web"))
    if len(command.why) > WHY_MAX:
        errors.append(("why", f"at most {WHY_MAX} characters"))
    if errors:
        raise CommandRefused(
            422,
            "invalid_value",
            f"{errors[0][0]}: {errors[0][1]}",
            errors=[
                {"pointer": f"/{name}", "code": "wrong_value", "detail": f"{name}: {rule}"} for name, rule in errors
            ],
        )
