"""volley field: the call that other tools use, changes in use, and stats, without a dispatcher."""

from __future__ import annotations

from typing import Any

import pytest

KINDS = ("dict", "int", "date", "month_day", "bool", "money", "tags", "text")


@pytest.fixture
def shop(volley: Any, data: Any) -> Any:
    assert volley("tenant", "create", "Shop", "--region", "DE", "--data", data).status == 0
    assert volley("field", "add", "tier", "dict", "--value", "basic", "--value", "gold", "--data", data).status == 0
    assert volley("field", "add", "visits", "int", "--bits", "32", "--data", data).status == 0
    for i, word in enumerate(("gold", "gold", "basic")):
        member = ("member", "set", f"+49170123456{i}", f"tier={word}", f"visits={i}")
        assert volley(*member, "--data", data).status == 0
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_of_every_kind_is_added_by_name_and_kind_alone(volley: Any, shop: Any, kind: str):
    said = volley("field", "add", "fresh", kind, "--data", shop)
    assert (said.status, said.out) == (0, f"fresh ({kind})\n")
    rows = {row["name"]: row for row in volley("field", "list", "--data", shop, "--json").rows}
    assert rows["fresh"]["kind"] == kind
    assert volley("field", "add", "fresh", kind, "--data", shop, "--json").json["kind"] == kind


def test_a_field_is_shown_and_changed(volley: Any, shop: Any):
    changed = volley(
        "field", "edit", "tier", "--max-values", "500", "--label", "Tier", "--pii", "--data", shop, "--json"
    )
    assert (changed.json["bits"], changed.json["label"], changed.json["pii"]) == (16, "Tier", True)
    assert volley("field", "edit", "tier", "--no-pii", "--rank", "survey", "--data", shop).out == "tier (dict)\n"
    shown = volley("field", "show", "tier", "--data", shop, "--json").json
    assert (shown["pii"], shown["source_rank"], shown["values"]) == (False, ["survey"], ["basic", "gold"])


def test_a_name_and_a_word_change_and_members_follow(volley: Any, shop: Any):
    assert volley("field", "rename", "tier", "level", "--data", shop).out == "tier is level\n"
    assert volley("field", "value", "rename", "level", "gold", "golden", "--data", shop).status == 0
    counted = volley("segment", "count", 'level = "golden"', "--data", shop, "--json").json
    assert counted["matched"] == 2


def test_a_field_is_retired_and_restored(volley: Any, shop: Any):
    retired = volley("field", "retire", "tier", "--data", shop, "--json").json
    assert [row["name"] for row in volley("field", "list", "--retired", "--data", shop, "--json").rows] == ["tier"]
    assert volley("field", "add", "tier", "int", "--data", shop).status == 0
    assert volley("field", "restore", retired["id"], "--data", shop).status == 1
    assert volley("field", "restore", retired["id"], "--as", "old_tier", "--data", shop).out == "old_tier (dict)\n"
    assert volley("segment", "count", 'old_tier = "gold"', "--data", shop, "--json").json["matched"] == 2


def test_stats_are_told_in_lines_and_in_json(volley: Any, shop: Any):
    said = volley("field", "stats", "tier", "--data", shop).out.splitlines()
    assert said[0].startswith("tier (dict): 3 of 3 members known, 0 unknown, 2 distinct")
    assert said[1].split()[:2] == ["gold", "2"]
    found = volley("field", "stats", "visits", "--bins", "4", "--data", shop, "--json").json
    assert (found["min"], found["max"], [part["count"] for part in found["histogram"]]) == (0, 2, [1, 1, 1])


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["add", "x", "float"], 2, "'float'"),
        (["add", "Not-Good", "int"], 1, "in lower case"),
        (["edit", "tier"], 2, "nothing to change"),
        (["edit", "tier", "--max-values", "1"], 1, "2 (values it has) to 65,535"),
        (["rename", "teir", "level"], 1, "did you mean 'tier'"),
        (["rename", "tier", "visits"], 1, "already"),
        (["retire", "points"], 1, "cannot be changed"),
        (["restore", "tier"], 1, "not retired"),
        (["stats", "nothing"], 1, "no field 'nothing'"),
        (["value", "rename", "tier", "gold", "basic"], 1, "not merged"),
    ],
)
def test_a_mistake_is_one_line(volley: Any, shop: Any, argv: list[str], status: int, words: str):
    said = volley("field", *argv, "--data", shop)
    assert (said.status, said.err.count("\n")) == (status, 1), said.err
    assert words in said.err
