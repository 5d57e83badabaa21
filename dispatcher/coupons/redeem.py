"""Codes redeemed, made void, and either taken back: once a person and pool, by a key that may be repeated.

Touches: rows of `redemptions`, `coupons`, `coupon_keys`, `redeemed` and a pool's counters; time is an argument.
Rests on: code.py (whose a code is), attribution.py (which campaign it came with), members/aliases.py.

    redemptions: tenant:2 redemption:8 -> {pool, member_no, kind: redeemed | void, at_ms, actor, reason, value, shop,
      reference, amount_micros, campaign, sent_to, key, undone: None | {at_ms, actor, reason},
      before: {member_no: redemption}}
    coupons: tenant:2 pool:8 member_no:4 -> redemption:8

A code that nothing happened to has no row. A row of `coupons` leads to the newest thing that happened to a member's
coupon, and by `before` to what was before that. What was not undone stands.
    merged    a code goes on to hold. It is redeemed for its member and for everybody that one was merged into, so no
              other code of the same person is taken; a merge gives the winner what the loser had redeemed, and is
              taken back with that
    erased    a redemption loses its member and its reference; counters and campaigns' costs keep it (members/erase.py)
A code that is nobody's is answered the same whether a pool was near or not: coupon_unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dispatcher.clock import rfc3339
from dispatcher.control.commands import Envelope, IssueCoupon, RedeemCoupon, UndoCoupon, VoidCoupon
from dispatcher.coupons.attribution import Sent, newest_sent
from dispatcher.coupons.code import code_of, member_of, normal
from dispatcher.coupons.pool import PREFIX, need_pool, pools_of, put_pool, refusal
from dispatcher.errors import CommandRefused
from dispatcher.members.aliases import gone, line_of, merges_of
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id, public_member_id
from dispatcher.store.columns import read_member
from dispatcher.store.ids import next_id
from dispatcher.store.layout import COUPON_KEY, REDEEMED, TENANT, TENANT_U64, U64
from dispatcher.store.values import pack, unpack

ID = "rdm"
REDEEMED_KIND, VOID = "redeemed", "void"
UNUSED, UNDONE = "unused", "undone"
KEY_CHARACTERS, SHOP_CHARACTERS, REFERENCE_CHARACTERS, REASON_CHARACTERS = 200, 60, 100, 500
AMOUNT_MAX = 1 << 53  # exact in JSON

Row = dict[str, Any]
Standing = tuple[int, Row]  # a redemption's number and row


@dataclass(frozen=True, slots=True)
class Coupon:
    """A code that is a member's."""

    code: str
    pool: int
    of: Row  # the pool's row
    member_no: int  # whose the code is
    line: Sequence[int]  # that member and whom it was merged into, the last one lives

    @property
    def person(self) -> int:
        return self.line[-1]


