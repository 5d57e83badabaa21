"""The customer of the demo: what it asks of the admin API, over HTTP and in no other way.

Touches: HTTP. An answer that is no success raises DemoFailed with the problem's own words.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench import people
from dispatcher.cli.demo_children import DemoFailed, waiting

BRAND = "Bean House"
SENDER = "10690000"
TEXT = "{name}, your {points} points are worth double until Sunday. STOP to end"  # one part, in UCS-2 too
# f is half of the members (bench/people.py), eleven of sixteen regions are 0.69: a third
EXPR = 'sex = "f" and region not in ("Beijing", "Shanghai", "Guangzhou", "Shenzhen", "Chengdu")'
SUPPRESSED_MAX = 1_000
UPLOAD_OCTETS = 1 << 20
IMPORT_S = 600.0


class Customer:
    """One key's view of the API. The operator makes the tenant; from then on the tenant's own key is used."""

    def __init__(self, url: str, operator_key: str) -> None:
        self.tenant = ""
        self._keys = 0
        self._manager = ""
        self._operator_key = operator_key
        self._client = httpx.Client(base_url=url, timeout=200.0, trust_env=False)
        self._as(operator_key)

    def close(self) -> None:
        self._client.close()

    def ask(self, method: str, path: str, body: Any = None, *, once: bool = False, **query: Any) -> dict[str, Any]:
        """The JSON of the answer. once: under an Idempotency-Key of its own."""
        headers = {}
        if once:
            self._keys += 1
            headers["Idempotency-Key"] = f"demo-{self._keys}"
        try:
            answer = self._client.request(method, path, json=body, params=query or None, headers=headers)
        except httpx.HTTPError as exc:
            raise DemoFailed(f"{method} {path}: {type(exc).__name__}: {exc}") from exc
        return _json(method, path, answer)

    def try_ask(self, path: str, **query: Any) -> dict[str, Any] | None:
        """A GET that may find the dispatcher down: None then."""
        try:
            answer = self._client.get(path, params=query or None, timeout=10.0)
        except httpx.HTTPError:
            return None
        return None if answer.status_code >= 500 else _json("GET", path, answer)

    def await_ready(self, check: Any) -> None:
        for _ in waiting("GET /readyz answers 200", 30.0):
            check()
            try:
                if self._client.get("/readyz", timeout=5.0).status_code == 200:
                    return
            except httpx.HTTPError:
                continue

    def status(self) -> dict[str, Any] | None:
        """The operator's look at the dispatcher; None while it is down."""
        key = {"Authorization": f"Bearer {self._operator_key}"}
        try:
            answer = self._client.get("/v1/status", headers=key, timeout=10.0)
        except httpx.HTTPError:
            return None
        return None if answer.status_code >= 500 else _json("GET", "/v1/status", answer)

    def settle_in(self, approval_above: int) -> str:
        """A tenant, keys of its own for an author and a manager, the fields of the file; returns the author's key."""
        tenant = {"title": BRAND, "zone": "Asia/Shanghai", "region": "CN", "sender": SENDER}
        self.tenant = str(self.ask("POST", "/v1/tenants", tenant)["id"])
        self.ask("PATCH", f"/v1/tenants/{self.tenant}", {"approval_above": approval_above})
        self._client.headers["X-Tenant"] = self.tenant
        key, self._manager = (
            str(self.ask("POST", "/v1/keys", {"title": title, "scopes": ["*"]})["secret"])
            for title in ("demo", "manager")
        )
        del self._client.headers["X-Tenant"]
        self._as(key)
        for field in people.define_fields():
            self.ask("POST", "/v1/fields", {"name": field["title"]} | {k: v for k, v in field.items() if k != "title"})
        return key

    def upload(self, file: Path) -> str:
        """Stream the CSV; the import's id, once its body is safe."""

        def octets() -> Iterator[bytes]:
            with file.open("rb") as stream:
                while data := stream.read(UPLOAD_OCTETS):
                    yield data

        headers = {"Content-Type": "text/csv", "Idempotency-Key": "demo-import"}
        try:
            answer = self._client.post("/v1/imports", content=octets(), headers=headers, params={"filename": file.name})
        except httpx.HTTPError as exc:
            raise DemoFailed(f"POST /v1/imports: {type(exc).__name__}: {exc}") from exc
        return str(_json("POST", "/v1/imports", answer)["id"])

    def await_import(self, import_id: str) -> Iterator[dict[str, Any]]:
        """The import as it goes on; the last one is its end."""
        for _ in waiting("the import ends", IMPORT_S):
            answer = self.ask("GET", f"/v1/imports/{import_id}")
            yield answer
            if answer["state"] not in ("receiving", "applying"):
                if answer["state"] != "done":
                    raise DemoFailed(f"the import ended as {answer['state']}: {answer.get('failure') or answer}")
                return

    def suppress(self, members: int, seed: int) -> int:
        """A thousandth of the members, spread over the file, as a list of people who must get nothing."""
        wanted = min(SUPPRESSED_MAX, members // 1_000)
        if wanted:
            numbers = [f"+{people.msisdn(i * members // wanted, seed)}" for i in range(wanted)]
            self.ask("POST", "/v1/suppressions", {"numbers": numbers, "why": "asked by telephone"})
        return wanted

    def refuse(self, members: int, seed: int) -> int:
        """As many again who said no to marketing before, each with its evidence; others than the suppressed."""
        wanted = min(SUPPRESSED_MAX, members // 1_000)
        no = {"purpose": "marketing", "given": False, "evidence": {"source": "till", "text": "the form, unticked"}}
        words = [{"number": f"+{people.msisdn(i * members // wanted + 1, seed)}", **no} for i in range(wanted)]
        if words:
            self.ask("POST", "/v1/consents", {"consents": words})
        return wanted

    def draft(self, purpose: str) -> str:
        body = {"title": "Double points", "purpose": purpose, "expr": EXPR, "text": TEXT, "holdout": {"percent": 1}}
        return str(self.ask("POST", "/v1/campaigns", body)["id"])

    def approve(self, campaign: str, token: str) -> tuple[str, str]:
        """Above the tenant's limit somebody else must; what the author was refused on the way: its start, its own
        approval."""
        path = f"/v1/campaigns/{campaign}"
        start = self._refused(f"{path}:start", {"token": token})
        self.ask("POST", f"{path}:submit", {"reason": "double points until Sunday"})
        approval = self._refused(f"{path}:approve", {})
        author = self._client.headers["Authorization"]
        self._as(self._manager)
        self.ask("POST", f"{path}:approve", {"reason": "text and count are right"})
        self._client.headers["Authorization"] = author
        return start, approval

    def _refused(self, path: str, body: Any) -> str:
        """The code of a problem that must come."""
        self._keys += 1
        answer = self._client.post(path, json=body, headers={"Idempotency-Key": f"demo-{self._keys}"})
        if answer.is_success:
            raise DemoFailed(f"POST {path} was allowed, and needs somebody else's approval")
        return str(answer.json()["code"])

    def timed(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[dict[str, Any], float]:
        """The answer and the seconds until it came."""
        began = time.monotonic()
        return self.ask(method, path, body, **more), time.monotonic() - began

    def _as(self, key: str) -> None:
        self._client.headers["Authorization"] = f"Bearer {key}"


def _json(method: str, path: str, answer: httpx.Response) -> dict[str, Any]:
    if answer.is_success:
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found
    raise DemoFailed(f"{method} {path} was answered {answer.status_code}: {answer.text[:500]}")
