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
    loaded = volley("route", "load-ported", file, "--data", data, "--json")
    assert (loaded.status, loaded.json["count"], [one["line"] for one in loaded.json["wrong"]]) == (1, 1, [3])
    found = volley("smpp", "route", "8613800000000", "--data", data, "--json").json
    assert found["network"] == "ctcc"
    assert not list(data.glob("*.spool"))
