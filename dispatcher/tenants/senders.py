"""Who sends under which address, so that what a phone writes back to it is known to be theirs.

Touches: the meta rows `sender`. A tenant's own sender of now stands in its row; here is all that it sent under: its
own, a campaign's, a single message's. Nothing is taken out, for an answer may come years later.

    meta: "sender" address -> {tenants: [number, ...]}, in the order in which they came to use it
"""

from __future__ import annotations

from dispatcher.records.changes import Changes, View
from dispatcher.store.after import After
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import Tenant

_PREFIX = b"sender"


def note_sender(view: View, changes: Changes, tenant: int, sender: str) -> None:
    """It sends under this address from now on. Writes nothing where that is known."""
    if not sender:
        return
    row = After(view, changes).get("meta", _key(sender))
    tenants = unpack(row)["tenants"] if row else []
    if tenant not in tenants:
        changes.put("meta", _key(sender), pack({"tenants": [*tenants, tenant]}))


def users_of(view: View, tenants: list[Tenant], address: str) -> list[Tenant]:
    """Of these tenants those that send, or sent, under an address: those whose own it is first."""
    row = view.get("meta", _key(address))
    others = unpack(bytes(row))["tenants"] if row else ()
    own = [one for one in tenants if one.sender and _plain(one.sender) == _plain(address)]
    return own + [one for one in tenants if one.number in others and one not in own]


def _key(address: str) -> bytes:
    return _PREFIX + _plain(address).encode()


def _plain(address: str) -> str:
    """Carriers put a plus sign before a number, or leave it out."""
    return address.removeprefix("+")
