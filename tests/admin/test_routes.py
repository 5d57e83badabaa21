"""The operator's routes over the API, and why a number takes one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.store.endpoints import number_endpoints
from tests.admin.conftest import Site, running


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield from running(tmp_path)


def test_a_route_is_made_changed_shown_and_deleted(site: Site):
    with site.store.begin_write() as view:
        view.apply(number_endpoints(view, ["main"]))
    made = site.http.post("/v1/routes", json={"name": "cn", "endpoints": ["main"], "prefixes": ["86"]})
    assert made.status_code == 201 and made.json()["source"] == "store", made.text
    assert site.http.post("/v1/routes", json={"name": "cn", "endpoints": ["main"]}).status_code == 409
    changed = site.http.patch("/v1/routes/cn", json={"enabled": False})
    assert (changed.json()["enabled"], changed.json()["prefixes"]) == (False, ["86"])
    assert [one["name"] for one in site.http.get("/v1/routes").json()["data"]] == ["cn"]
    assert site.http.delete("/v1/routes/cn").json() == {"deleted": "cn"}
    assert site.http.delete("/v1/routes/cn").status_code == 404


def test_a_wrong_route_names_the_field_and_the_nearest_name(site: Site):
    with site.store.begin_write() as view:
        view.apply(number_endpoints(view, ["main"]))
    refused = site.http.post("/v1/routes", json={"name": "x", "endpoints": ["mian"]})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/endpoints"
    assert refused.json()["errors"][0]["did_you_mean"] == "main"


def test_a_number_is_explained(site: Site):
    with site.store.begin_write() as view:
        view.apply(number_endpoints(view, ["main"]))
    site.http.post("/v1/routes", json={"name": "cn", "endpoints": ["main"], "prefixes": ["86"]})
    found = site.http.get("/v1/routes:explain", params={"number": "4915100000000"}).json()
    assert (found["endpoint"], found["reason"], found["routes"][0]["why"]) == (None, "no_route", "another prefix")
    assert site.http.get("/v1/routes:explain", params={"number": "abc"}).status_code == 422


def test_ported_numbers_are_loaded_shown_tried_and_undone(site: Site):
    def load(lines: str, **query: object):
        return site.http.post("/v1/ported", params={"filename": "p.csv", **query}, content=lines.encode())

    assert site.http.get("/v1/ported").json()["count"] == 0
    assert site.http.post("/v1/ported:undo").status_code == 409
    wrong = {
        "file": "p.csv", "line": 3, "field": "number", "value": "0049151",
        "rule": "7 to 15 digits with the country's, not beginning with 0",
    }  # fmt: skip
    lines = "number,network\n8613800000000,ctcc\n0049151,x\n"
    tried = load(lines, dry_run=True).json()
    assert (tried["count"], tried["rejected"], tried["dry_run"], tried["wrong"]) == (1, 1, True, [wrong])
    assert site.http.get("/v1/ported").json()["count"] == 0
    made = load(lines)
    assert (made.status_code, made.json()["count"], made.json()["lines"]) == (200, 1, 3)
    assert site.http.get("/v1/ported/wrong").json()["data"] == [wrong]
    many = "".join(f"{8613800000000 + n},cucc\n" for n in range(200_000))
    assert load(many).json()["count"] == 200_000
    shown = site.http.get("/v1/ported").json()
    assert (shown["count"], shown["networks"], shown["before"]["count"], shown["loading"]) == (200_000, 1, 1, None)
    assert site.http.post("/v1/ported:undo").json()["count"] == 1
    assert load("nothing\n").status_code == 422
    assert site.http.get("/v1/ported").json()["count"] == 1
    assert load("8613800000000,a\n", dry_run="perhaps").status_code == 422
    gzipped = site.http.post("/v1/ported", content=b"x", headers={"Content-Encoding": "gzip"})
    assert gzipped.status_code == 415
    assert not list(site.store.folder.glob("*.spool"))
