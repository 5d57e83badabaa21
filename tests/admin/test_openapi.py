"""The OpenAPI document is true: generated requests get the answers that it promises, and never a 5xx."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks

from admin.app import create_app
from config.settings import Settings
from tests.admin.conftest import OPERATOR, Site

EXAMPLES = 6  # an operation and mode; the run takes some seconds
TENANT = "ten_0000000000001"
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
DOCUMENT = create_app(Settings(data=Path("/nowhere"))).openapi()
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()]


@pytest.fixture(scope="module")
def crowded(site: Site) -> Site:
    """With one of each, so that some of the generated ids and names hit something."""
    shop = site.key(site.tenant(), "*")
    shop.post("/v1/fields", json={"name": "age", "kind": "int"})
    shop.post("/v1/members", json={"msisdn": "+4915112345678", "values": {"age": 30}})
    shop.post("/v1/campaigns", json={"title": "Spring", "text": "Hello"})
    return site


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_generated_requests_get_what_the_document_promises(operation: Any, mode: GenerationMode, crowded: Site):
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def hold_against_the_document(case: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {OPERATOR}", "X-Tenant": TENANT}
        answer = case.call(base_url=crowded.url)
        case.validate_response(answer, checks=CHECKS)

    with contextlib.suppress(Unsatisfiable):  # an operation without parameters cannot be asked wrongly
        hold_against_the_document()


def test_the_document_is_openapi_31_and_names_every_route_once(site: Site):
    document = httpx.get(f"{site.url}/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids)) >= 40
    start = document["paths"]["/v1/campaigns/{campaign}:start"]["post"]
    assert "Idempotency-Key" in [parameter["name"] for parameter in start["parameters"]]
    assert start["security"] == [{"key": []}]
    assert list(start["responses"]["4XX"]["content"]) == ["application/problem+json"]
