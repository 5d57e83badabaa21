"""Bodies that nobody should send: refused at once, as problems, and nothing else stops."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from tests.admin.conftest import Site

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"[" * 100_000, 400, "body_unreadable"),
        (b'{"msisdn": NaN}', 400, "body_unreadable"),
        (b'{"msisdn": "\\ud800"}', 400, "body_unreadable"),
        (b'{"msisdn": "\xff"}', 400, "body_unreadable"),
        (b'{"msisdn": ', 400, "body_unreadable"),
        (b'{"msisdn": "+4915112345678", "values": {"age": ' + b"9" * 400 + b"}}", 422, "invalid"),
        (b'{"msisdn": "+4915112345678", "values": {"age": 1e400}}', 422, "invalid"),
        (b'{"msisdn": "+49\\u0000"}', 422, "invalid_value"),
        (b'{"msisdn": 5}', 422, "invalid"),
        (b'{"msisdn": "+4915112345678", "nonsense": 1}', 422, "invalid"),
        (b"[]", 422, "invalid"),
        (b"", 422, "invalid"),
    ],
)
def test_a_body_that_cannot_be_meant_is_refused_quickly(shop: httpx.Client, body: bytes, status: int, code: str):
    began = time.monotonic()
    answer = shop.post("/v1/members", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert time.monotonic() - began < 1


def test_a_body_over_the_limit_is_413_declared_or_not(shop: httpx.Client):
    big = json.dumps({"msisdn": "1" * (1 << 20)}).encode()
    assert shop.post("/v1/members", content=big, headers=JSON).json()["code"] == "body_too_large"
    pieces = (b"x" * 65_536 for _ in range(32))
    answer = shop.post("/v1/members", content=pieces, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_million_keys_are_refused_within_a_second(shop: httpx.Client):
    body = b'{"msisdn": "+4915112345678", "values": {' + b",".join(b'"k%d":1' % i for i in range(80_000)) + b"}}"
    began = time.monotonic()
    assert shop.post("/v1/members", content=body, headers=JSON).status_code == 422
    assert time.monotonic() - began < 1


def test_a_body_that_is_not_json_is_415(shop: httpx.Client):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = shop.post("/v1/members", content=b"msisdn=1", headers=form)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_two_lengths_close_the_connection_and_the_next_is_served(site: Site):
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(b"POST /v1/members HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello")
        raw.settimeout(5)
        assert raw.recv(4096).startswith(b"HTTP/1.1 400")
    assert httpx.get(f"{site.url}/healthz").status_code == 200


def test_unknown_paths_and_methods_are_problems(site: Site):
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("GET", "/v1/members/mem_x", 404),
        ("PUT", "/v1/members", 405),
        ("POST", "/v1/segments:nothing", 404),
    ):
        answer = site.http.request(method, path, headers={"X-Tenant": "ten_0000000000001"})
        assert answer.status_code == status, answer.text
        problem = answer.json()
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert {"type", "title", "status", "detail", "instance", "code", "errors"} <= problem.keys()
        assert (problem["status"], problem["instance"]) == (status, path)


def test_every_wrong_member_of_a_body_is_pointed_at(shop: httpx.Client):
    answer = shop.post("/v1/campaigns", json={"title": "", "max_parts": 0, "purpose": "spam"})
    pointers = {error["pointer"] for error in answer.json()["errors"]}
    assert (answer.status_code, pointers) == (422, {"/title", "/max_parts", "/purpose"})
