import os

import pytest

import config
from dispatcher.cli import init
from dispatcher.store import open_store
from dispatcher.tenants.keys import find_key


def test_init_makes_a_folder_that_runs_as_it_is(volley, tmp_path):
    folder = tmp_path / "new" / "data"
    said = volley("init", folder, "--json")
    assert said.status == 0
    settings = config.load(data=folder, env={})
    assert (settings.data, settings.file) == (folder, folder / "volley.toml")
    assert settings.endpoints[0].port == 2775
    with open_store(folder) as store, store.snapshot() as view:
        key = find_key(view, said.json["secret"])
    assert key is not None
    assert (key.tenant, key.scopes) == (0, frozenset("*"))
    assert os.stat(folder / "volley.toml").st_mode & 0o777 == 0o640


def test_the_operators_key_is_shown_and_not_kept(volley, tmp_path):
    secret = volley("init", tmp_path / "data", "--json").json["secret"].encode()
    for file in (tmp_path / "data").rglob("*"):
        assert not file.is_file() or secret not in file.read_bytes()


def test_init_overwrites_nothing(volley, data):
    before = (data / "volley.toml").read_text()
    for name in ("volley.toml", "store"):
        said = volley("init", data)
        assert said.status == 1
        assert "nothing was changed" in said.err
        if name == "volley.toml":
            (data / name).rename(data / "moved")
    assert (data / "moved").read_text() == before


def test_an_init_that_fails_leaves_room_for_the_next(volley, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(init, "_write_new", full)
    assert volley("init", tmp_path / "data").status == 1
    monkeypatch.undo()
    assert volley("init", tmp_path / "data").status == 0


def test_a_tenant_and_its_key_are_made_listed_and_revoked(volley, data):
    tenant = volley("tenant", "create", "Café Nord", "--region", "DE", "--zone", "Europe/Berlin", "--data", data)
    assert tenant.status == 0
    assert tenant.out.startswith("ten_")
    made = volley("key", "create", "--scope", "members:read", "--title", "web", "--data", data, "--json").json
    assert made["secret"].startswith("vk_")
    listed = volley("key", "list", "--data", data, "--json").rows
    assert listed == [{"id": made["id"], "tenant": tenant.out.strip(), "title": "web", "scopes": ["members:read"]}]
    assert volley("key", "revoke", made["id"], "--data", data).out == "revoked\n"
    assert volley("key", "list", "--data", data, "--json").rows == []
    assert "Café Nord" in volley("tenant", "list", "--data", data).out


def test_a_tenant_is_meant_by_its_title_too_where_only_one_has_it(volley, data):
    for title in ("Bakery", "Café Nord", "Café Nord"):
        volley("tenant", "create", title, "--data", data)
    edited = volley("tenant", "edit", "Bakery", "--approval-above", "7", "--data", data, "--json").json
    assert (edited["title"], edited["approval_above"]) == ("Bakery", 7)
    for title, many in (("Café Nord", "2"), ("Nobody", "none")):
        said = volley("tenant", "edit", title, "--approval-above", "7", "--data", data)
        assert said.status == 2 and f"the title of {many}" in said.err


def test_a_new_zone_and_region_are_said_with_what_they_reach(volley, data):
    tenant = volley("tenant", "create", "Shop", "--zone", "Europe/Berlin", "--region", "DE", "--data", data).out.strip()
    draft = volley("campaign", "create", "Spring", "--at", "2027-12-07T09:00", "--data", data).out.strip()
    said = volley("tenant", "edit", tenant, "--zone", "Asia/Shanghai", "--region", "CN", "--data", data)
    assert said.status == 0 and "zone:                Asia/Shanghai" in said.out
    notes = said.err.splitlines()
    assert len(notes) == 3 and all(note.startswith("note: ") for note in notes)
    assert draft in notes[0] and "by Europe/Berlin" in notes[0] and "read as of CN" in notes[2]
    again = volley("tenant", "edit", tenant, "--zone", "Asia/Shanghai", "--data", data, "--json")
    assert (again.json["warnings"], again.err) == ([], "")


def test_without_a_tenant_it_says_how_to_make_one(volley, data):
    said = volley("key", "create", "--title", "shop", "--data", data)
    assert said.status == 2
    assert "volley tenant create" in said.err


def test_with_two_tenants_the_one_meant_must_be_named(volley, data):
    first, _ = (volley("tenant", "create", name, "--data", data).out.strip() for name in ("A", "B"))
    said = volley("key", "list", "--data", data)
    assert said.status == 2
    assert "there are 2 tenants" in said.err
    assert volley("key", "list", "--tenant", first, "--data", data).status == 0


@pytest.mark.parametrize("argv", [["tenant", "create", "A", "--zone", "Mars"], ["key", "revoke", "key_0000000000001"]])
def test_what_is_refused_is_one_line_with_status_1(volley, data, argv):
    said = volley(*argv, "--data", data)
    assert said.status == 1
    assert said.err.startswith("volley: ")
    assert said.err.count("\n") == 1
