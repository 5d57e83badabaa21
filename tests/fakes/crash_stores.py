"""Data folders for crash tests, made once, copied for each run: work that a dispatcher goes on with when it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.people import Expected, define_fields, write_csv
from dispatcher.cli.local_import import run_import_locally
from dispatcher.control import commands as c
from dispatcher.daemon.handlers import run_locally
from dispatcher.members.import_files import finish_body, import_folder
from dispatcher.members.import_job import ImportJob
from dispatcher.records.keys import parse_public_id
from dispatcher.store import Store, open_store
from dispatcher.text.parts import parts
from tests.fakes.crash_judge import Audience

TENANT = 1
IMPORT = 1
FIRST_NUMBER = 8_613_000_000_000
SHORT = "Hello {name|friend}, you have {points|0} points."
LONG = SHORT + " They are good until the end of the month in all our shops."  # two parts in UCS-2, one in GSM 7-bit
RUN_ROWS = 2_048  # a run of the import is a slice or two, so that a few thousand rows make many


@dataclass(frozen=True)
class Prepared:
    """A folder with a running campaign."""

    folder: Path
    campaign: int
    audience: Audience
    resends: bool = False


@dataclass(frozen=True)
class PreparedImport:
    """A folder with an import whose rows nobody has applied yet."""

    folder: Path
    body: bytes
    expected: Expected


def prepare_campaign(folder: Path, members: int, *, purpose: str = "marketing", text: str = SHORT) -> Prepared:
    """A tenant with `members` members and a campaign to all of them, started while no dispatcher ran."""
    numbers = [FIRST_NUMBER + 7 * i for i in range(members)]
    names = [f"Anna {i}" if i % 3 else f"小红{i}" for i in range(members)]
    body = "phone,name\n" + "".join(f"+{n},{name}\n" for n, name in zip(numbers, names, strict=True))
    with open_store(folder, write=True, create=True, sync=False) as store:
        _do(store, c.CreateTenant(title="Shop"), tenant=0)
        _do(store, c.DefineField(title="name", kind="text"))
        _do(store, c.OpenImport(import_id=IMPORT))
        spool(folder, body.encode())
        _do(store, c.EndImportBody(import_id=IMPORT, octets=len(body.encode())))
        shown = run_import_locally(store, TENANT, IMPORT)
        assert shown["members_imported"] == members, shown
        campaign = parse_public_id("cmp", _do(store, c.CreateCampaign(title="x", purpose=purpose, text=text))["id"])
        assert campaign is not None
        token = _do(store, c.PreviewCampaign(campaign=campaign))["token"]
        _do(store, c.StartCampaign(campaign=campaign, token=token))
    texts = [text.replace("{name|friend}", name).replace("{points|0}", "0") for name in names]
    audience = Audience(numbers, [len(parts(text, 0)) for text in texts])
    return Prepared(folder, campaign, audience, purpose in ("transactional", "otp"))


def prepare_import(folder: Path, rows: int, *, whole: bool = True) -> PreparedImport:
    """A tenant with fields and an opened import of `rows` rows, some bad, some repeated; half a body unless `whole`."""
    with open_store(folder, write=True, create=True, sync=False) as store:
        _do(store, c.CreateTenant(title="Shop", region="CN"), tenant=0)
        for wanted in define_fields():
            _do(store, c.DefineField(**wanted))  # type: ignore[arg-type]
        _do(store, c.OpenImport(import_id=IMPORT))
        expected = write_csv(folder / "people.csv", rows, 1)
        body = (folder / "people.csv").read_bytes()
        spool(folder, body if whole else body[: len(body) // 2], whole=whole)
        if whole:
            _do(store, c.EndImportBody(import_id=IMPORT, octets=len(body)))
        job = ImportJob(folder, TENANT, IMPORT, run_rows=RUN_ROWS)
        with store.snapshot() as view:
            job.prepare(view)
        job.close()
    return PreparedImport(folder, body, expected)


def prepare_undo(folder: Path, rows: int) -> PreparedImport:
    """An import of `rows` rows that is done, and whose undo was asked for."""
    prepared = prepare_import(folder, rows)
    with open_store(folder, write=True, sync=False) as store:
        assert run_import_locally(store, TENANT, IMPORT)["state"] == "done"
        _do(store, c.UndoImport(import_id=IMPORT))
    return prepared


def spool(data: Path, octets: bytes, *, whole: bool = True) -> None:
    """Add to the import's body as the admin process does; `whole`: nothing more will come."""
    folder = import_folder(data, IMPORT)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "body").open("ab") as body:
        body.write(octets)
    if whole:
        finish_body(folder, (folder / "body").stat().st_size)


def _do(store: Store, command: Any, tenant: int = TENANT) -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    return run_locally(store, command, c.Envelope(tenant=tenant, actor="test", at_ms=now_ms), now_ms)
