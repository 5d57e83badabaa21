"""Numbers of erased members, kept as salted hashes: what a number's row is called, and whether there is one.

Touches: rows of `erased_numbers`, and `erased_salt` in the tenant's row, read-only.
Weak spot: numbers are few, so whoever has the store with its salt can find one out by trying all; the hash hides them
from readers and from exports, not from a thief who counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from dispatcher.records.changes import View
from dispatcher.store.layout import TENANT, U64
from dispatcher.store.values import unpack


def erased_key(tenant: int, salt: bytes, number: int) -> bytes:
    """The key in `erased_numbers`: the tenant and 32 octets of hash."""
    return TENANT.pack(tenant) + hashlib.sha256(salt + U64.pack(number)).digest()


def salt_of(view: View, tenant: int) -> bytes:
    """The tenant's salt, b"" before its first erasure."""
    row = view.get("tenants", TENANT.pack(tenant))
    return bytes(unpack(row).get("erased_salt") or b"") if row else b""


def erased_among(view: View, tenant: int, numbers: Sequence[int]) -> set[int]:
    """Those of `numbers` that were erased. One look-up where nobody ever was; else some 1.5 us a number."""
    salt = salt_of(view, tenant)
    if not salt:
        return set()
    return {number for number in numbers if view.get("erased_numbers", erased_key(tenant, salt, number)) is not None}
