"""Who did what, when and why: a log in which each entry seals the one before, so that a change of the past is seen.

Touches: table `audit` and meta row `audit`, through views and Changes.

    audit: seq:8 (from 1, no gaps) -> msgpack {actor, command, reason, tenant, at_ms, object, edits, seal:32}
      seal = sha256(seal before, key, every octet of the row before the seal itself): the row's last 32 octets
    meta `audit` -> msgpack {seq, seal} of the newest entry: without it, cutting off the end would not show

Entries of earlier versions have no seal. The first sealed one counts them (`unsealed`) and begins its chain with
the sha256 of all their keys and rows, so that they are held from then on too.
Weak spot: no secret is in it. Whoever can write the file can seal all of it anew; what shows that is a seal noted
elsewhere before: `volley audit check` prints the newest, a backup's manifest keeps it, `--expect` compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store.layout import U64
from dispatcher.store.problem import Problem
from dispatcher.store.values import pack, unpack

SEAL_OCTETS = 32
HEAD = b"audit"
_TAIL = b"\xa4seal\xc4\x20"  # msgpack: the key `seal`, and that 32 octets follow
LOOKED_AT_ONCE = 10_000  # entries a page may pass over in search of one tenant's: below 100 ms

# whose rows an edit is told of, before and after; members' never, for an audit is not erased with them
_EDITED = {
    "tenants": "ten", "keys": "key", "fields": "fld", "segments": "seg", "campaigns": "cmp", "coupon_pools": "cpl",
}  # fmt: skip
_EDITING = tuple(f"{room}." for room in ("tenant", "key", "field", "segment", "campaign", "coupon_pool"))
_NOT_TOLD = {
    "version", "history", "preview", "outdated", "changed_ms", "next_member_no", "ref_seed", "log_base", "started_ms",
}  # fmt: skip
# what an entry tells of the answer, where rows would not say it
_ANSWERED = {
    "uncertain.decide": ("decision", "decided", "parts"),
    "campaign.stop_all": ("paused", "campaigns"),
    "campaign.release": ("resumed", "campaigns"),
    "money.top_up": ("micros", "balance"),
    "prices.set": ("prices",),
    "coupon.issue": ("member", "pool"),
    "coupon.redeem": ("pool", "state"),
    "coupon.void": ("pool", "state"),
    "coupon.undo": ("pool", "kind"),
}
EDITS_MAX = 32  # objects of one command: a field's new name may reach into many segments
TEXT_MAX = 500  # characters of a value; longer ones are cut


@dataclass(frozen=True, slots=True)
class Chain:
    """What a walk through the whole log found."""

    entries: int
    unsealed: int
    seq: int  # of the newest entry
    seal: bytes  # of the newest; b"" where none is sealed
    broken: tuple[int, str] | None = None  # the first entry that does not hold, and why


def append(view: View, changes: Changes, line: dict[str, Any]) -> int:
    """Put the next entry into `changes`, one a Changes; its number. `line` is what pack() takes, without `seal`."""
    newest = next(iter(view.range("audit", reverse=True)), None)
    number = 1 if newest is None else U64.unpack(newest[0])[0] + 1
    before = None if newest is None else _seal_of(newest[1])
    if before is None:
        count, before = _unsealed(view)
        line = {**line, "unsealed": count}
    key = U64.pack(number)
    body = pack({**line, "seal": bytes(SEAL_OCTETS)})[:-SEAL_OCTETS]
    seal = _sealed(before, key, body)
    changes.put("audit", key, body + seal)
    changes.put("meta", HEAD, pack({"seq": number, "seal": seal}))
    return number


def note(
    view: View,
    changes: Changes,
    actor: str,
    command: str,
    tenant: int,
    at_ms: int,
    object_: str,
    reason: str = "",
    **more: Any,
) -> None:
    """The entry of what a part of the program does by itself: `changes` are told as those of a command are."""
    line = {"actor": actor, "command": command, "reason": reason, "tenant": tenant, "at_ms": at_ms, "object": object_}
    if told := edits(view, changes, command):
        line["edits"] = told
    append(view, changes, {**line, **more})


def check(view: View) -> Chain:
    """Walk the log from its first entry to the first that does not hold. Some 5 us an entry."""
    number, unsealed = 0, 0
    digest = hashlib.sha256()
    seal: bytes | None = None
    for key, value in view.range("audit"):
        number += 1
        if key != U64.pack(number):
            return Chain(number - 1, unsealed, number - 1, seal or b"", (number, f"not there; next is {_number(key)}"))
        found = _seal_of(value)
        if found is None:
            if seal is not None:
                return Chain(number, unsealed, number, seal, (number, "has no seal, and the one before has"))
            _take(digest, key, value)
            unsealed += 1
            continue
        before = digest.digest() if seal is None else seal
        if found != _sealed(before, key, value[:-SEAL_OCTETS]):
            return Chain(
                number, unsealed, number, found, (number, "its seal does not fit its words and the seal before")
            )
        seal = found
    return Chain(number, unsealed, number, seal or b"", _end_of(head(view), number, seal))


def audit_is_sealed(view: View) -> Iterator[Problem]:
    """Every entry seals the one before, none is missing, and the newest is the one noted."""
    if (broken := check(view).broken) is not None:
        yield Problem("audit_is_sealed", f"entry {broken[0]}", broken[1])


def head(view: View) -> dict[str, Any] | None:
    """{seq, seal} of the newest entry, as noted; None in a log without seals."""
    row = view.get("meta", HEAD)
    return unpack(row) if row else None


def entry(view: View, number: int) -> dict[str, Any] | None:
    row = view.get("audit", U64.pack(number))
    return None if row is None else unpack(row)


def newest_first(
    view: View, *, tenant: int | None = None, command: str = "", before: int | None = None, limit: int = 50
) -> tuple[list[tuple[int, dict[str, Any]]], int | None]:
    """Up to `limit` (number, entry) of a tenant (None: of all) and of commands that begin with `command`, and the
    number to go on before, None at the end. Passes over LOOKED_AT_ONCE at most: a page may be short, or empty."""
    found: list[tuple[int, dict[str, Any]]] = []
    number = before or 0
    after = None if before is None else U64.pack(before)
    for looked, (key, value) in enumerate(view.range("audit", after=after, reverse=True)):
        if len(found) == limit or looked == LOOKED_AT_ONCE:
            return found, number
        number = _number(key)
        row = unpack(value)
        if tenant in (None, row["tenant"]) and row["command"].startswith(command):
            found.append((number, row))
    return found, None


def audit_json(number: int, row: dict[str, Any]) -> dict[str, Any]:
    """An entry as people and programs see it; what later versions add to a row is shown too."""
    known = {"actor", "command", "reason", "tenant", "at_ms", "object", "edits", "seal"}
    return {
        "seq": number,
        "at_ms": row["at_ms"],
        "actor": row["actor"],
        "command": row["command"],
        "tenant": public_id("ten", row["tenant"]) if row["tenant"] else None,
        "reason": row["reason"],
        "object": row.get("object"),
        "edits": row.get("edits", []),
        "more": {name: value for name, value in row.items() if name not in known},
        "seal": row["seal"].hex() if "seal" in row else None,
    }


def edits(view: View, changes: Changes, command: str) -> list[dict[str, Any]]:
    """What `changes` makes of things that are there already: [{object, before, after}] with the values that differ;
    `after` None: it goes. Only of the small rows of commands that edit such things."""
    told: list[dict[str, Any]] = []
    if not command.startswith(_EDITING):
        return told
    for (table, key), value in changes.rows.items():
        old = view.get(table, key) if table in _EDITED and len(told) < EDITS_MAX else None
        if old is None:
            continue
        before = _told(unpack(old))
        after = None if value is None else _told(unpack(bytes(value)))
        names = [name for name in before if after is None or before[name] != after.get(name)]
        names += [name for name in after or () if name not in before]
        if names:
            told.append(
                {
                    "object": public_id(_EDITED[table], _id_of(table, key, unpack(old))),
                    "before": {name: _short(before[name]) for name in names if name in before},
                    "after": None if after is None else {name: _short(after[name]) for name in names if name in after},
                }
            )
    return told


def answered(command: str, reply: dict[str, Any]) -> dict[str, Any]:
    """What of a command's answer its entry tells."""
    return {name: _short(reply[name]) for name in _ANSWERED.get(command, ()) if name in reply}


