"""Market profiles, as their files have them, and the signatures that the operator registered for a tenant.

Touches: config/profiles through tenants/profile; rows of `signatures`; command signature.register.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from admin.answers import Answer, Body, Page, Reading
from admin.asking import Asking
from admin.auth import Caller, may
from config import SettingError
from dispatcher.campaigns.wording import signatures_json
from dispatcher.control.commands import RegisterSignature
from dispatcher.errors import CommandRefused
from dispatcher.tenants.profile import get_profile, profile_json, profile_names

router = APIRouter(prefix="/v1", tags=["market profiles"])


class ProfileAnswer(Answer):
    name: str
    title: str


class SignatureBody(Body):
    text: Annotated[str, Field(min_length=1, max_length=40)]
    state: Literal["registered", "pending", "refused"] = "registered"
    reason: Annotated[str, Field(max_length=500)] = ""


class SignatureAnswer(Answer):
    text: str
    state: str


@router.get("/profiles", response_model=Page[ProfileAnswer])
async def list_profiles(caller: Annotated[Caller, may(tenant=False)]) -> dict[str, Any]:
    """What a tenant's `market_profile` can be: words, hours, caps, billing and mandatory text."""
    return {"data": [_read(name) for name in profile_names()], "next": None}


@router.get("/profiles/{name}", response_model=ProfileAnswer)
async def get_one_profile(name: str, caller: Annotated[Caller, may(tenant=False)]) -> dict[str, Any]:
    if name not in profile_names():
        raise CommandRefused(404, "not_found", f"no such profile: one of {', '.join(profile_names())}")
    return _read(name)


@router.get("/signatures", response_model=Page[SignatureAnswer])
async def list_signatures(caller: Annotated[Caller, may("campaigns:read")], reads: Reading) -> dict[str, Any]:
    """Who the tenant may call itself in a text."""
    return {"data": await reads.scan(signatures_json, caller.tenant), "next": None}


@router.post("/signatures", response_model=SignatureAnswer)
async def register_signature(
    body: SignatureBody, ask: Asking, caller: Annotated[Caller, may("tenants:write", operator=True)]
) -> dict[str, Any]:
    return await ask(caller, RegisterSignature(text=body.text, state=body.state), reason=body.reason)


def _read(name: str) -> dict[str, Any]:
    try:
        return profile_json(get_profile(name))
    except SettingError as exc:
        raise CommandRefused(409, "market_profile_wrong", str(exc)) from exc
