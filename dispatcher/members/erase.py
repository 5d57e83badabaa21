"""A member erased: at once what finds or reaches the person, then, slice by slice, every row that speaks of them.

Touches: at once the slot, `phones`, `merges`, `optouts`, `suppressions` (the tenant's), `provenance`, `erased_numbers`;
later `blocks`, `optout_history`, `points_entries`, `merges`, `import_undo`, `import_rejects`, `inbound`, `replies`,
`requests`, `mo_parts`, `redemptions`, `redeemed`, `coupons`, `outbox`.

    gone     values and number (the job's first slice folds their block), numbers that led here, opt-outs and their
             history (the hash suppresses every purpose), texts from and to the numbers, parts of long ones that wait
             for the rest, what an import replaced, rejected cells that hold a number, sources of values, conflicts of
             merges; a backup taken after the job's end has nothing of it
    kept     a salted hash of each number, so that a later import of it makes a suppressed member; points entries with
             amount, source and time (accounts must add up), without reason and key; redemptions
             with pool, shop, amount and campaign (they must add up too), of no member; ledgers, archives and kept
             message_ids, which know slots and ranks and no numbers; receipts of unknown ids in the outcome log, number
             and time without a text, until it is dropped by age; the audit; the operator's suppressions, which are
             its own and hold for other tenants; backups of before, which age out
The slot is never given again. The work left is a row of `imports` of kind "erase" that holds the numbers; a start goes
on with it, and its end removes it. An answer not yet expired waits in `outbox` with its number until it is.
Weak spot: every row of inbound, rejects and outbox of the tenant is looked at, some 3 us each.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dispatcher.control.commands import Envelope, EraseMember
from dispatcher.errors import CommandRefused
from dispatcher.members import import_undo, provenance
from dispatcher.members.aliases import MERGE_KEY, gone, merges_of
from dispatcher.members.consent import SALT_OCTETS, note_erased
from dispatcher.members.job import EditJob, close_jobs, put_job_row
from dispatcher.members.member import MSISDN, clear_slot
from dispatcher.members.msisdn import normalise
from dispatcher.members.suppression import drop_signature_stops
from dispatcher.records.batches import batches_of
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_member_id
from dispatcher.store.blocks import next_member_no
from dispatcher.store.columns import COMMIT_OCTETS, fold_block, read_member
from dispatcher.store.erased import salt_of
from dispatcher.store.ids import next_id
from dispatcher.store.layout import (
    BLOCK,
    CONSENT_GROUPS,
    COUPON_KEY,
    DELTA_KEY,
    OPTOUT_GROUPS,
    OPTOUT_KEY,
    POINTS_KEY,
    TENANT,
    TENANT_U64,
    U64,
    U64_U32,
)
from dispatcher.store.replies import REPLY
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.senders import users_of
from dispatcher.tenants.tenant import need_tenant

KIND = "erase"
CHANGED_A_SLICE = 400  # rows, a page each at worst
LOOKED_AT_A_SLICE = 5_000  # some 20 ms, which a claim may have to wait
OCTETS_A_SLICE = 1 << 20
Rows = Iterator[tuple[bytes, bytes]]


def erase_member(view: View, command: EraseMember, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Nobody finds or reaches the member any more; `job` goes through what was written about them."""
    tenant, member_no = need_tenant(view, envelope.tenant).number, command.member_no
    held = read_member(view, tenant, member_no, [MSISDN]) if 0 <= member_no < 1 << 32 else None
    if held is None:
        raise gone(view, tenant, member_no)
    if not salt_of(view, tenant) and len(command.salt) != SALT_OCTETS:
        raise CommandRefused(422, "invalid_value", f"salt: {SALT_OCTETS} random octets")
    losers, _ = merges_of(view, tenant, member_no)
    own, numbers = int(held[MSISDN] or 0), numbers_of(view, tenant, member_no)
    changes = Changes()
    note_erased(changes, view, tenant, numbers, envelope.at_ms, command.salt)
    clear_slot(changes, view, tenant, member_no)
    for number in numbers:
        key = TENANT_U64.pack(tenant, number)
        if number == own:
            changes.delete("phones", key)
        else:
            changes.delete("merges", key)
        changes.delete("suppressions", key)
        for plane in OPTOUT_GROUPS.values():
            changes.delete("optouts", OPTOUT_KEY.pack(tenant, number, plane))
        for plane in CONSENT_GROUPS.values():
            changes.delete("consents", OPTOUT_KEY.pack(tenant, number, plane))
        drop_signature_stops(view, changes, tenant, number)
    for no in (member_no, *losers):
        provenance.forget(view, changes, tenant, no)
    job = next_id(changes, view, envelope.at_ms)
    row = {
        "kind": KIND,
        "state": "applying",
        "members": [member_no, *losers],
        "numbers": numbers,
        "step": 0,
        "after": b"",
        "created_ms": envelope.at_ms,
        "updated_ms": envelope.at_ms,
    }
    put_job_row(changes, tenant, job, row)
    return changes, {"id": public_member_id(member_no), "erased": True, "job": job}


