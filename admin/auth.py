"""Who asks, for which tenant, with which rights.

Touches: the request's headers and the keys table. A key is found under the sha256 of its secret, so
no secret is compared octet by octet and none is stored. Another tenant's objects are not refused but
not found: every read and command is given `Caller.tenant` and looks nowhere else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from admin.reads import Reads
from dispatcher.errors import CommandRefused
from dispatcher.records.keys import parse_public_id, public_id
from dispatcher.tenants.keys import Key, find_key
from dispatcher.tenants.tenant import get_tenant

SECRET_OCTETS_MAX = 200
_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="`vk_...`, shown once when the key was made")


@dataclass(frozen=True, slots=True)
class Caller:
    """A request's key and the tenant it acts for (0: the operator, for no tenant)."""

    key: Key
    tenant: int

    @property
    def operator(self) -> bool:
        return self.key.tenant == 0

    @property
    def actor(self) -> str:
        return public_id("key", self.key.id)


def may(*scopes: str, tenant: bool = True, operator: bool = False) -> Any:
    """A route's dependency: a Caller whose key has all `scopes`.

    tenant: the route is about one tenant, so an operator key must name it (X-Tenant).
    operator: only an operator's key may.
    """

    async def caller(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        x_tenant: Annotated[str | None, Header(description="Operator keys: the tenant to act for, `ten_...`")] = None,
    ) -> Caller:
        reads: Reads = request.app.state.reads
        secret = credentials.credentials if credentials else ""
        key = reads.now(find_key, secret) if 0 < len(secret) <= SECRET_OCTETS_MAX else None
        if key is None:
            raise CommandRefused(401, "key_invalid", "send a valid key: Authorization: Bearer vk_...")
        if operator and key.tenant != 0:
            raise CommandRefused(403, "operator_only", "this needs an operator's key")
        missing = [scope for scope in scopes if not key.may(scope)]
        if missing:
            raise CommandRefused(403, "scope_missing", f"the key lacks {', '.join(missing)}", extra={"scopes": missing})
        acting = _acting_tenant(reads, key, x_tenant)
        if tenant and acting == 0:
            raise CommandRefused(400, "tenant_missing", "an operator's key names the tenant: X-Tenant: ten_...")
        return Caller(key, acting)

    dependency: Callable[..., Awaitable[Caller]] = caller
    return Depends(dependency)


def _acting_tenant(reads: Reads, key: Key, x_tenant: str | None) -> int:
    if x_tenant is None:
        return key.tenant
    number = parse_public_id("ten", x_tenant)
    if key.tenant != 0:
        if number != key.tenant:
            raise CommandRefused(403, "operator_only", "X-Tenant is for operator keys")
        return key.tenant
    if not number or number > 0xFFFF or reads.now(get_tenant, number) is None:
        raise CommandRefused(404, "not_found", "no such tenant")
    return number


def parsed(prefix: str, text: str) -> int:
    """The number behind a public id in a path. Raises CommandRefused 404: a malformed id names nothing."""
    number = parse_public_id(prefix, text)
    if number is None:
        raise CommandRefused(404, "not_found", f"no such {prefix}_ id")
    return number
