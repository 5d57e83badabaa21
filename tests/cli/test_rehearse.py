"""A dress rehearsal over loopback: real processes, a real simulator, and the real store as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config import Endpoint, Settings, load
from dispatcher.campaigns.rehearsal import plan
from dispatcher.cli.demo_children import environment
from dispatcher.cli.rehearse_folder import FOLDER, Scratch, need_room, sweep, write_settings
from dispatcher.errors import CommandRefused, StoreFull
from dispatcher.records.keys import parse_public_id
from dispatcher.store import open_store

MEMBERS = 40
TEXT = "Hello {name}, come and see what is new in town this autumn; we are open until eight."
NAMES = ["Jörg", "日本", "Ann"]
CLOSED = int(datetime(2026, 11, 24, 9, tzinfo=UTC).timestamp() * 1000)  # 03:00 to 04:00 in the United States


def the_store(data: Path, *but: str) -> dict[str, list[tuple[bytes, bytes]]]:
    """Every row of every table."""
    with open_store(data) as store, store.snapshot() as view:
        return {table: list(view.range(table)) for table in view.tables if table not in but}


@pytest.fixture
def shop(volley, data, tmp_path):
    (data / "volley.toml").write_text(
        '[[endpoint]]\nname = "main"\nhost = "192.0.2.1"\nsystem_id = "real"\npassword = "secret"\nrate = 400\n'
    )
    assert volley("tenant", "create", "Shop", "--region", "DE", "--sender", "SHOP", "--data", data).status == 0
    assert volley("field", "add", "name", "text", "--data", data).status == 0
    rows = [f"+49170{1234560 + i},{NAMES[i % 3]}" for i in range(MEMBERS - 1)] + ["+491709999999,"]
    (tmp_path / "members.csv").write_text("msisdn,name\n" + "\n".join(rows) + "\n", "utf-8")
    said = volley("import", tmp_path / "members.csv", "--data", data)
    assert said.status == 0, said.err
    return data


@pytest.fixture
def draft(volley, shop):
    made = volley("campaign", "create", "Autumn", "--text", TEXT, "--data", shop)
    assert made.status == 0, made.err
    return made.out.strip()


@contextmanager
def rehearsing(data: Path, draft: str) -> Iterator[subprocess.Popen[str]]:
    """As the API starts it; past its first step of `send`."""
    argv = [sys.executable, "-m", "dispatcher.cli", "campaign", "rehearse", draft, "--data", str(data), "--steps"]
    with subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(json.loads(line).get("step") == "send" for line in process.stdout)
        yield process


def pids_in(data: Path) -> list[int]:
    """Processes that were told this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            argv = (entry / "cmdline").read_bytes().decode().split("\0") if entry.name.isdecimal() else []
        except OSError:
            continue
        if any(word.startswith(str(data / FOLDER)) for word in argv):
            found.append(int(entry.name))
    return found


def test_a_rehearsal_sends_everything_to_the_simulator_and_leaves_the_store_as_it_was(volley, shop, draft):
    assert volley("price", "set", "49=70000", "--data", shop).status == 0
    preview = volley("campaign", "preview", draft, "--data", shop, "--json").json
    before = the_store(shop, "audit", "meta")
    said = volley("campaign", "rehearse", draft, "--data", shop, "--json")
    assert said.status == 0, said.err
    answer = said.json
    assert answer["differences"] == []
    assert (answer["messages"], answer["skipped"]) == (preview["will_send"], {"no_value": 1})
    assert answer["parts"] == sum(int(parts) * n for parts, n in preview["parts"].items())
    assert (answer["billed_parts"], answer["cost_micros"]) == (preview["billed_parts"], preview["cost_micros"])
    assert answer["cost_micros"] == 70_000 * answer["parts"]
    assert {one["what"]: one["parts"] for one in answer["endpoints"]} == {
        "accepted": answer["parts"], "receipt": answer["parts"],
    }  # fmt: skip
    assert len(answer["samples"]) == 10
    said_to = {TEXT.replace("{name}", name): parts for name, parts in zip(NAMES, (1, 2, 1), strict=True)}
    assert {sample["text"] for sample in answer["samples"]} == set(said_to)
    assert all(said_to[sample["text"]] == sample["parts"] for sample in answer["samples"])
    assert all("1234" not in sample["to"] for sample in answer["samples"])
    assert the_store(shop, "audit", "meta") == before
    assert not (shop / FOLDER).exists()
    lines = volley("audit", "list", "--data", shop, "--json").rows
    assert [line["command"] for line in lines].count("campaign.rehearse") == 1
    assert volley("verify", "--data", shop).status == 0


