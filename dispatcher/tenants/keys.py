"""API keys: who asks, for which tenant, with which rights. Kept only as the SHA-256 of the secret.

Touches: rows of `keys`.
Rests on: a secret has 256 random bits, so its plain SHA-256 cannot be searched, and a look-up by hash
tells nothing about it in its timing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Any

from dispatcher.control.commands import CreateKey, Envelope, RevokeKey
from dispatcher.errors import CommandRefused
from dispatcher.records.changes import Changes, View
from dispatcher.records.keys import public_id
from dispatcher.store.ids import next_id
from dispatcher.store.values import pack, unpack
from dispatcher.tenants.tenant import TITLE_MAX, need_tenant

_SCOPE = re.compile(r"\*|[a-z_]+:(read|write|send|approve|redeem)")


@dataclass(frozen=True, slots=True)
class Key:
    id: int
    tenant: int  # 0: the operator's
    scopes: frozenset[str]  # "*" is every right
    title: str
    created_ms: int = 0

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "*" in self.scopes


def new_secret() -> str:
    """A secret for whoever makes the key; shown once."""
    return f"vk_{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def create_key(view: View, command: CreateKey, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    if envelope.tenant and command.for_tenant != envelope.tenant:
        raise CommandRefused(403, "forbidden", "a tenant makes keys for itself only")
    if command.for_tenant:
        need_tenant(view, command.for_tenant)
    errors = [
        {"pointer": f"/scopes/{i}", "code": "unknown_scope", "detail": f"scope {scope!r}: * or such as members:read"}
        for i, scope in enumerate(command.scopes)
        if not _SCOPE.fullmatch(scope)
    ]
    if not command.scopes:
        errors.append({"pointer": "/scopes", "code": "missing", "detail": "scopes: at least one"})
    if not 1 <= len(command.title) <= TITLE_MAX:
        errors.append({"pointer": "/title", "code": "wrong_length", "detail": f"title: 1 to {TITLE_MAX} characters"})
    if len(command.secret_sha256) != 32:
        errors.append({"pointer": "/secret_sha256", "code": "wrong_length", "detail": "secret_sha256: 32 octets"})
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    if view.get("keys", command.secret_sha256) is not None:
        raise CommandRefused(409, "state_conflict", "a key with this secret exists")
    changes = Changes()
    key_id = next_id(changes, view, envelope.at_ms)
    row = {
        "id": key_id,
        "tenant": command.for_tenant,
        "scopes": sorted(set(command.scopes)),
        "title": command.title,
        "created_ms": envelope.at_ms,
        "revoked_ms": 0,
    }
    changes.put("keys", command.secret_sha256, pack(row))
    return changes, {"id": public_id("key", key_id), "tenant": command.for_tenant, "scopes": row["scopes"]}


def revoke_key(view: View, command: RevokeKey, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """From the next commit on the key opens nothing. Repeating it changes nothing."""
    for digest, octets in view.range("keys"):
        row = unpack(octets)
        if row["id"] == command.key_id and envelope.tenant in (0, row["tenant"]):
            changes = Changes()
            if not row["revoked_ms"]:
                changes.put("keys", digest, pack({**row, "revoked_ms": envelope.at_ms}))
            return changes, {"id": public_id("key", command.key_id), "revoked": True}
    raise CommandRefused(404, "not_found", f"key {public_id('key', command.key_id)} does not exist")


def find_key(view: View, secret: str) -> Key | None:
    """The key this secret opens; None when there is none or it was revoked."""
    row = view.get("keys", hash_secret(secret))
    return _live(row) if row else None


def list_keys(view: View, tenant: int) -> list[Key]:
    """A tenant's keys that are not revoked, oldest first; tenant 0: the operator's."""
    keys = [key for _, row in view.range("keys") if (key := _live(row)) and key.tenant == tenant]
    return sorted(keys, key=lambda key: key.id)


def key_titles(view: View) -> dict[str, str]:
    """Of every key there ever was, by its public id: whose doing an entry of the audit is."""
    rows = (unpack(row) for _, row in view.range("keys"))
    return {public_id("key", row["id"]): row["title"] for row in rows}


def _live(octets: bytes) -> Key | None:
    row = unpack(octets)
    if row["revoked_ms"]:
        return None
    return Key(row["id"], row["tenant"], frozenset(row["scopes"]), row["title"], row["created_ms"])
