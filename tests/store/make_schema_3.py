"""Makes tests/store/schema_3: a small data folder as schema 3 had it, the version before message_ids were kept.

    python -m tests.store.make_schema_3

Run by hand and only by a version whose schema is 3: what make_schema_1.py fills, and a row of every table since then,
an archived campaign with texts of two parts among them. test_schema_3.py knows what is in it.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from bench.rig import Rig
from dispatcher.control.commands import (
    AddSuppression,
    ArchiveCampaign,
    EditTenant,
    ImportSuppressions,
    PutRoute,
    RecordConsents,
    RegisterSignature,
    SendMessages,
    SetPrices,
    TopUp,
)
from dispatcher.outcomes.inbound import Recent, hear
from dispatcher.records.events import Delivered
from dispatcher.store import Store, open_store
from dispatcher.store.layout import ARCHIVE_FOLDER, SCHEMA
from tests.store.make_schema_1 import EVERY_REFUSED, SENDER, _fill, number

FOLDER = Path(__file__).with_name("schema_3")
WRITES, HALF, REST = 9, b"half of a long ", b"message"
HEARD_MS = 1_790_000_000_000
HASHED, BRAND = 4915100000077, "Corner"


def make(target: Path) -> None:
    """Replace `target` by a new folder."""
    assert SCHEMA == 3, "this makes schema 3"
    with tempfile.TemporaryDirectory() as name, Rig(Path(name) / "data", binds=1) as rig:
        with open_store(rig.data) as store:
            rig.start_smsc("--status-every", f"{EVERY_REFUSED}:0x0B")
            rig.start_dispatcher()
            rig.wait_until_bound()
            _fill(rig, store)
            _fill_more(rig, store)
            rig.stop_dispatcher()
        with open_store(rig.data, write=True) as store:
            with store.begin_write() as view:
                view.apply(hear(view, part(1, HALF), HEARD_MS, Recent())[0])
            shutil.rmtree(target, ignore_errors=True)
            (target / "store").mkdir(parents=True)
            store.env.copy(str(target / "store"), compact=True)
            shutil.copytree(rig.data / ARCHIVE_FOLDER, target / ARCHIVE_FOLDER)


def part(no: int, text: bytes) -> Delivered:
    """One of two."""
    octets = bytes((5, 0, 3, 7, 2, no)) + text
    return Delivered(source_addr=str(number(WRITES)), destination_addr=SENDER, esm_class=0x40, octets=octets)


def campaign_of(store: Store, title: str) -> int:
    from dispatcher.campaigns.campaign import list_campaigns

    with store.snapshot() as view:
        return next(campaign for campaign, row in list_campaigns(view, 1) if row["title"] == title)


def _fill_more(rig: Rig, store: Store) -> None:
    told = {"to": f"+{number(1)}", "text": "Your code is 1234", "purpose": "otp", "validity_s": 60}
    rig.do(SendMessages(messages=[told]))
    rig.do(RecordConsents(consents=[{"number": f"+{number(2)}", "purpose": "marketing", "source": "till"}]))
    rig.do(ImportSuppressions(hashes=[hashlib.sha256(str(HASHED).encode()).hexdigest()], why="a list of before"))
    rig.do(AddSuppression(numbers=[f"+{number(12)}"], signature=BRAND))
    rig.do(RegisterSignature(text=BRAND))
    rig.do(SetPrices(prices={"49": 70_000}), tenant=0)
    rig.do(EditTenant(changes={"prepaid": True}), tenant=1)
    rig.do(TopUp(micros=9_000_000), tenant=1)
    rig.do(PutRoute(title="germany", values={"prefixes": ["49"], "endpoints": ["bench"]}), tenant=0)
    rig.do(ArchiveCampaign(campaign=campaign_of(store, "Autumn")))

    def archived() -> bool:
        with store.snapshot() as view:
            return bool(view.count("archives"))

    rig.wait("the campaign is archived", archived, 20)


if __name__ == "__main__":
    make(FOLDER)
