"""Imports as a customer sends them: streamed, parsed while they arrive, cancelled, broken off, replayed."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dispatcher.control.commands import CancelImport, EndImportBody, OpenImport
from dispatcher.members.importer import BODY_KEPT_MS, expired_uploads
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
    assert head == "line,column,value,code,hint,detail"
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


def test_what_is_neither_rows_nor_compressed_rows_is_not_taken(named: httpx.Client):
    for headers in ({"Content-Type": "application/json"}, CSV | {"Content-Encoding": "br"}):
        answer = named.post("/v1/imports", content=GOOD, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_content_type_and_encoding_say_what_the_body_is(site: Site, named: httpx.Client):
    rows = b'{"phone": "+4915112345611", "name": "Ann"}\n{"phone": "+4915112345612", "name": "Bob"}\n'
    headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
    answer = named.post("/v1/imports", params={"wait": True}, content=gzip.compress(rows), headers=headers)
    assert (answer.json()["state"], answer.json()["members_imported"]) == ("done", 2), answer.text
    assert (answer.json()["found"]["format"], answer.json()["found"]["compression"]) == ("ndjson", "gzip")
    headers = {"Content-Type": 'text/csv; charset="latin-1"'}
    body = "phone,name\n+4915112345613,Dörte\n".encode("latin-1")
    assert named.post("/v1/imports", params={"wait": True}, content=body, headers=headers).status_code == 200
    assert named.get("/v1/members/by-phone/+4915112345613").json()["values"]["name"] == "Dörte"
    (first, second) = commands(site, OpenImport)
    assert (first.format, first.compression, second.format, second.charset) == ("ndjson", "gzip", "csv", "latin-1")  # type: ignore[attr-defined]


def test_a_mapping_with_transforms_is_taken_as_json_and_a_wrong_one_refused(named: httpx.Client):
    body = b"tel,wer\r\n0151 12345614,x\r\n"
    mapping = {"tel": {"field": "phone", "region": "DE"}, "wer": {"field": "name", "values": {"x": "Xaver"}}}
    params = {"wait": True, "mapping": json.dumps(mapping)}
    assert named.post("/v1/imports", params=params, content=body, headers=CSV).json()["members_imported"] == 1
    assert named.get("/v1/members/by-phone/+4915112345614").json()["values"]["name"] == "Xaver"
    for wrong in ("[1]", "{", '{"tel": {"field": "nmae"}}'):
        assert named.post("/v1/imports", params={"mapping": wrong}, content=body, headers=CSV).status_code == 422


# -- dry run, commit, undo ---------------------------------------------------------------------------------


def test_a_dry_run_tells_what_would_change_and_is_committed_with_the_kept_file(site: Site, named: httpx.Client):
    named.post("/v1/imports", params={"wait": True}, content=GOOD, headers=CSV)
    body = b"phone,name\r\n+4915112345601,Anna\r\n+4915112345602,Bert\r\n+4915112345603,Cyd\r\nbad,x\r\n"
    dry = named.post("/v1/imports", params={"wait": True, "dry_run": True}, content=body, headers=CSV).json()
    assert (dry["members_imported"], dry["changed"], dry["unchanged"]) == (1, {"name": 1}, 1)
    assert dry["rejected_codes"] == {"no_digits": 1} or sum(dry["rejected_codes"].values()) == 1
    assert dry["body_until"] > dry["updated_at"]
    answer = named.post(f"/v1/imports/{dry['id']}:commit")
    assert (answer.status_code, answer.json()["state"]) == (202, "applying")
    wait_for(lambda: named.get(f"/v1/imports/{dry['id']}").json()["state"] == "done")
    done = named.get(f"/v1/imports/{dry['id']}").json()
    assert (done["dry_run"], done["members_imported"], done["changed"]) == (False, 1, {"name": 1})
    assert done["checked"]["changed"] == {"name": 1}
    assert len(named.get(f"/v1/imports/{dry['id']}/rejects").json()["data"]) == 1
    assert named.post(f"/v1/imports/{dry['id']}:commit").status_code == 202, "safe to repeat"
    assert named.get("/v1/members/by-phone/+4915112345602").json()["values"]["name"] == "Bert"
    wait_for(lambda: not os.listdir(site.settings.data / "imports"))


def test_a_dry_run_that_is_cancelled_or_too_old_is_not_committed(site: Site, named: httpx.Client):
    params = {"wait": 1, "dry_run": 1}
    ids = [named.post("/v1/imports", params=params, content=GOOD, headers=CSV).json()["id"] for _ in range(2)]
    assert named.post(f"/v1/imports/{ids[0]}:cancel").json()["state"] == "cancelled"
    assert named.post(f"/v1/imports/{ids[0]}:commit").status_code == 409
    site.clock.advance(86_400)
    answer = named.post(f"/v1/imports/{ids[1]}:commit")
    assert (answer.status_code, answer.json()["code"]) == (410, "import_expired")


def test_an_undo_takes_everything_back_or_says_whose_change_is_in_the_way(named: httpx.Client):
    done = named.post("/v1/imports", params={"wait": True}, content=GOOD, headers=CSV).json()
    member = named.get("/v1/members/by-phone/+4915112345602").json()
    named.patch(f"/v1/members/{member['id']}", json={"values": {"name": "Robert"}})
    refused = named.post(f"/v1/imports/{done['id']}:undo", params={"wait": True}).json()
    assert (refused["state"], refused["undo"]["phase"]) == ("done", "refused")
    assert refused["undo"]["conflicts"] == [{"member": member["id"], "msisdn": "+4915112345602", "fields": ["name"]}]
    assert len(named.get("/v1/members").json()["data"]) == 2
    undone = named.post(f"/v1/imports/{done['id']}:undo", params={"wait": True, "skip_changed": True}).json()
    assert (undone["state"], undone["undo"]["removed"]) == ("undone", 1)
    assert [each["msisdn"] for each in named.get("/v1/members").json()["data"]] == ["+4915112345602"]


# -- a body in pieces --------------------------------------------------------------------------------------


def begin(named: httpx.Client, body: bytes = b"", **more: str) -> str:
    answer = named.post("/v1/imports", content=body, headers=CSV | {"Upload-Complete": "?0"} | more)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Upload-Offset"] == str(len(body))
    assert answer.headers["Location"] == f"/v1/imports/{answer.json()['id']}"
    return str(answer.json()["id"])


def send_piece(named: httpx.Client, made: str, offset: int, body: bytes, complete: str = "?0") -> httpx.Response:
    return named.patch(f"/v1/imports/{made}", content=body, headers={
        "Upload-Offset": str(offset), "Upload-Complete": complete, "Content-Type": "application/partial-upload",
    })  # fmt: skip


def test_a_body_comes_in_pieces_and_a_wrong_offset_is_told_the_right_one(site: Site, named: httpx.Client):
    made = begin(named, GOOD[:10])
    assert send_piece(named, made, 10, GOOD[10:25]).headers["Upload-Offset"] == "25"
    wrong = send_piece(named, made, 24, GOOD[24:])
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["Upload-Offset"]) == (409, "wrong_offset", "25")
    head = named.head(f"/v1/imports/{made}")
    assert (head.status_code, head.headers["Upload-Offset"], head.headers["Upload-Complete"]) == (204, "25", "?0")
    assert named.get(f"/v1/imports/{made}").json()["upload_offset"] == 25
    last = send_piece(named, made, 25, GOOD[25:], "?1")
    assert (last.status_code, last.headers["Upload-Complete"]) == (202, "?1")
    wait_for(lambda: named.get(f"/v1/imports/{made}").json()["state"] == "done")
    assert named.get(f"/v1/imports/{made}").json()["members_imported"] == 2
    assert named.head(f"/v1/imports/{made}").headers["Upload-Offset"] == str(len(GOOD))
    late = send_piece(named, made, len(GOOD), b"x")
    assert (late.status_code, late.json()["code"]) == (409, "state_conflict")


def test_what_came_of_a_broken_piece_is_kept(site: Site, named: httpx.Client):
    def kept() -> int:
        return int(named.head(f"/v1/imports/{made}").headers["Upload-Offset"])

    made = begin(named)
    body = b"phone,name\r\n" + b"".join(b"+49151%08d,Somebody\r\n" % n for n in range(20_000))
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        head = f"PATCH /v1/imports/{made} HTTP/1.1\r\nHost: x\r\nAuthorization: {named.headers['Authorization']}\r\n"
        raw.sendall(f"{head}Upload-Offset: 0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:400_000])
        wait_for(kept)
    wait_for(lambda: not site.app.state.pieces)
    assert 0 < kept() <= 400_000
    assert send_piece(named, made, kept(), body[kept() :], "?1").status_code == 202
    wait_for(lambda: named.get(f"/v1/imports/{made}").json()["state"] == "done")
    assert named.get(f"/v1/imports/{made}").json()["members_imported"] == 20_000


def test_a_replayed_beginning_is_the_first_and_says_how_far_it_is(named: httpx.Client):
    made = begin(named, GOOD[:10], **{"Idempotency-Key": "pieces"})
    again = named.post(
        "/v1/imports", content=GOOD[:10], headers=CSV | {"Upload-Complete": "?0", "Idempotency-Key": "pieces"}
    )
    assert (again.json()["id"], again.headers["Upload-Offset"]) == (made, "10")


def test_an_upload_that_is_never_finished_expires(site: Site, named: httpx.Client):
    begin(named, GOOD[:10])
    later = site.clock.epoch_ms() + BODY_KEPT_MS
    expired = site.call(lambda: [*_expired(site, later - 1)])
    assert (len(expired), len(site.call(lambda: [*_expired(site, later)]))) == (0, 1)


def _expired(site: Site, now_ms: int) -> list[tuple[int, int]]:
    with site.store.snapshot() as view:
        return list(expired_uploads(view, now_ms))


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
