"""Makes tests/store/schema_1: a small data folder as schema 1 had it, kept for the migrations of later schemas.

    python -m tests.store.make_schema_1

Run by hand and only by a version whose schema is 1: a real dispatcher and simulator fill a folder with a row of every
kind, then the store is copied compactly. test_schema_1.py knows what is in it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from bench.rig import Rig
from dispatcher.campaigns.progress import progress
from dispatcher.cli.talk import ask
from dispatcher.clock import SystemClock
from dispatcher.control.commands import (
    AddPoints,
    AddSuppression,
    CreateCampaign,
    CreateKey,
    CreateTenant,
    DefineField,
    EndImportBody,
    Envelope,
    EraseMember,
    OpenImport,
    PreviewCampaign,
    SaveSegment,
    StartCampaign,
    UpsertMember,
)
from dispatcher.members.import_files import finish_body, import_folder
from dispatcher.members.importer import import_json
from dispatcher.records.keys import new_id, parse_public_id
from dispatcher.store import Store, open_store
from dispatcher.store.layout import SCHEMA
from dispatcher.tenants.keys import hash_secret

FOLDER = Path(__file__).with_name("schema_1")
SENDER = "10690000"
KEY_SECRET = "vk_of-the-kept-folder-and-of-nothing-else-0"
FIELDS = (
    DefineField(title="name", kind="text", max_length=40, pii=True),
    DefineField(title="note", kind="text", max_length=200),
    DefineField(title="tier", kind="dict", values=["basic", "gold"], closed=True),
    DefineField(title="city", kind="dict", max_values=60_000),
    DefineField(title="visits", kind="int", bits=32),
    DefineField(title="serial", kind="int"),
    DefineField(title="joined", kind="date"),
    DefineField(title="birthday", kind="month_day"),
    DefineField(title="vip", kind="bool"),
    DefineField(title="spend", kind="money"),
    DefineField(title="tags", kind="tags", values=["tea", "coffee", "cake"]),
)
IMPORTED, MEMBERS = 15, 20
LONG = 3  # this member's text takes two parts
SUPPRESSED, STOPPED, ASKED, WROTE, ERASED = 5, 6, 7, 8, 19
TEXT = "Hello {name|friend}, you have {points|0} points. {note|}"
EVERY_REFUSED = 8  # the eighth submit_sm and so on: ESME_RINVDSTADR


def number(member: int) -> int:
    return 4915100000000 + member


def values(member: int) -> dict[str, Any]:
    """What member number `member` was given; every third leaves half of it unknown."""
    known: dict[str, Any] = {
        "name": f"No{member} Müller",
        "tier": ("basic", "gold")[member % 2],
        "vip": member % 2 == 0,
    }
    if member % 3:
        known |= {
            "city": f"City {member % 4}",
            "visits": member * 1_000 - 5_000,
            "serial": -(1 << 40) - member,
            "joined": f"19{60 + member}-02-28",
            "birthday": f"02-{10 + member}",
            "spend": member * 1_250_000,
            "tags": ["tea", "cake"][: member % 3],
        }
    return known | ({"note": " ".join(["long"] * 30)} if member == LONG else {})


def csv() -> str:
    """Members 0 to IMPORTED as a file, and one row that must be rejected."""
    names = ["phone", "points", *(field.title for field in FIELDS)]
    rows = [names]
    for member in range(IMPORTED):
        row = {"phone": f"+{number(member)}", "points": str(10 * member), **values(member)}
        row |= {"tags": ";".join(row.get("tags", ())), "vip": "yes" if row["vip"] else "no"}
        row |= {"spend": str(row["spend"] / 1_000_000)} if "spend" in row else {}
        rows.append([str(row.get(name, "")) for name in names])
    rows.append([{"phone": f"+{number(99)}", "joined": "1990-02-30"}.get(name, "") for name in names])
    return "".join(",".join(row) + "\n" for row in rows)


def make(target: Path) -> None:
    """Replace `target` by a new folder."""
    assert SCHEMA == 1, "this makes schema 1"
    with tempfile.TemporaryDirectory() as name, Rig(Path(name) / "data", binds=1) as rig, open_store(rig.data) as store:
        rig.start_smsc("--status-every", f"{EVERY_REFUSED}:0x0B")
        rig.start_dispatcher()
        rig.wait_until_bound()
        _fill(rig, store)
        rig.stop_dispatcher()
        shutil.rmtree(target, ignore_errors=True)
        (target / "store").mkdir(parents=True)
        store.env.copy(str(target / "store"), compact=True)


def _fill(rig: Rig, store: Store) -> None:
    rig.do(
        CreateTenant(title="Corner Shop", zone="Europe/Berlin", region="DE", sender=SENDER, brand="Corner"), tenant=0
    )
    rig.do(CreateKey(for_tenant=1, title="till", scopes=["members:read"], secret_sha256=hash_secret(KEY_SECRET)))
    for field in FIELDS:
        rig.do(field)
    _import(rig, store)
    for member in range(IMPORTED, MEMBERS):
        rig.do(UpsertMember(msisdn=f"+{number(member)}", values=values(member)))
    rig.do(UpsertMember(member_no=0, values={"name": "Renamed", "tags": ["coffee"]}))  # a delta row over its block
    rig.do(EraseMember(member_no=ERASED))
    rig.do(AddSuppression(numbers=[f"+{number(SUPPRESSED)}"], why="asked by letter"))
    for key, delta in (("till-1", 50), ("till-2", -20)):
        rig.do(AddPoints(member_no=1, delta=delta, source="pos", key=key, why="bought tea"))
    rig.do(SaveSegment(title="Gold", expr='tier = "gold"'))
    _keyed(rig, SaveSegment(title="Tea", expr='has tag "tea"'))
    _heard(rig, STOPPED, "STOP", answers=1)
    _send(rig, store)
    _heard(rig, ASKED, "POINTS", answers=1)
    _heard(rig, WROTE, "When do you open?", answers=0)
    rig.do(CreateCampaign(title="Winter", expr="everyone", text="Soon"))


def _import(rig: Rig, store: Store) -> None:
    import_id = new_id(SystemClock().epoch_ms(), 1)
    place = import_folder(rig.data, import_id)
    place.mkdir(parents=True)
    octets = (place / "body").write_bytes(csv().encode())
    rig.do(OpenImport(import_id=import_id, filename="members.csv"))
    finish_body(place, octets)
    rig.do(EndImportBody(import_id=import_id, octets=octets))

    def done() -> bool:
        with store.snapshot() as view:
            row = import_json(view, 1, import_id)
        return row is not None and row["state"] == "done"

    rig.wait("the import is done", done, 20)


def _keyed(rig: Rig, command: Any) -> None:
    """As an API call with an Idempotency-Key."""
    at_ms = SystemClock().epoch_ms()
    envelope = Envelope(tenant=1, actor="key_1", at_ms=at_ms, reason="first", request_key="once", fingerprint="f")
    assert ask(rig.settings, command, envelope)


def _heard(rig: Rig, member: int, text: str, *, answers: int) -> None:
    """A text from a phone; until its answer is accepted."""
    before, inbound = rig.smsc_summary()["accepted"], sum(rig.status()["inbound"].values())
    with rig.mo.open("a") as file:
        file.write(f"{number(member)}\t{SENDER}\t{text}\n")
    rig.wait("the text is kept", lambda: sum(rig.status()["inbound"].values()) > inbound, 20)
    rig.wait("it is answered", lambda: rig.smsc_summary()["accepted"] == before + answers, 20)


def _send(rig: Rig, store: Store) -> None:
    made = rig.do(CreateCampaign(title="Autumn", expr='tier in ("basic", "gold")', text=TEXT))
    campaign = parse_public_id("cmp", made["id"])
    assert campaign is not None
    preview = rig.do(PreviewCampaign(campaign=campaign))
    rig.do(StartCampaign(campaign=campaign, token=preview["token"]))

    def over() -> bool:
        with store.snapshot() as view:
            found = progress(view, 1, campaign)
        return found is not None and found["state"] == "done" and not found["pending"]

    rig.wait("the campaign is done", over, 20)


if __name__ == "__main__":
    make(FOLDER)
