"""Progress as server-sent events: moves at once, progress bounded, a broken stream goes on where it ended."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from admin.routes import events
from dispatcher.campaigns.progress import Place
from dispatcher.records.keys import parse_public_id
from dispatcher.records.states import State
from dispatcher.store.values import unpack
from tests.admin.conftest import Site
from tests.campaigns.log import ACCEPTED, RECEIPT, claim, log, record

MEMBERS = 6  # of `peopled`


@pytest.fixture
def path(peopled: httpx.Client) -> str:
    made = peopled.post("/v1/campaigns", json={"title": "Spring", "sender": "Shop", "text": "Hi"}).json()["id"]
    token = peopled.post(f"/v1/campaigns/{made}:preview").json()["token"]
    start = peopled.post(f"/v1/campaigns/{made}:start", json={"token": token}, headers={"Idempotency-Key": made})
    assert start.status_code == 200
    return f"/v1/campaigns/{made}"


def told(answer: httpx.Response) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(event, id, data) as they come."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        name, colon, value = line.partition(": ")
        if line and colon and name:
            fields[name] = value
        elif not line and "event" in fields:
            yield fields["event"], fields["id"], json.loads(fields["data"])
            fields = {}


def watch(client: httpx.Client, path: str, last: str | None = None) -> Any:
    return client.stream("GET", f"{path}/events", headers={"Last-Event-ID": last} if last else {})


def test_a_stream_tells_the_moves_so_far_then_how_far_it_is_then_each_move_at_once(shop: httpx.Client, path: str):
    with watch(shop, path) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        stream = told(answer)
        assert [next(stream)[2]["state"] for _ in range(2)] == ["draft", "running"]
        kind, _, progress = next(stream)
        assert (kind, progress["audience"], progress["state"]) == ("progress", MEMBERS, "running")
        began = time.monotonic()
        paused = shop.post(f"{path}:pause", json={"reason": "wrong price"})
        assert paused.status_code == 200
        kind, _, move = next(stream)
        assert time.monotonic() - began < 1
        assert (kind, move["state"], move["reason"]) == ("state", "paused", "wrong price")
        assert next(stream)[2]["state"] == "paused"


def test_a_broken_stream_goes_on_with_what_was_missed(site: Site, shop: httpx.Client, path: str):
    with watch(shop, path) as answer:
        last = [next(one)[1] for one in [told(answer)] for _ in range(3)][-1]
    for verb in ("pause", "resume", "pause"):
        shop.post(f"{path}:{verb}")
    with watch(shop, path, last) as answer:
        stream = told(answer)
        assert [next(stream)[2]["state"] for _ in range(3)] == ["paused", "running", "paused"]
        assert next(stream)[0] == "progress"
    with watch(shop, path) as answer:
        firsts = [next(one)[1] for one in [told(answer)] for _ in range(2)]
    for last in firsts:  # a stream that broke among its first events
        with watch(shop, path, last) as answer:
            stream = told(answer)
            assert [next(stream)[2]["state"] for _ in range(2)] == ["draft", "running"], "nothing is left out"
    for wrong in ("yesterday", "-2.4", "1", "1.", "1.2.3", "9" * 20 + ".1"):
        assert watch_status(shop, path, wrong) == 400, wrong
    assert watch_status(shop, f"{path[:-4]}0000") == 404


def watch_status(client: httpx.Client, path: str, last: str | None = None) -> int:
    with watch(client, path, last) as answer:
        return answer.status_code


def test_what_is_over_ends_its_stream_and_whoever_comes_back_is_sent_away(site: Site, shop: httpx.Client, path: str):
    campaign = parse_public_id("cmp", path.rpartition("/")[2])
    site.call(lambda: log(site.store, campaign, 1, claim(0, [1] * MEMBERS)))
    with watch(shop, path) as answer:
        stream = told(answer)
        seen = [next(stream) for _ in range(3)]
        assert seen[-1][2]["in_flight"] == MEMBERS
        assert shop.post(f"{path}:cancel").status_code == 200
        records = [record(ACCEPTED, rank, message_id=b"x") for rank in range(MEMBERS)]
        records += [record(RECEIPT, rank, state=State.DELIVERED) for rank in range(MEMBERS)]
        site.call(lambda: log(site.store, campaign, 2, *records))
        rest = list(stream)
    assert [kind for kind, _, _ in rest][-2:] == ["progress", "end"]
    assert rest[-2][2]["delivered"] == MEMBERS
    last = rest[-1][1]
    assert watch_status(shop, path, last) == 204
    assert Place.parse(last).position == site.call(lambda: folded(site))


def folded(site: Site) -> int:
    with site.store.snapshot() as view:
        return int(unpack(view.get("meta", b"folded") or b"")["key"])


def test_progress_comes_at_most_four_times_a_second(site: Site, shop: httpx.Client, path: str):
    campaign = parse_public_id("cmp", path.rpartition("/")[2])
    stop = threading.Event()

    def busy() -> None:
        rank = 0
        while not stop.wait(0.01):
            site.call(lambda: log(site.store, campaign, 1, claim(rank % MEMBERS, [1])))  # noqa: B023
            rank += 1

    thread = threading.Thread(target=busy)
    with watch(shop, path) as answer:
        stream = told(answer)
        for _ in range(3):
            next(stream)
        thread.start()
        began = time.monotonic()
        times = []
        try:
            for kind, _, _ in stream:
                assert kind == "progress"
                times.append(time.monotonic())
                if len(times) == 4:
                    break
        finally:
            stop.set()
            thread.join()
    assert times[-1] - began >= 3 * events.PROGRESS_S * 0.9


def test_so_many_may_watch_at_once_and_no_more(site: Site, shop: httpx.Client, path: str, monkeypatch):
    monkeypatch.setattr(events, "STREAMS_AT_ONCE", 1)
    with watch(shop, path) as answer:
        stream = told(answer)
        next(stream)
        assert watch_status(shop, path) == 503
    for _ in range(100):
        if watch_status(shop, path) == 200:
            break
        time.sleep(0.02)
    else:
        pytest.fail("a stream that was closed keeps its place")
