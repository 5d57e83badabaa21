"""Numbers that nobody may send to: the operator's list for all tenants, a tenant's own, and one for a signature.

Touches: rows of `suppressions`, `suppression_hashes` and `signature_stops`, and through the delta the plane SUPPRESSED
of the members concerned; a signature's list has no plane, campaigns/guards.py reads it.

A list may come as hashes (SHA-256 of the digits), so that whoever gives it does not tell the numbers. Members that one
means are found by hashing every number, which takes some 2 us each: whoever asks does that first on a snapshot
(`hashed_members`) and brings what it found; the handler checks that and hashes only who has become a member since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from dispatcher.control.commands import AddSuppression, Envelope, ImportSuppressions, RemoveSuppression
from dispatcher.errors import CommandRefused
from dispatcher.members.consent import MSISDN, OPERATOR, suppressed
from dispatcher.members.msisdn import Unparsed, normalise
from dispatcher.records.changes import Changes, View
from dispatcher.store.after import After
from dispatcher.store.columns import (
    FLAGS,
    next_member_no,
    number_slot,
    open_block,
    plane_entry,
    put_delta,
    read_member,
)
from dispatcher.store.hashed import digits_hash
from dispatcher.store.layout import BLOCK, PLANE_SUPPRESSED, TENANT, TENANT_U64, U64
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import need_tenant, tenant_numbers

NUMBERS_MAX = 5_000  # of one command: a row and a delta row each, well inside one commit
SIGNATURE_OCTETS = 8
_VERSION = b"signature_stops"


def add_suppression(view: View, command: AddSuppression, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Envelope.tenant 0: for every tenant. All the numbers or, when one is wrong, none."""
    wanted = ImportSuppressions(numbers=command.numbers, why=command.why, signature=command.signature)
    return import_suppressions(view, wanted, envelope)