def numbers_of(view: View, tenant: int, member_no: int) -> list[int]:
    """The number of a live member and those that lead to it; nothing for anybody else."""
    held = read_member(view, tenant, member_no, [MSISDN]) if 0 <= member_no < 1 << 32 else None
    if held is None:
        return []
    aliases = merges_of(view, tenant, member_no)[1]
    own = int(held[MSISDN] or 0)
    return [own, *aliases] if own else aliases


class EraseJob(EditJob):
    """What is left of an erasure; has the face of an ImportJob for whoever drives it."""

    def next_slice(self, view: View, now_ms: int) -> Changes | None:
        """The next rows to rewrite, in the transaction of `view`; None: done, or something must expire first."""
        key = TENANT_U64.pack(self.tenant, self.import_id)
        held = view.get("imports", key)
        if held is None:
            self.finished = True
            return None
        row = unpack(held)
        if folded := _fold_theirs(view, self.tenant, row["members"]):
            return folded
        region = need_tenant(view, self.tenant).region
        who = _Who(self.tenant, frozenset(row["members"]), frozenset(row["numbers"]), region, now_ms)
        changes, step = Changes(), _STEPS[row["step"]]
        looked_at = written = 0
        for place, octets in step.rows(view, who, row["after"]):
            fresh = step.clean(place, octets, who)
            row["after"] = place
            looked_at += step.weight
            if fresh is _WAIT:
                row["waits"] = True
            elif fresh is not _AS_IT_IS:
                changes.rows[step.table, place] = fresh
                written += len(fresh or b"")
            full = len(changes.rows) >= CHANGED_A_SLICE or written >= OCTETS_A_SLICE
            if full or looked_at >= LOOKED_AT_A_SLICE:
                break
        else:
            row |= {"step": row["step"] + 1, "after": b""}
        if row["step"] == len(_STEPS):
            if row.pop("waits", False):
                row["step"] = len(_STEPS) - 1
                return None  # as it was: asked again in a minute, and at a start
            changes.delete("imports", key)
            close_jobs(changes, [(self.tenant, self.import_id)])
            return changes
        row["updated_ms"] = now_ms
        put_job_row(changes, self.tenant, self.import_id, row)
        return changes


def _fold_theirs(view: View, tenant: int, members: list[int]) -> Changes:
    """Their slots' point updates, which say that all is gone, into the blocks that still have it."""
    changes, no = Changes(), next_member_no(view, tenant)
    for member_no in members:
        block, slot = divmod(member_no, BLOCK)
        if view.get("delta", DELTA_KEY.pack(tenant, block, slot)) is not None:
            fold_block(view, tenant, block, changes, next_no=no, max_octets=COMMIT_OCTETS)
            break  # the others in their own slices
    return changes


@dataclass(frozen=True, slots=True)
class _Who:
    tenant: int
    members: frozenset[int]
    numbers: frozenset[int]
    region: str
    now_ms: int

    def is_theirs(self, text: Any) -> bool:
        """Whether a text is one of the numbers, as written by a person or an SMSC."""
        if not isinstance(text, str) or not 6 <= sum(map(str.isdigit, text)) <= 18:
            return False
        digits = text.strip().lstrip("+")
        if digits.isascii() and digits.isdigit() and int(digits) in self.numbers:
            return True
        return normalise(text, self.region) in self.numbers


@dataclass(frozen=True, slots=True)
class _Step:
    """One table: which rows may speak of them, and what a row becomes (None: nothing of it stays)."""

    table: str
    rows: Callable[[View, _Who, bytes], Rows]
    clean: Callable[[bytes, bytes, _Who], bytes | None]  # of key and value
    weight: int = 1  # what looking at one row costs, in those of a few microseconds


