"""volley import: without a dispatcher, under the writer's lock; what it says and how it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dispatcher.cli.app import run
from dispatcher.members.import_files import import_folder
from dispatcher.store import open_store

GOOD = b"phone,Name,note\n+4915100000001,Ann,x\n015100000002,Bo,y\nbad,Cy,z\n+4915100000001,Anna,\n"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setenv("VOLLEY_DATA", str(folder))
    monkeypatch.delenv("VOLLEY_CONFIG", raising=False)
    assert run(["init", str(folder)]) == 0
    assert run(["tenant", "create", "Shop", "--region", "DE"]) == 0
    assert run(["field", "add", "name", "text"]) == 0
    capsys.readouterr()
    return folder


def written(data: Path, body: bytes) -> str:
    path = data.parent / "members.csv"
    path.write_bytes(body)
    return str(path)


def test_an_import_without_a_dispatcher_says_what_became_of_the_rows(data: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["import", written(data, GOOD)]) == 0
    said = capsys.readouterr().out
    assert "4 rows: 2 new, 1 changed, 1 rejected" in said
    assert "columns: phone -> phone, Name -> name" in said
    assert "ignored columns: note" in said
    assert "line 4, phone: 'bad'" in said
    assert run(["member", "show", "+4915100000001"]) == 0
    assert "Anna" in capsys.readouterr().out
    assert not list((data / "imports").iterdir()), "the customer's file is gone again"


def test_a_dry_run_answers_in_json_and_makes_nobody(data: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["import", written(data, GOOD), "--dry-run", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["rows_read"], answer["members_imported"], answer["dry_run"]) == (4, 2, True)
    assert [reject["line"] for reject in answer["rejects"]] == [4]
    with open_store(data) as store, store.snapshot() as view:
        assert view.count("phones") == 0


def test_a_file_comes_from_stdin_and_its_columns_are_mapped(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    read, write = (io.BytesIO(b"tel|wer\n+4915100000009|Dora\n"), None)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=read, fileno=lambda: -1, write=write))
    assert run(["import", "-", "--map", "tel=phone", "--map", "wer=name", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["members_imported"], answer["delimiter"], answer["filename"]) == (1, "|", "")


@pytest.mark.parametrize(
    ("arguments", "body", "status", "words"),
    [
        (["--map", "Name"], GOOD, 2, "COLUMN=FIELD"),
        (["--map", "Name=nme"], GOOD, 1, "did you mean 'name'"),
        (["--mode", "replace"], GOOD, 2, "replace"),
        ([], b"", 1, "the file is empty"),
        ([], b"+4915100000001,Ann\n", 1, "looks like data"),
    ],
)
def test_what_cannot_be_imported_is_said_and_leaves_nothing(
    data: Path, arguments: list[str], body: bytes, status: int, words: str, capsys: pytest.CaptureFixture[str]
):
    assert run(["import", written(data, body), *arguments]) == status
    said = capsys.readouterr()
    assert words in said.out + said.err
    assert not list((data / "imports").glob("*"))


def test_an_interrupted_import_is_cancelled(data: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dispatcher.cli.imports.run_import_locally", interrupted)
    assert run(["import", written(data, GOOD)]) == 130
    from dispatcher.members.importer import list_imports

    with open_store(data) as store, store.snapshot() as view:
        (row,) = list_imports(view, 1)
    assert row["state"] == "cancelled"
    assert not import_folder(data, 0).parent.exists() or not list((data / "imports").iterdir())
