"""A power cut while an import or its undo is under way: the store of some commit, the folder as it was just before the next.

Rests on: test_power_cut.py for what a cut leaves of the store. Of the import's folder the body is on disk before anybody
says so; row files are not synced, so that a cut may leave them short or as zeros (members/import_files.py).
"""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cli.local_import import run_import_locally
from dispatcher.control.commands import Envelope, UndoImport
from dispatcher.daemon.handlers import run_locally
from dispatcher.store import Store, open_store
from dispatcher.store.verify import verify
from tests.fakes.crash_stores import IMPORT, TENANT, PreparedImport, prepare_import
from tests.store.test_power_cut import cut_between, image, put_back

ROWS = 6_000  # three runs
CUTS = 5
Moment = tuple[bytes, bytes, Path]  # the store before a commit and after it, the imports' folder just before


def lived(data: Path, work: Callable[[Store], object]) -> list[Moment]:
    """Do all the work on a folder; every commit of its slices with what was there."""
    moments: list[Moment] = []
    with open_store(data, write=True) as store:
        work(store)
        images = [image(store)]

        def watch(_: dict[str, Any]) -> None:
            images.append(image(store))
            kept = Path(tempfile.mkdtemp(dir=data.parent))
            with contextlib.suppress(shutil.Error):  # a run that goes meanwhile: a cut in that moment finds it or not
                shutil.copytree(data / "imports", kept, dirs_exist_ok=True)
            moments.append((images[-2], images[-1], kept))

        run_import_locally(store, TENANT, IMPORT, watch)
    return moments


def damage(folder: Path, rng: random.Random) -> int:
    """Row files are never synced (run.json is): short or zero in places; how many."""
    files = [file for file in sorted(folder.rglob("run-*/*")) if file.suffix != ".json" and file.stat().st_size]
    hurt = [file for file in files if rng.random() < 0.2]
    for file in hurt:
        octets = file.read_bytes()
        cut = rng.randrange(len(octets))
        file.write_bytes(octets[:cut] + (bytes(len(octets) - cut) if rng.random() < 0.5 else b""))
    return len(hurt)


def gone_on(tmp_path: Path, moment: Moment, rng: random.Random, *, damaged: bool) -> dict[str, Any]:
    """The row of an import that was cut off in this moment and then done to its end; the store adds up."""
    before, after, kept = moment
    folder = put_back(tmp_path / "cut", cut_between(before, after, rng))
    shutil.rmtree(folder / "imports", ignore_errors=True)
    shutil.copytree(kept, folder / "imports")
    if damaged:
        damage(folder / "imports", rng)
    with open_store(folder, write=True, sync=False) as store:
        row = run_import_locally(store, TENANT, IMPORT)
        with store.snapshot() as view:
            assert verify(view)["problems"] == []
    return row


def ask_for_undo(store: Store) -> None:
    run_locally(store, UndoImport(import_id=IMPORT), Envelope(tenant=TENANT, actor="test", at_ms=1), 1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedImport:
    return prepare_import(tmp_path_factory.mktemp("import") / "made", ROWS)


@pytest.mark.parametrize("damaged", [False, True], ids=["files whole", "files damaged"])
def test_an_import_goes_on_from_a_cut_at_any_commit_to_the_exact_counts(tmp_path: Path, prepared, damaged: bool):
    rng = random.Random(int(damaged))
    shutil.copytree(prepared.folder, tmp_path / "data")
    moments = lived(tmp_path / "data", lambda store: None)
    assert len(moments) > CUTS
    for moment in rng.sample(moments, CUTS):
        row = gone_on(tmp_path, moment, rng, damaged=damaged)
        assert (row["state"], row["rows_read"]) == ("done", prepared.expected.rows)
        assert (row["members_imported"], row["rows_updated"], row["rows_rejected"]) == (
            prepared.expected.members, prepared.expected.updated, prepared.expected.rejected,
        )  # fmt: skip


def test_an_undo_goes_on_from_a_cut_at_any_commit_until_nobody_is_left(tmp_path: Path, prepared):
    rng = random.Random(3)
    shutil.copytree(prepared.folder, tmp_path / "data")
    lived(tmp_path / "data", lambda store: None)
    moments = lived(tmp_path / "data", ask_for_undo)
    for moment in moments:
        row = gone_on(tmp_path, moment, rng, damaged=False)
        assert (row["state"], row["undo"]["removed"], row["undo"]["conflicts_found"]) == (
            "undone", prepared.expected.members, 0,
        )  # fmt: skip