def _end_of(noted: dict[str, Any] | None, number: int, seal: bytes | None) -> tuple[int, str] | None:
    """What is wrong with a log that ends with this entry, by what is noted of its newest."""
    if noted is None:
        return None if seal is None else (number, "is sealed, and no newest entry is noted")
    if noted["seq"] > number:
        return number + 1, f"not there; the newest noted is {noted['seq']}"
    if (noted["seq"], noted["seal"]) != (number, seal):
        return number, f"the newest noted is {noted['seq']}, with another seal"
    return None


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _NOT_TOLD and not isinstance(value, bytes)}


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= TEXT_MAX else f"{value[:TEXT_MAX]}…"
    if isinstance(value, list | tuple | dict) and len(str(value)) > TEXT_MAX:
        return f"{len(value)} entries"
    return value


def _id_of(table: str, key: bytes, row: dict[str, Any]) -> int:
    """The number in its public id: a key's stands in its row, the others' is the end of their key."""
    return int(row["id"]) if table == "keys" else int.from_bytes(key if len(key) == 2 else key[2:], "big")


def _seal_of(row: bytes) -> bytes | None:
    """An entry's seal; None for one of an earlier version."""
    sealed = row[-SEAL_OCTETS - len(_TAIL) : -SEAL_OCTETS] == _TAIL
    return row[-SEAL_OCTETS:] if sealed else None


def _sealed(before: bytes, key: bytes, body: bytes) -> bytes:
    return hashlib.sha256(b"".join((before, key, body))).digest()


def _unsealed(view: View) -> tuple[int, bytes]:
    """How many entries there are without a seal, all of them by now, and the sha256 of them."""
    digest, count = hashlib.sha256(), 0
    for key, value in view.range("audit"):
        _take(digest, key, value)
        count += 1
    return count, digest.digest()


def _take(digest: Any, key: bytes, row: bytes) -> None:
    digest.update(key + U64.pack(len(row)) + row)


def _number(key: bytes) -> int:
    return int.from_bytes(key, "big")
