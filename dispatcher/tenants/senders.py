"""Who sends under which address, so that what a phone writes back to it is known to be theirs.

Touches: the meta rows `sender`: all that a tenant sends under, its own, a campaign's, a single message's. Nothing is
taken out, for an answer may come years later. A look-up reads one row, however many tenants there are: every message
from a phone waits for it.

    meta: "sender" address -> {tenants: [number, ...]}, in the order in which they came to use it
"""

from __future__ import annotations

from dispatcher.records.changes import Changes, View
from dispatcher.store import Store
from dispatcher.store.after import After
from dispatcher.store.layout import TENANT
from dispatcher.store.values import pack, unpack

_PREFIX = b"sender"


def note_sender(view: View, changes: Changes, tenant: int, sender: str) -> None:
    """It sends under this address from now on. Writes nothing where that is known."""
    if not sender:
        return
    row = After(view, changes).get("meta", _key(sender))
    tenants = unpack(bytes(row))["tenants"] if row else []
    if tenant not in tenants:
        changes.put("meta", _key(sender), pack({"tenants": [*tenants, tenant]}))


def note_own_senders(store: Store) -> None:
    """At a dispatcher's start: those of tenants from a version that read every tenant instead."""
    changes = Changes()
    with store.snapshot() as view:
        for key, row in view.range("tenants"):
            note_sender(view, changes, TENANT.unpack(key)[0], unpack(row).get("sender", ""))
    if changes.rows:
        store.apply(changes)


def users_of(view: View, address: str) -> list[int]:
    """The tenants that send, or sent, under an address."""
    row = view.get("meta", _key(address))
    return list(unpack(bytes(row))["tenants"]) if row else []


def is_same(address: str, other: str) -> bool:
    """Carriers put a plus sign before a number, or leave it out."""
    return _plain(address) == _plain(other)


def _key(address: str) -> bytes:
    return _PREFIX + _plain(address).encode()


def _plain(address: str) -> str:
    return address.removeprefix("+")