def test_a_share_is_drawn_by_hash_and_the_whole_is_extrapolated(volley, shop, draft):
    argv = ("--share", "0.5", "--status-share", "100:0x0B", "--keep")
    answer = volley("campaign", "rehearse", draft, *argv, "--data", shop, "--json").json
    assert 0 < answer["messages"] < MEMBERS - 1 and answer["extrapolated"]
    assert answer["preview"]["will_send"] == MEMBERS - 1
    assert [(one["state"], one["error"]) for one in answer["errors"]] == [("failed", 0x0B)]
    assert answer["samples"] == []  # the simulator took none
    folder = Path(answer["folder"])
    assert (
        "192.0.2.1" not in (folder / "volley.toml").read_text() and "secret" not in (folder / "volley.toml").read_text()
    )
    volley("campaign", "edit", draft, "--segment", "everyone limit 5", "--data", shop)
    refused = volley("campaign", "rehearse", draft, "--share", "0.5", "--data", shop)
    assert refused.status == 1 and "cut to a number" in refused.err
    assert not folder.exists()


def test_what_a_start_would_be_refused_for_a_rehearsal_is(volley, shop, draft):
    unknown = volley("campaign", "rehearse", "cmp_038G000000000", "--data", shop)
    assert unknown.status == 1 and "not_found" in unknown.err
    volley("campaign", "edit", draft, "--segment", 'name = "Nobody"', "--data", shop)
    nobody = volley("campaign", "rehearse", draft, "--data", shop)
    assert nobody.status == 1 and "no_recipients" in nobody.err
    volley("campaign", "edit", draft, "--segment", "everyone", "--data", shop)
    assert volley("campaign", "start", draft, "--yes", "--data", shop).status == 0
    begun = volley("campaign", "rehearse", draft, "--data", shop)
    assert begun.status == 1 and "state_conflict" in begun.err
    assert not (shop / FOLDER).exists()


def test_told_to_end_in_the_middle_it_leaves_nothing(volley, shop, draft):
    volley("campaign", "edit", draft, "--rate", "1", "--data", shop)
    with rehearsing(shop, draft) as process:
        second = volley("campaign", "rehearse", draft, "--data", shop)
        assert second.status == 1 and "rehearsal_running" in second.err
        sweep(shop)
        assert (shop / FOLDER / "1" / "volley.toml").exists()  # it is in use
        assert pids_in(shop)
        process.terminate()
        assert process.wait(30) == 130
    assert not (shop / FOLDER).exists()
    assert pids_in(shop) == []


def test_what_a_killed_one_left_goes_at_the_next_start(volley, shop, draft):
    volley("campaign", "edit", draft, "--rate", "1", "--data", shop)
    with rehearsing(shop, draft) as process:
        process.kill()
    assert (shop / FOLDER / "1").exists()
    deadline = time.monotonic() + 20
    while pids_in(shop):  # its children die with it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    sweep(shop)
    assert not (shop / FOLDER).exists()


def test_without_room_it_says_how_much_is_needed(tmp_path):
    need_room(tmp_path, 1_000, 1_000)
    with pytest.raises(StoreFull, match=r"needs .* octets beside the store"):
        need_room(tmp_path, 1 << 60, 1_000)


def test_settings_of_the_rehearsal_are_the_real_ones_but_for_where_they_lead(tmp_path):
    endpoint = Endpoint(
        name="far", host="smsc.example", port=3550, addresses=("other.example:1",), system_id="us", password="pw",
        tls=True, tls_pin="ab" * 32, binds=7, window=33, rate=99, statuses={"0x45": "retry"}, latin1=True,
    )  # fmt: skip
    write_settings(tmp_path, Settings(data=tmp_path / "real", endpoints=(endpoint,)), 4711)
    (found,) = load(data=tmp_path, env={}).endpoints
    assert (found.places, found.password, found.tls, found.tls_pin) == ((("127.0.0.1", 4711),), "", False, "")
    kept = ("name", "system_id", "binds", "window", "rate", "statuses", "latin1")
    assert [getattr(found, name) for name in kept] == [getattr(endpoint, name) for name in kept]


def test_quiet_hours_are_passed_over_unless_they_are_asked_for(volley, shop):
    assert volley("tenant", "edit", "ten_0000000000001", "--market", "us", "--data", shop).status == 0
    number = "+12125550123"
    assert volley("member", "set", number, "name=Ann", "--data", shop).status == 0
    assert volley("consent", "add", number, "marketing", "--source", "till", "--data", shop).status == 0
    made = volley("campaign", "create", "Night", "--text", "Hi {name}", "--data", shop)
    assert made.status == 0, made.err
    campaign = parse_public_id("cmp", made.out.strip())
    with open_store(shop) as store, store.snapshot() as view:
        at_once = plan(view, 1, campaign, CLOSED)
        waits = plan(view, 1, campaign, CLOSED, windows=True)
    assert (at_once.seen["will_send"], at_once.seen["waiting"], at_once.passed_over) == (1, 0, ["quiet hours"])
    assert (waits.seen["will_send"], waits.seen["waiting"], waits.passed_over) == (1, 1, [])
    assert waits.all_numbers and not at_once.all_numbers


def test_a_folder_is_one_tenants_at_a_time(tmp_path):
    with Scratch(tmp_path, 1) as folder, Scratch(tmp_path, 2) as other:
        (folder / "left").mkdir()
        assert folder != other
        with pytest.raises(CommandRefused, match="under way"):
            Scratch(tmp_path, 1).__enter__()
    assert os.listdir(tmp_path) == []
