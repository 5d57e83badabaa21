"""Imports as a customer sends them: streamed, parsed while they arrive, cancelled, broken off, replayed."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dispatcher.control.commands import CancelImport, EndImportBody, OpenImport
from tests.admin.conftest import Site, running

CSV = {"Content-Type": "text/csv"}
GOOD = b"phone,name\r\n+4915112345601,Ann\r\n+4915112345602,Bob\r\n12,Cyd\r\n+4915112345601,Anna\r\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield from running(tmp_path)


@pytest.fixture
def named(shop: httpx.Client) -> httpx.Client:
    assert shop.post("/v1/fields", json={"name": "name", "kind": "text"}).status_code == 201
    return shop


def commands(site: Site, kind: type) -> list[object]:
    return [command for command, _ in site.dispatcher.seen if isinstance(command, kind)]


def wait_for(what: object, seconds: float = 10.0) -> None:
    give_up = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_an_import_counts_every_row_and_keeps_its_rejects(named: httpx.Client):
    answer = named.post("/v1/imports", params={"wait": True, "filename": "=a.csv"}, content=GOOD, headers=CSV)
    assert answer.status_code == 200, answer.text
    done = answer.json()
    counts = {name: done[name] for name in ("rows_read", "members_imported", "rows_updated", "rows_rejected")}
    assert (done["state"], counts) == (
        "done",
        {"rows_read": 4, "members_imported": 2, "rows_updated": 1, "rows_rejected": 1},
    )
    (reject,) = named.get(f"/v1/imports/{done['id']}/rejects").json()["data"]
    assert (reject["line"], reject["column"], reject["value"]) == (4, "phone", "12")
    assert named.get("/v1/members/by-phone/+4915112345601").json()["values"]["name"] == "Anna"
    assert named.get(f"/v1/imports/{done['id']}").json()["progress"] == 1.0
    assert [row["id"] for row in named.get("/v1/imports").json()["data"]] == [done["id"]]


def test_without_wait_the_answer_is_202_once_the_body_is_on_disk(site: Site, named: httpx.Client):
    answer = named.post("/v1/imports", content=GOOD, headers=CSV)
    assert answer.status_code == 202
    (end,) = commands(site, EndImportBody)
    assert end.octets == len(GOOD)  # type: ignore[attr-defined]
    wait_for(lambda: named.get(f"/v1/imports/{answer.json()['id']}").json()["state"] == "done")


def test_the_dispatcher_is_told_while_the_body_still_arrives(site: Site, named: httpx.Client):
    told_before_the_end = []

    def body() -> Iterator[bytes]:
        yield GOOD[:20]
        wait_for(lambda: commands(site, OpenImport))
        told_before_the_end.append(True)
        yield GOOD[20:]

    answer = named.post("/v1/imports", params={"wait": True}, content=body(), headers=CSV)
    assert (answer.json()["state"], told_before_the_end) == ("done", [True])


def test_columns_are_mapped_by_the_query(named: httpx.Client):
    params = [("wait", "true"), ("map", "Tel:phone"), ("map", "Wer: er:name"), ("delimiter", ";")]
    body = "Tel;Wer: er\r\n+4915112345603;Dörte\r\n".encode()
    assert named.post("/v1/imports", params=params, content=body, headers=CSV).json()["members_imported"] == 1
    wrong = named.post("/v1/imports", params={"map": "Tel"}, content=body, headers=CSV)
    assert wrong.status_code == 422
    unknown = named.post("/v1/imports", params={"map": "Tel:nmae"}, content=body, headers=CSV)
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_field")


def test_a_dry_run_writes_no_member(named: httpx.Client):
    answer = named.post("/v1/imports", params={"wait": True, "dry_run": True}, content=GOOD, headers=CSV).json()
    assert (answer["state"], answer["members_imported"]) == ("done", 2)
    assert named.get("/v1/members").json()["data"] == []


def test_rejects_as_csv_cannot_run_in_a_spreadsheet(named: httpx.Client):
    body = b'phone,name\r\n"=HYPERLINK(1)",Ann\r\n'
    done = named.post("/v1/imports", params={"wait": True}, content=body, headers=CSV).json()
    answer = named.get(f"/v1/imports/{done['id']}/rejects", headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    head, line = answer.text.splitlines()
    assert head == "line,column,value,code,detail"
    assert "'=HYPERLINK(1)" in line


def test_a_file_without_a_header_line_or_empty_fails_and_says_why(named: httpx.Client):
    for body in (b"", b"\r\n", b"1,2,3\r\n"):
        answer = named.post("/v1/imports", params={"wait": True}, content=body, headers=CSV)
        assert (answer.status_code, answer.json()["state"]) == (200, "failed")
        assert answer.json()["problem"]["detail"]


def test_a_body_that_breaks_off_cancels_the_import(site: Site, named: httpx.Client):
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        head = f"POST /v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: {named.headers['Authorization']}\r\n"
        raw.sendall(f"{head}Content-Type: text/csv\r\nContent-Length: 1000\r\n\r\n".encode() + GOOD)
        wait_for(lambda: commands(site, OpenImport))
    wait_for(lambda: commands(site, CancelImport))
    wait_for(lambda: named.get("/v1/imports").json()["data"][0]["state"] == "cancelled")
    assert site.app.state.uploads == 0


def test_a_cancelled_import_answers_so_to_whoever_still_sends_it(site: Site, named: httpx.Client):
    def body() -> Iterator[bytes]:
        yield GOOD
        wait_for(lambda: commands(site, OpenImport))
        (row,) = named.get("/v1/imports").json()["data"]
        assert named.post(f"/v1/imports/{row['id']}:cancel").json()["state"] == "cancelled"
        yield GOOD * 100

    sender = site.as_key(named.headers["Authorization"].removeprefix("Bearer "))
    answer = sender.post("/v1/imports", content=body(), headers=CSV)
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")


def test_a_replayed_upload_is_the_first_import_and_leaves_no_folder(site: Site, named: httpx.Client):
    once = CSV | {"Idempotency-Key": "monday"}
    first = named.post("/v1/imports", params={"wait": True}, content=GOOD, headers=once)
    again = named.post("/v1/imports", params={"wait": True}, content=GOOD * 1000, headers=once)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(named.get("/v1/imports").json()["data"]) == 1
    wait_for(lambda: not os.listdir(site.settings.data / "imports"))


def test_with_the_dispatcher_down_nothing_is_kept_of_an_upload(site: Site, named: httpx.Client):
    site.call(site.dispatcher.stop)
    answer = named.post("/v1/imports", content=GOOD, headers=CSV)
    assert (answer.status_code, answer.json()["code"]) == (503, "dispatcher_down")
    assert os.listdir(site.settings.data / "imports") == []


def test_only_plain_csv_is_taken(named: httpx.Client):
    for headers in ({"Content-Type": "application/json"}, CSV | {"Content-Encoding": "gzip"}):
        answer = named.post("/v1/imports", content=GOOD, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_large_body_is_streamed_in_little_memory(site: Site, named: httpx.Client):
    def body() -> Iterator[bytes]:
        yield b"phone,name\r\n"
        for i in range(0, 200_000, 1000):
            yield b"".join(b"+49151%08d,Somebody of a longer name\r\n" % n for n in range(i, i + 1000))

    before = anonymous_mb()
    answer = named.post("/v1/imports", params={"wait": True}, content=body(), headers=CSV)
    assert answer.json()["members_imported"] == 200_000
    assert answer.json()["rows_per_s"] is None or answer.json()["rows_per_s"] > 0
    assert anonymous_mb() - before < 150


def anonymous_mb() -> float:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))