def redeem(view: View, command: RedeemCoupon, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """The same key again answers the first redeeming and writes nothing.

    Raises CommandRefused: 404 coupon_unknown; 409 coupon_redeemed (with when and where), coupon_void,
    coupon_pool_closed, coupon_not_yet, coupon_expired, out_of_stock; 409 idempotency_conflict.
    """
    tenant = envelope.tenant
    _check(command)
    key = TENANT.pack(tenant) + hashlib.sha256(command.key.encode("utf-8", "surrogatepass")).digest()
    if (earlier := view.get("coupon_keys", key)) is not None:
        return Changes(), _repeated(view, tenant, command, U64.unpack(earlier)[0])
    coupon = need_coupon(view, tenant, command.code)
    if (before := _redeemed_by(view, tenant, coupon)) is not None:
        raise _was_redeemed(before)
    if (before := _void(view, tenant, coupon)) is not None:
        raise CommandRefused(409, "coupon_void", "this coupon was made void", extra={"at": rfc3339(before[1]["at_ms"])})
    if (no := refusal(coupon.of, envelope.at_ms)) is not None:
        raise no
    sent = _sent(view, tenant, coupon)
    row = _row(coupon, REDEEMED_KIND, envelope) | {
        "shop": command.shop,
        "reference": command.reference,
        "amount_micros": command.amount_micros,
        "campaign": sent.campaign if sent else None,
        "sent_to": sent.member_no if sent else None,
        "key": command.key,
    }
    changes, redemption = _put(view, tenant, coupon, row, coupon.line, envelope.at_ms)
    changes.put("coupon_keys", key, U64.pack(redemption))
    if sent is not None:
        octets = REDEEMED.pack(envelope.at_ms, sent.member_no, 0, sent.campaign)
        changes.put("redeemed", TENANT_U64.pack(tenant, redemption), octets)
    return changes, redemption_json(view, tenant, redemption, row, coupon.of)


def void(view: View, command: VoidCoupon, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """The code can no more be redeemed. Repeating it changes nothing; 409 coupon_redeemed where it was."""
    coupon = need_coupon(view, envelope.tenant, command.code)
    _need_reason(envelope)
    if (before := _redeemed_by(view, envelope.tenant, coupon)) is not None:
        raise _was_redeemed(before, "; take that back first (undo)")
    if (found := _void(view, envelope.tenant, coupon)) is not None:
        return Changes(), redemption_json(view, envelope.tenant, *found, coupon.of)
    row = _row(coupon, VOID, envelope)
    changes, redemption = _put(view, envelope.tenant, coupon, row, [coupon.member_no], envelope.at_ms)
    return changes, redemption_json(view, envelope.tenant, redemption, row, coupon.of)


def undo(view: View, command: UndoCoupon, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A redeeming or a void is taken back: the code is as it was before. 409 state_conflict where nothing stands."""
    tenant = envelope.tenant
    coupon = need_coupon(view, tenant, command.code)
    _need_reason(envelope)
    found = _stands(view, tenant, coupon)
    if found is None:
        raise CommandRefused(409, "state_conflict", "this coupon is neither redeemed nor void: nothing to take back")
    redemption, row = found
    row["undone"] = {"at_ms": envelope.at_ms, "actor": envelope.actor, "reason": envelope.reason}
    changes = Changes()
    changes.put("redemptions", TENANT_U64.pack(tenant, redemption), pack(row))
    changes.delete("redeemed", TENANT_U64.pack(tenant, redemption))
    coupon.of[row["kind"]] -= 1
    put_pool(changes, tenant, coupon.pool, coupon.of)
    return changes, redemption_json(view, tenant, redemption, row, coupon.of)


def issue(view: View, command: IssueCoupon, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """A member's code. 409 where nothing of the pool can be redeemed; what happened to this very code is said."""
    tenant, member_no = envelope.tenant, command.member_no
    row = need_pool(view, tenant, command.pool)
    if not 0 <= member_no < 1 << 32 or read_member(view, tenant, member_no, []) is None:
        raise gone(view, tenant, member_no)
    no = refusal(row, envelope.at_ms)
    if no is not None and no.code != "coupon_not_yet":
        raise no
    return Changes(), coupon_json(view, tenant, code_of(row["key"], member_no), envelope.at_ms)


def hand_over(changes: Changes, view: View, tenant: int, loser: int, winner: int) -> None:
    """A merge's part: what the loser had redeemed, the winner has redeemed."""
    for pool, _ in pools_of(view, tenant):
        theirs = {redemption: row for redemption, row in history(view, tenant, pool, loser) if _is(REDEEMED_KIND, row)}
        if theirs:
            mine = dict(history(view, tenant, pool, winner))
            _link(changes, tenant, pool, winner, mine | theirs)


def hand_back(changes: Changes, view: View, tenant: int, loser: int, winner: int) -> None:
    """A merge that is taken back: what is the loser's is not the winner's any more."""
    for pool, _ in pools_of(view, tenant):
        mine, theirs = (dict(history(view, tenant, pool, no)) for no in (winner, loser))
        if shared := mine.keys() & theirs.keys():
            for redemption in shared:
                mine[redemption]["before"].pop(winner, None)
                changes.put("redemptions", TENANT_U64.pack(tenant, redemption), pack(mine[redemption]))
            _link(changes, tenant, pool, winner, {no: row for no, row in mine.items() if no not in shared})


def _link(changes: Changes, tenant: int, pool: int, member_no: int, rows: dict[int, Row]) -> None:
    """Make this a member's history."""
    key, newest = COUPON_KEY.pack(tenant, pool, member_no), sorted(rows, reverse=True)
    if not newest:
        changes.delete("coupons", key)
        return
    changes.put("coupons", key, U64.pack(newest[0]))
    for redemption, before in zip(newest, [*newest[1:], None], strict=True):
        row = rows[redemption]
        if row["before"].get(member_no) != before:
            row["before"] = {**row["before"], member_no: before}
            changes.put("redemptions", TENANT_U64.pack(tenant, redemption), pack(row))


def need_coupon(view: View, tenant: int, code: str) -> Coupon:
    """Whose a code is. Raises CommandRefused 404 coupon_unknown."""
    read = normal(code)
    for pool, row in pools_of(view, tenant) if read else ():
        member_no = member_of(row["key"], read or "")
        if member_no is None:
            continue
        line = line_of(view, tenant, member_no)
        if read_member(view, tenant, line[-1], []) is not None:
            return Coupon(read or "", pool, row, member_no, line)
    raise _unknown()


def need_redemption(view: View, tenant: int, redemption: int) -> Row:
    octets = view.get("redemptions", TENANT_U64.pack(tenant, redemption))
    if octets is None:
        raise CommandRefused(404, "not_found", f"no redemption {public_id(ID, redemption)}")
    return unpack(octets)


def history(view: View, tenant: int, pool: int, member_no: int) -> list[Standing]:
    """All that happened to a member's coupon, newest first."""
    found = list[Standing]()
    octets = view.get("coupons", COUPON_KEY.pack(tenant, pool, member_no))
    redemption = None if octets is None else U64.unpack(octets)[0]
    while redemption is not None:
        row = need_redemption(view, tenant, redemption)
        found.append((redemption, row))
        redemption = row["before"].get(member_no)
    return found


def coupon_json(view: View, tenant: int, code: str, at_ms: int) -> dict[str, Any]:
    """A code as it is now: state unused, redeemed or void; `refusal`: the code that a redeeming would meet, or null."""
    coupon = need_coupon(view, tenant, code)
    found = _stands(view, tenant, coupon)
    no = refusal(coupon.of, at_ms)
    would = None if no is None else no.code
    if found is not None:
        would = "coupon_redeemed" if found[1]["kind"] == REDEEMED_KIND else "coupon_void"
    return {
        "code": coupon.code,
        "state": UNUSED if found is None else found[1]["kind"],
        "refusal": would,
        "member": public_member_id(coupon.person),
        "pool": public_id(PREFIX, coupon.pool),
        "value": coupon.of["value"],
        "redemption": None if found is None else redemption_json(view, tenant, *found, coupon.of),
    }


def redemption_json(view: View, tenant: int, redemption: int, row: Row, of: Row | None = None) -> dict[str, Any]:
    """A row of the log as the API shows it. of: the pool's row, where it is at hand."""
    of = of or need_pool(view, tenant, row["pool"])
    member_no, undone = row["member_no"], row["undone"]
    return {
        "id": public_id(ID, redemption),
        "code": None if member_no is None else code_of(of["key"], member_no),
        "state": UNDONE if undone else row["kind"],
        "kind": row["kind"],
        "member": None if member_no is None else public_member_id(line_of(view, tenant, member_no)[-1]),
        "pool": public_id(PREFIX, row["pool"]),
        "value": row["value"],
        "campaign": None if row["campaign"] is None else public_id("cmp", row["campaign"]),
        "at": rfc3339(row["at_ms"]),
        "shop": row["shop"],
        "reference": row["reference"],
        "amount_micros": row["amount_micros"],
        "actor": row["actor"],
        "reason": row["reason"],
        "undone": None if undone is None else {**undone, "at": rfc3339(undone["at_ms"])},
    }


def _row(coupon: Coupon, kind: str, envelope: Envelope) -> Row:
    return {
        "pool": coupon.pool,
        "member_no": coupon.member_no,
        "kind": kind,
        "undone": None,
        "at_ms": envelope.at_ms,
        "actor": envelope.actor,
        "reason": envelope.reason,
        "value": coupon.of["value"],
        "shop": "",
        "reference": "",
        "amount_micros": None,
        "campaign": None,
        "sent_to": None,
        "key": "",
        "before": {},
    }


def _put(view: View, tenant: int, coupon: Coupon, row: Row, members: Sequence[int], at_ms: int) -> tuple[Changes, int]:
    """The row, what leads to it for each of `members`, and the pool's counter."""
    changes = Changes()
    redemption = next_id(changes, view, at_ms)
    for member_no in members:
        key = COUPON_KEY.pack(tenant, coupon.pool, member_no)
        if (had := view.get("coupons", key)) is not None:
            row["before"][member_no] = U64.unpack(had)[0]
        changes.put("coupons", key, U64.pack(redemption))
    changes.put("redemptions", TENANT_U64.pack(tenant, redemption), pack(row))
    coupon.of[row["kind"]] += 1
    put_pool(changes, tenant, coupon.pool, coupon.of)
    return changes, redemption


def _stands(view: View, tenant: int, coupon: Coupon) -> Standing | None:
    return _redeemed_by(view, tenant, coupon) or _void(view, tenant, coupon)


def _redeemed_by(view: View, tenant: int, coupon: Coupon) -> Standing | None:
    """The redeeming that stands for the code's member or whom it was merged into; that of this very code first."""
    found = [
        (redemption, row)
        for member_no in coupon.line
        for redemption, row in history(view, tenant, coupon.pool, member_no)
        if _is(REDEEMED_KIND, row)
    ]
    return max(found, key=lambda one: (one[1]["member_no"] == coupon.member_no, one[0]), default=None)


def _void(view: View, tenant: int, coupon: Coupon) -> Standing | None:
    """That this very code was made void, where that stands."""
    for redemption, row in history(view, tenant, coupon.pool, coupon.member_no):
        if _is(VOID, row) and row["member_no"] == coupon.member_no:
            return redemption, row
    return None


def _is(kind: str, row: Row) -> bool:
    return row["kind"] == kind and row["undone"] is None


def _sent(view: View, tenant: int, coupon: Coupon) -> Sent | None:
    """What was sent to the code's own member, whose texts alone can hold it, else to anybody who is the same person."""
    found = newest_sent(view, tenant, coupon.pool, [coupon.member_no])
    found = found or newest_sent(view, tenant, coupon.pool, coupon.line[1:])
    if found is None and next(view.range("merges", TENANT.pack(tenant)), None) is not None:
        losers = [loser for loser in merges_of(view, tenant, coupon.person)[0] if loser not in coupon.line]
        found = newest_sent(view, tenant, coupon.pool, losers)
    return found


def _repeated(view: View, tenant: int, command: RedeemCoupon, redemption: int) -> dict[str, Any]:
    row = need_redemption(view, tenant, redemption)
    if row["member_no"] is None:
        raise _unknown()
    shown = redemption_json(view, tenant, redemption, row)
    told = (normal(command.code), command.shop, command.reference, command.amount_micros)
    if told != (shown["code"], row["shop"], row["reference"], row["amount_micros"]):
        raise CommandRefused(409, "idempotency_conflict", f"key {command.key!r} named another redeeming before")
    return {**shown, "repeated": True}


def _was_redeemed(found: Standing, hint: str = "") -> CommandRefused:
    redemption, row = found
    when, where = rfc3339(row["at_ms"]), f" at {row['shop']}" if row["shop"] else ""
    extra = {"redemption": public_id(ID, redemption), "at": when, "shop": row["shop"], "reference": row["reference"]}
    return CommandRefused(409, "coupon_redeemed", f"this coupon was redeemed {when}{where}{hint}", extra=extra)


def _unknown() -> CommandRefused:
    detail = "no coupon has this code; a code is 12 characters, digits and letters without I, L, O and U"
    return CommandRefused(404, "coupon_unknown", detail)


def _need_reason(envelope: Envelope) -> None:
    if not 1 <= len(envelope.reason) <= REASON_CHARACTERS:
        detail = f"reason: 1 to {REASON_CHARACTERS} characters, kept with the coupon and in the audit"
        errors = [{"pointer": "/reason", "code": "missing", "detail": detail}]
        raise CommandRefused(422, "invalid_value", detail, errors=errors)


def _check(command: RedeemCoupon) -> None:
    amount = command.amount_micros
    rules = (
        ("key", 1 <= len(command.key) <= KEY_CHARACTERS, f"1 to {KEY_CHARACTERS} characters"),
        ("shop", len(command.shop) <= SHOP_CHARACTERS, f"at most {SHOP_CHARACTERS} characters"),
        ("reference", len(command.reference) <= REFERENCE_CHARACTERS, f"at most {REFERENCE_CHARACTERS} characters"),
        ("amount_micros", amount is None or 0 <= amount <= AMOUNT_MAX, f"micro-units from 0 to {AMOUNT_MAX}"),
    )
    errors = [
        {"pointer": f"/{name}", "code": "wrong_value", "detail": f"{name}: {rule}"}
        for name, holds, rule in rules
        if not holds
    ]
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
