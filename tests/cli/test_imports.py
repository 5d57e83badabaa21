"""volley import: without a dispatcher, under the writer's lock; what it says and how it ends."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    assert run(["import", *arguments, "--json"]) == status
    return dict(json.loads(capsys.readouterr().out))


def phones(data: Path) -> int:
    with open_store(data) as store, store.snapshot() as view:
        return view.count("phones")


def test_a_dry_run_offers_its_commit_and_the_commit_its_undo(data: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["import", written(data, GOOD), "--dry-run"]) == 0
    offered = capsys.readouterr().out.splitlines()[-1]
    assert "volley import commit imp_" in offered
    made = offered.rpartition(" ")[2]
    assert (phones(data), len(list((data / "imports").iterdir()))) == (0, 1)
    assert run(["import", "commit", made]) == 0
    assert "2 new" in capsys.readouterr().out
    assert (phones(data), list((data / "imports").iterdir())) == (2, [])
    assert run(["member", "set", "+4915100000002", "name=Bob"]) == 0
    capsys.readouterr()
    assert run(["import", "undo", made]) == 1
    said = capsys.readouterr().out
    assert "1 of its members have changed since" in said and "+4915100000002: name" in said
    assert phones(data) == 2
    answer = shown(capsys, "undo", made, "--skip-changed")
    assert (answer["state"], answer["undo"]["removed"], phones(data)) == ("undone", 1, 1)
    assert run(["import", "status", made]) == 0
    assert "undone" in capsys.readouterr().out


def test_a_dry_run_is_cancelled_with_its_file(data: Path, capsys: pytest.CaptureFixture[str]):
    made = shown(capsys, written(data, GOOD), "--dry-run")["id"]
    assert run(["import", "cancel", made]) == 0
    assert not list((data / "imports").iterdir())
    assert run(["import", "commit", made]) == 1
    assert "cancelled" in capsys.readouterr().err


def test_imports_are_listed_and_their_rejects_go_to_a_spreadsheet_safely(
    data: Path, capsys: pytest.CaptureFixture[str]
):
    made = shown(capsys, written(data, GOOD + b"=1+2,x,y\n"))["id"]
    assert run(["import", "list", "--json"]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["id"], row["rows_rejected"]) == (made, 2)
    assert run(["import", "rejects", made]) == 0
    head, *lines = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert head[:5] == ["line", "column", "value", "code", "hint"]
    assert [line[2] for line in lines] == ["bad", "'=1+2"]
    assert run(["import", "rejects", made, "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_mapping_file_names_fields_and_transforms(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mapping = tmp_path / "mapping.json"
    mapping.write_text(json.dumps({"tel": "phone", "wer": {"field": "name", "values": {"x": "Xaver"}}}))
    path = written(data, b"tel,wer\n+4915100000009,x\n")
    assert shown(capsys, path, "--mapping", str(mapping))["members_imported"] == 1
    assert run(["member", "show", "+4915100000009"]) == 0
    assert "Xaver" in capsys.readouterr().out
    mapping.write_text("[]")
    assert run(["import", path, "--mapping", str(mapping)]) == 2


def test_tags_join_or_with_replace_tags_take_the_place(data: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["field", "add", "labels", "tags"]) == 0
    capsys.readouterr()
    for arguments, cells, labels in (
        ([], "a;b", ["a", "b"]), ([], "c", ["a", "b", "c"]), (["--mode", "replace_tags"], "d", ["d"]),
        (["--mode", "replace_tags"], "", []),
    ):  # fmt: skip
        shown(capsys, written(data, f"phone,labels\n+4915100000009,{cells}\n".encode()), *arguments)
        assert run(["member", "show", "+4915100000009", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["values"]["labels"] == labels


def test_help_tells_the_file_and_the_verbs(capsys: pytest.CaptureFixture[str]):
    assert run(["import", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--dry-run" in said and "commit ID" in said
    assert run(["import", "undo", "--help"]) == 0
    assert "--skip-changed" in capsys.readouterr().out