def remove_suppression(view: View, command: RemoveSuppression, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    wanted = ImportSuppressions(numbers=command.numbers, signature=command.signature, remove=True)
    return import_suppressions(view, wanted, envelope)


def import_suppressions(view: View, command: ImportSuppressions, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Numbers and hashes into, or out of, one scope: the operator's (envelope.tenant 0), a tenant's, a signature's.

    A number is taken out also where it came as its hash. All or, when one is wrong, none. Raises CommandRefused 404,
    422.
    """
    if not 1 <= len(command.numbers) + len(command.hashes) <= NUMBERS_MAX:
        got = len(command.numbers) + len(command.hashes)
        raise CommandRefused(422, "invalid_value", f"numbers: 1 to {NUMBERS_MAX} of them, got {got}")
    numbers = _numbers(view, command.numbers, envelope.tenant)
    hashes = _hashes(command.hashes)
    if command.signature and (hashes or envelope.tenant == OPERATOR):
        detail = "a signature's list is a tenant's and has numbers, no hashes"
        raise CommandRefused(422, "invalid_value", detail, errors=[_error("/signature", "invalid_value", detail)])
    changes, done, row = Changes(), 0, pack({"at_ms": envelope.at_ms, "reason": command.why})
    places = list(_places(command, TENANT.pack(envelope.tenant), numbers, hashes))
    for of_one in places:
        there = [place for place in of_one if view.get(*place) is not None]
        if command.remove:
            for place in there:
                changes.delete(*place)
        elif not there:
            changes.put(*of_one[0], row)
        done += bool(there) is command.remove
    if command.signature:
        _raise_version(changes, view, envelope.tenant)
    else:
        met = [(tenant, number) for number in numbers for tenant in _tenants(view, envelope.tenant)]
        met += _members_of(view, hashes, command, envelope.tenant)
        for tenant, number in met:
            _mark(changes, view, tenant, number)
    words = ("removed", "absent") if command.remove else ("added", "already")
    return changes, {words[0]: done, words[1]: len(places) - done}


def _places(
    command: ImportSuppressions, scope: bytes, numbers: list[int], hashes: list[bytes]
) -> Iterator[list[tuple[str, bytes]]]:
    """Of each that a command names the rows (table, key) that it may have; the first is the one to write."""
    yield from ([("suppression_hashes", scope + digest)] for digest in hashes)
    for number in numbers:
        if command.signature:
            yield [("signature_stops", scope + signature_key(command.signature) + U64.pack(number))]
        elif command.remove:
            by_hash = ("suppression_hashes", scope + digits_hash(number))
            yield [("suppressions", scope + U64.pack(number)), by_hash]
        else:
            yield [("suppressions", scope + U64.pack(number))]


def reach(view: View, command: AddSuppression | ImportSuppressions, by: int) -> Iterator[tuple[int, int]]:
    """Every (tenant, number) that may get nothing more at all since this command."""
    if command.signature or getattr(command, "remove", False):
        return
    for number in _numbers(view, command.numbers, by):
        for tenant in _tenants(view, by):
            yield tenant, number
    for tenant, member_no in getattr(command, "members", ()):
        held = read_member(view, tenant, member_no, [MSISDN])
        if held and held[MSISDN] and suppressed(view, tenant, int(held[MSISDN] or 0)):
            yield tenant, int(held[MSISDN] or 0)


def check(view: View, tenant: int, texts: list[str]) -> list[dict[str, Any]]:
    """Of each number, the lists that it stands on: {number, suppressed, lists: [operator, tenant, hash, erased]}."""
    found = []
    for number in _numbers(view, texts, tenant):
        owners = {"operator": OPERATOR, "tenant": tenant}
        lists = [word for word, by in owners.items() if view.get("suppressions", TENANT_U64.pack(by, number))]
        digest = digits_hash(number)
        if any(view.get("suppression_hashes", TENANT.pack(by) + digest) for by in owners.values()):
            lists.append("hash")
        barred = suppressed(view, tenant, number)
        if barred and not lists:
            lists.append("erased")
        lists += [f"signature {one}" for one in _signatures_of(view, tenant, number)]
        found.append({"number": f"+{number}", "suppressed": barred, "lists": lists})
    return found


def listed(
    view: View, tenant: int, after: int | None = None, limit: int = 50, *, signature: str = ""
) -> list[dict[str, Any]]:
    """One scope's numbers, ascending: {number, at_ms, reason}; with a signature those of its list alone."""
    table, prefix = "suppressions", TENANT.pack(tenant)
    if signature:
        table, prefix = "signature_stops", prefix + signature_key(signature)
    rows = view.range(table, prefix, after=None if after is None else prefix + U64.pack(after))
    return [
        {"number": U64.unpack(key[len(prefix) :])[0], "reason": "", **unpack(row)} for key, row in islice(rows, limit)
    ]


def found_by_hash(view: View, by: int, hashes: list[str]) -> dict[str, Any]:
    """`members` and `upto` of an ImportSuppressions with these hashes: all members are hashed, so on a snapshot.

    Raises CommandRefused 422.
    """
    wanted, members, upto = _hashes(hashes), list[list[int]](), dict[str, int]()
    for tenant in _tenants(view, by):
        members += [[tenant, member_no] for _, member_no in hashed_members(view, tenant, wanted)]
        upto[str(tenant)] = next_member_no(view, tenant)
    return {"members": members, "upto": upto}


def hashed_members(view: View, tenant: int, hashes: Iterable[bytes], first_no: int = 0) -> Iterator[tuple[bytes, int]]:
    """(hash, member_no) of the tenant's members from `first_no` on whose number's hash is one of these."""
    wanted, last = frozenset(hashes), next_member_no(view, tenant)
    for block in range(first_no // BLOCK, -(-last // BLOCK)):
        numbers = open_block(view, tenant, block, [MSISDN]).array(*MSISDN[:2]).cast("Q")
        for slot, number in enumerate(numbers):
            if number and block * BLOCK + slot >= first_no and (digest := digits_hash(number)) in wanted:
                yield digest, block * BLOCK + slot


# ---- a signature's list


def signature_key(signature: str) -> bytes:
    """Of table signature_stops: by the text, as it stands between the brackets."""
    return hashlib.sha256(signature.encode()).digest()[:SIGNATURE_OCTETS]


def signature_numbers(view: View, tenant: int, signature: str) -> list[int]:
    """Numbers that get nothing under this signature."""
    prefix = TENANT.pack(tenant) + signature_key(signature)
    return [int.from_bytes(key[len(prefix) :]) for key, _ in view.range("signature_stops", prefix)]


def signatures_version(view: View, tenant: int) -> bytes:
    """Another one after each change of any signature's list."""
    return view.get("meta", _VERSION + TENANT.pack(tenant)) or b""


def drop_signature_stops(view: View, changes: Changes, tenant: int, number: int) -> None:
    """An erased number leaves every signature's list; it is suppressed altogether."""
    for key in _signature_rows(view, tenant, number):
        changes.delete("signature_stops", key)


def _signature_rows(view: View, tenant: int, number: int) -> Iterator[bytes]:
    """A number's rows, by skipping from signature to signature."""
    prefix = TENANT.pack(tenant)
    after: bytes | None = None
    while (key := next((key for key, _ in view.range("signature_stops", prefix, after=after)), None)) is not None:
        mine = key[: TENANT.size + SIGNATURE_OCTETS]
        if view.get("signature_stops", mine + U64.pack(number)) is not None:
            yield mine + U64.pack(number)
        after = mine + b"\xff" * U64.size


def _signatures_of(view: View, tenant: int, number: int) -> list[str]:
    known = {signature_key(text): text for text in _signatures(view, tenant)}
    rows = _signature_rows(view, tenant, number)
    found = [key[TENANT.size : TENANT.size + SIGNATURE_OCTETS] for key in rows]
    return [known.get(key, key.hex()) for key in found]


def _signatures(view: View, tenant: int) -> Iterator[str]:
    yield need_tenant(view, tenant).signature if tenant else ""
    for key, _ in view.range("signatures", TENANT.pack(tenant)):
        yield key[TENANT.size :].decode()


def _raise_version(changes: Changes, view: View, tenant: int) -> None:
    version = int.from_bytes(signatures_version(view, tenant), "little") + 1
    changes.put("meta", _VERSION + TENANT.pack(tenant), version.to_bytes(8, "little"))


# ---- numbers, hashes, members


def _numbers(view: View, texts: list[str], tenant: int) -> list[int]:
    region = need_tenant(view, tenant).region if tenant != OPERATOR else ""
    if len(texts) > NUMBERS_MAX:
        raise CommandRefused(422, "invalid_value", f"numbers: 1 to {NUMBERS_MAX} of them, got {len(texts)}")
    errors, numbers = [], dict[int, None]()
    for i, text in enumerate(texts):
        number = normalise(text, region)
        if isinstance(number, Unparsed):
            detail = f"numbers {text[:40]!r}: {number.reason.replace('_', ' ')}"
            errors.append(_error(f"/numbers/{i}", number.reason, detail))
        else:
            numbers[number] = None
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    return list(numbers)


def _hashes(texts: list[str]) -> list[bytes]:
    errors, hashes = [], dict[bytes, None]()
    for i, text in enumerate(texts):
        try:
            digest = bytes.fromhex(text)
        except ValueError:
            digest = b""
        if len(digest) != 32:
            detail = f"hashes {text[:80]!r}: the SHA-256 of the digits, 64 hexadecimal digits"
            errors.append(_error(f"/hashes/{i}", "invalid_hash", detail))
        hashes[digest] = None
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    return list(hashes)


def _members_of(view: View, hashes: list[bytes], command: ImportSuppressions, by: int) -> Iterator[tuple[int, int]]:
    """(tenant, number) of the members that hashes mean: those brought, checked, and who is new since."""
    if not hashes:
        return
    wanted = frozenset(hashes)
    for tenant, member_no in command.members:
        held = read_member(view, tenant, member_no, [MSISDN]) if tenant in _tenants(view, by) else None
        number = int(held[MSISDN] or 0) if held else 0
        if number and digits_hash(number) in wanted:
            yield tenant, number
    for tenant in _tenants(view, by):
        for _, member_no in hashed_members(view, tenant, wanted, command.upto.get(str(tenant), 0)):
            held = read_member(view, tenant, member_no, [MSISDN])
            if number := int(held[MSISDN] or 0) if held else 0:
                yield tenant, number


def _tenants(view: View, by: int) -> list[int]:
    return [by] if by != OPERATOR else tenant_numbers(view)


def _mark(changes: Changes, view: View, tenant: int, number: int) -> None:
    """The plane as the lists say once `changes` are in."""
    member_no = number_slot(view, tenant, number)
    if member_no is not None:
        on = suppressed(After(view, changes), tenant, number)
        put_delta(changes, view, tenant, member_no, {FLAGS: plane_entry({PLANE_SUPPRESSED: on})})


def _error(pointer: str, code: str, detail: str) -> dict[str, Any]:
    return {"pointer": pointer, "code": code, "detail": detail}


__all__ = ["add_suppression", "import_suppressions", "remove_suppression", "suppressed"]