_AS_IT_IS, _WAIT = b"as it is", b"not yet"  # answers of clean that are no rows
_ALONE = b"no head"  # in place of a head: its set was being erased when a slice ended


def _after(view: View, table: str, prefixes: list[bytes], after: bytes) -> Rows:
    """Rows under ascending prefixes, past `after`."""
    for prefix in prefixes:
        if after < prefix or after.startswith(prefix):
            yield from view.range(table, prefix, after=after if after > prefix else None)


def _history(view: View, who: _Who, after: bytes) -> Rows:
    return _after(view, "optout_history", [TENANT_U64.pack(who.tenant, n) for n in sorted(who.numbers)], after)


def _entries(view: View, who: _Who, after: bytes) -> Rows:
    prefixes = [POINTS_KEY.pack(who.tenant, no, 0)[:-8] for no in sorted(who.members)]
    return _after(view, "points_entries", prefixes, after)


def _merges(view: View, who: _Who, after: bytes) -> Rows:
    for no in sorted(who.members):
        key = MERGE_KEY.pack(who.tenant, no)
        if key > after and (row := view.get("merges", key)) is not None:
            yield key, row


def _undo(view: View, who: _Who, after: bytes) -> Rows:
    blocks = sorted({no // BLOCK for no in who.members})
    imports = [TENANT_U64.unpack(key)[1] for key, _ in view.range("imports", TENANT.pack(who.tenant))]
    prefixes = [U64_U32.pack(import_id, block) for import_id in imports for block in blocks]
    return _after(view, "import_undo", prefixes, after)


def _rejects(view: View, who: _Who, after: bytes) -> Rows:
    imports = [TENANT_U64.unpack(key)[1] for key, _ in view.range("imports", TENANT.pack(who.tenant))]
    return _after(view, "import_rejects", [U64.pack(import_id) for import_id in imports], after)


def _inbound(view: View, who: _Who, after: bytes) -> Rows:
    return _after(view, "inbound", [TENANT.pack(who.tenant)], after)


def _replies(view: View, who: _Who, after: bytes) -> Rows:
    return _after(view, "replies", [TENANT.pack(who.tenant)], after)


def _requests(view: View, who: _Who, after: bytes) -> Rows:
    return _after(view, "requests", [TENANT.pack(who.tenant)], after)


def _waiting_parts(view: View, who: _Who, after: bytes) -> Rows:
    """Each part of a long message with the head of its set, by which clean knows whose it is; none where the head went
    in an earlier slice. What was written to another tenant is that one's."""
    for key, _ in view.range("mo_parts", after=after or None):
        octets = view.get("mo_parts", key[:-1] + b"\0")
        users = users_of(view, unpack(octets)["to"]) if octets is not None else []
        yield key, b"" if users and who.tenant not in users else octets or _ALONE


def _coupons(view: View, who: _Who, after: bytes) -> Rows:
    for key, _ in view.range("coupon_pools", TENANT.pack(who.tenant)):
        for no in sorted(who.members):
            place = COUPON_KEY.pack(*TENANT_U64.unpack(key), no)
            if place > after and (row := view.get("coupons", place)) is not None:
                yield place, row


def _redemptions(view: View, who: _Who, after: bytes) -> Rows:
    """What their coupons lead to, step by step back."""
    found = dict[bytes, bytes]()
    for _, octets in _coupons(view, who, b""):
        wanted = [U64.unpack(octets)[0]]
        while wanted:
            key = TENANT_U64.pack(who.tenant, wanted.pop())
            if key not in found and (row := view.get("redemptions", key)) is not None:
                found[key] = row
                wanted += unpack(row)["before"].values()
    for key in sorted(found):
        if key > after:
            yield key, found[key]


def _redeemed(view: View, who: _Who, after: bytes) -> Rows:
    for key, _ in _redemptions(view, who, after):
        if (row := view.get("redeemed", key)) is not None:
            yield key, row


def _outbox(view: View, who: _Who, after: bytes) -> Rows:
    return _after(view, "outbox", [U64.pack(batch) for batch in batches_of(who.tenant)], after)


def _drop(place: bytes, octets: bytes, who: _Who) -> None:
    return None


def _without(*names: str) -> Callable[[bytes, bytes, _Who], bytes]:
    def clean(place: bytes, octets: bytes, who: _Who) -> bytes:
        row = unpack(octets)
        emptied = {name: type(row[name])() for name in names if row.get(name)}
        return pack({**row, **emptied}) if emptied else _AS_IT_IS

    return clean


def _clean_undo(place: bytes, octets: bytes, who: _Who) -> bytes:
    """Of members who were made only seals are kept, which say nothing."""
    block, record = import_undo.UNDO_KEY.unpack(place)[1], import_undo.unpack_record(octets)
    kept = [at for at, slot in enumerate(record.slots) if block * BLOCK + slot not in who.members]
    other = [row for row in record.other if not _is_source_of(row[0], row[1], who)]
    if len(kept) == len(record.slots) and len(other) == len(record.other):
        return _AS_IT_IS
    record.other = other
    record.slots = array("H", [record.slots[at] for at in kept])
    record.seals = [record.seals[at] for at in kept]
    record.before = [record.before[at] for at in kept]
    return record.pack()


def _is_source_of(table: str, key: bytes, who: _Who) -> bool:
    return table == "provenance" and provenance.PROVENANCE_KEY.unpack(key)[1] in who.members


def _clean_reject(place: bytes, octets: bytes, who: _Who) -> bytes:
    row = unpack(octets)
    return pack({**row, "value": ""}) if who.is_theirs(row.get("value")) else _AS_IT_IS


def _clean_inbound(place: bytes, octets: bytes, who: _Who) -> bytes:
    row = unpack(octets)
    if not who.is_theirs(row["from"]):
        return _AS_IT_IS
    return pack({**row, "from": "", "text": None, "octets": b"", "seal": b"", "erased": True})


def _clean_part(place: bytes, octets: bytes, who: _Who) -> bytes | None:
    theirs = octets == _ALONE or (octets and who.is_theirs(unpack(octets)["from"]))
    return None if theirs else _AS_IT_IS


def _clean_reply(place: bytes, octets: bytes, who: _Who) -> bytes | None:
    return None if REPLY.unpack(octets)[1] in who.members else _AS_IT_IS


def _clean_request(place: bytes, octets: bytes, who: _Who) -> bytes | None:
    """An answer kept for its Idempotency-Key: a merge's tells values and numbers, a coupon's whose a code is."""
    row = unpack(octets)
    reply, ids = row["reply"], {public_member_id(no) for no in who.members}
    if reply.get("code") and reply.get("member") in ids:
        return None  # asked again it is done again, and nobody has the code
    if "conflicts" not in reply or not ids & {reply.get("id"), reply.get("merged")}:
        return _AS_IT_IS
    return pack({**row, "reply": {**reply, "conflicts": [], "msisdn": None, "alias": None}})


_NOBODYS: dict[str, Any] = {"member_no": None, "sent_to": None, "reference": "", "reason": "", "key": "", "before": {}}


def _clean_redemption(place: bytes, octets: bytes, who: _Who) -> bytes:
    row = unpack(octets)
    if row["member_no"] not in who.members:
        return _AS_IT_IS
    undone = row["undone"] and {**row["undone"], "reason": ""}
    return pack({**row, **_NOBODYS, "undone": undone})


def _clean_outbox(place: bytes, octets: bytes, who: _Who) -> bytes:
    row = unpack(octets)
    if row["to"] not in who.numbers:
        return _AS_IT_IS
    if row["expiry_ms"] > who.now_ms:
        return _WAIT
    return pack({**row, "to": 0, "text": "", **({"ref": ""} if "ref" in row else {})})


_STEPS = (
    _Step("optout_history", _history, _drop),
    _Step("points_entries", _entries, _without("reason", "key")),
    _Step("merges", _merges, _without("conflicts", "undo")),
    _Step("import_undo", _undo, _clean_undo, weight=200),
    _Step("import_rejects", _rejects, _clean_reject),
    _Step("inbound", _inbound, _clean_inbound),
    _Step("replies", _replies, _clean_reply),
    _Step("requests", _requests, _clean_request),
    _Step("mo_parts", _waiting_parts, _clean_part),
    _Step("redeemed", _redeemed, _drop, weight=10),
    _Step("redemptions", _redemptions, _clean_redemption, weight=10),
    _Step("coupons", _coupons, _drop),  # by which the two before are found
    _Step("outbox", _outbox, _clean_outbox),  # last: its rows may have to wait
)
