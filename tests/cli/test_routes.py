"""`volley route` and `volley smpp route` without a dispatcher."""

from __future__ import annotations


def test_a_route_is_put_listed_explained_and_deleted(volley, tmp_path):
    data = tmp_path / "data"
    assert volley("init", data, "--json").status == 0
    assert volley("route", "put", "cn", "endpoints=main", "prefixes=86", "--data", data).status == 0
    listed = volley("route", "list", "--data", data, "--json").json
    assert [(one["name"], one["source"]) for one in listed["routes"]] == [("all", "file"), ("cn", "store")]
    found = volley("smpp", "route", "8613800000000", "--data", data, "--json")
    assert (found.status, found.json["endpoint"], found.json["route"], found.json["prefix"]) == (0, "main", "cn", "86")
    nobody = volley("smpp", "route", "4915100000000", "--data", data, "--json")
    assert (nobody.status, nobody.json["endpoint"], nobody.json["reason"]) == (1, None, "no_route")
    wrong = volley("route", "put", "x", "endpoints=main", "hours=8-20", "--data", data)
    assert wrong.status != 0 and "08:00-20:00" in wrong.err
    assert "did you mean 'cn'" in volley("route", "delete", "cnn", "--data", data).err
    assert volley("route", "delete", "cn", "--data", data).status == 0


def test_ported_numbers_are_loaded_and_wrong_lines_are_told(volley, tmp_path):
    data, file = tmp_path / "data", tmp_path / "ported.csv"
    volley("init", data, "--json")
    file.write_text("number,network\n8613800000000,ctcc\nnonsense\n")
    tried = volley("route", "load-ported", file, "--dry-run", "--data", data, "--json")
    assert (tried.status, tried.json["dry_run"], tried.json["count"], tried.json["rejected"]) == (1, True, 1, 1)
    assert volley("route", "ported", "--data", data, "--json").json["count"] == 0
    loaded = volley("route", "load-ported", file, "--data", data, "--json")
    wrong = {
        "file": "ported.csv", "line": 3, "field": "number", "value": "nonsense",
        "rule": "7 to 15 digits with the country's, not beginning with 0",
    }  # fmt: skip
    assert (loaded.status, loaded.json["count"], loaded.json["lines"], loaded.json["wrong"]) == (1, 1, 3, [wrong])
    found = volley("smpp", "route", "8613800000000", "--data", data, "--json").json
    assert found["network"] == "ctcc"
    assert not list(data.glob("*.spool"))
    assert volley("route", "ported", "--wrong", "--data", data, "--json").json == wrong
    said = volley("route", "load-ported", file, "--data", data)
    assert "ported.csv: line 3: number 'nonsense': 7 to 15 digits" in said.err


def test_a_load_of_ported_numbers_is_undone_and_done_again(volley, tmp_path):
    data, file = tmp_path / "data", tmp_path / "ported.csv"
    volley("init", data, "--json")
    assert volley("route", "undo-ported", "--data", data).status != 0
    for network in ("ctcc", "cucc"):
        file.write_text(f"8613800000000,{network}\n")
        assert volley("route", "load-ported", file, "--data", data).status == 0

    def network_now():
        return volley("smpp", "route", "8613800000000", "--data", data, "--json").json["network"]

    for network in ("ctcc", "cucc"):
        assert volley("route", "undo-ported", "--data", data, "--json").json["count"] == 1
        assert network_now() == network
    shown = volley("route", "ported", "--data", data).out
    assert "in use: 1 ported numbers of ported.csv" in shown and "undo turns to: 1 ported" in shown
    file.write_text("nothing here\n")
    nothing = volley("route", "load-ported", file, "--data", data)
    assert nothing.status != 0 and "none of 1 lines" in nothing.err
    assert network_now() == "cucc"
