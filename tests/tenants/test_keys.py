"""API keys: found by their secret alone, kept as a hash, ended by a revoke."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dispatcher.control.commands import CreateKey, CreateTenant, RevokeKey
from dispatcher.records.keys import parse_public_id
from dispatcher.store import Store
from dispatcher.tenants.keys import create_key, find_key, hash_secret, list_keys, new_secret, revoke_key
from dispatcher.tenants.tenant import create_tenant
from tests.fakes.shop import do, refused


def made(store: Store, tenant: int, secret: str, *, by: int = 0, scopes: tuple[str, ...] = ("members:read",)) -> int:
    command = CreateKey(for_tenant=tenant, title="till", scopes=list(scopes), secret_sha256=hash_secret(secret))
    found = parse_public_id("key", do(store, create_key, command, tenant=by)["id"])
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def _two_tenants(store: Store) -> None:
    for title in ("One", "Two"):
        do(store, create_tenant, CreateTenant(title=title), tenant=0)


def test_secrets_are_url_safe_and_never_the_same():
    secrets = {new_secret() for _ in range(50)}
    assert len(secrets) == 50 and all(re.fullmatch(r"vk_[\w-]{32,}", secret) for secret in secrets)


def test_a_key_is_found_by_its_secret_and_the_secret_is_nowhere_in_the_store(store: Store):
    secret = new_secret()
    key_id = made(store, 2, secret, scopes=("members:read", "points:write"))
    with store.snapshot() as view:
        key = find_key(view, secret)
        assert key is not None and (key.id, key.tenant) == (key_id, 2)
        assert key.may("points:write") and not key.may("campaigns:send")
        assert find_key(view, secret + "x") is None and find_key(view, "") is None and find_key(view, "\ud800") is None
        assert all(secret.encode() not in digest + row for digest, row in view.range("keys"))


def test_a_revoked_key_opens_nothing_and_leaves_the_list(store: Store):
    secret = new_secret()
    key_id = made(store, 1, secret)
    kept = made(store, 1, new_secret())
    for _ in range(2):  # safe to repeat
        assert do(store, revoke_key, RevokeKey(key_id=key_id), tenant=0)["revoked"]
    with store.snapshot() as view:
        assert find_key(view, secret) is None
        assert [key.id for key in list_keys(view, 1)] == [kept] and list_keys(view, 2) == []


def test_a_tenant_neither_makes_nor_revokes_keys_of_another(store: Store):
    key_id = made(store, 2, new_secret())
    command = CreateKey(for_tenant=2, title="x", scopes=["*"], secret_sha256=hash_secret("y"))
    assert refused(store, create_key, command, tenant=1).status == 403
    command = CreateKey(for_tenant=0, title="x", scopes=["*"], secret_sha256=hash_secret("y"))
    assert refused(store, create_key, command, tenant=1).status == 403
    assert refused(store, revoke_key, RevokeKey(key_id=key_id), tenant=1).status == 404
    assert refused(store, revoke_key, RevokeKey(key_id=key_id + 1), tenant=0).status == 404


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["*", "members:explode"]}, "/scopes/1"),
        ({"title": ""}, "/title"),
        ({"secret_sha256": b"short"}, "/secret_sha256"),
    ],
)
def test_a_wrong_key_is_refused_with_its_place(store: Store, change: dict[str, Any], pointer: str):
    values = {"for_tenant": 1, "title": "till", "scopes": ["*"], "secret_sha256": hash_secret("s"), **change}
    error = refused(store, create_key, CreateKey(**values), tenant=0)
    assert error.status == 422 and [each["pointer"] for each in error.errors] == [pointer]


def test_an_unknown_tenant_and_a_secret_used_twice_are_refused(store: Store):
    made(store, 1, "same")
    command = CreateKey(for_tenant=1, title="t", scopes=["*"], secret_sha256=hash_secret("same"))
    assert refused(store, create_key, command, tenant=0).status == 409
    command = CreateKey(for_tenant=9, title="t", scopes=["*"], secret_sha256=hash_secret("other"))
    assert refused(store, create_key, command, tenant=0).status == 404
