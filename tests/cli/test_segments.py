"""volley segment, on a data folder with no dispatcher running."""

import pytest

TIERS = ["--value", "basic", "--value", "gold", "--closed"]


@pytest.fixture
def shop(volley, data):
    assert volley("tenant", "create", "Shop", "--region", "DE", "--zone", "Europe/Berlin", "--data", data).status == 0
    assert volley("field", "add", "tier", "dict", *TIERS, "--data", data).status == 0
    assert volley("field", "add", "visits", "int", "--data", data).status == 0
    assert volley("field", "add", "joined", "date", "--data", data).status == 0
    for index in range(6):
        values = [f"tier={'basic' if index % 3 else 'gold'}", f"visits={index}", f"joined=2026-0{index + 1}-10"]
        made = volley("member", "set", f"+49170123456{index}", *values, "--data", data)
        assert made.status == 0, made.err
    return data


@pytest.fixture
def segment(volley, shop):
    def call(*argv):
        return volley("segment", *argv, "--data", shop)

    return call


def test_a_count_in_json_is_one_object_with_the_promised_names(segment):
    (found,) = segment("count", 'tier = "gold"', "--json").rows
    assert {"matched", "reachable", "waterfall", "unknown", "ms", "as_of"} <= set(found)
    assert (found["matched"], found["reachable"], found["unknown"]) == (2, 2, 0)
    assert "matched 2, reachable 2" in segment("count", 'tier = "gold"').out
    assert segment("count", "everyone", "--purpose", "transactional", "--json").json["matched"] == 6


def test_as_of_is_an_instant_in_the_tenants_zone(segment):
    def counted(as_of):
        return segment("count", "joined in last 31 days", "--as-of", as_of, "--json").json

    assert (counted("2026-02-01")["matched"], counted("2026-02-10T12:00")["matched"]) == (1, 2)
    assert counted("2026-02-01")["as_of"] == "2026-02-01T00:00:00.000+01:00"
    assert counted("2026-02-01T00:00+00:00")["as_of"] == "2026-02-01T01:00:00.000+01:00"


def test_explain_says_what_each_condition_read(segment):
    shown = segment("count", 'tier = "gold" and visits > 1', "--explain")
    assert shown.status == 0, shown.err
    assert "matched 1" in shown.out
    (found,) = segment("count", 'tier = "gold" and visits > 1', "--explain", "--json").rows
    assert (found["matched"], len(found["explain"]["conditions"])) == (1, 2)


def test_a_file_of_numbers_is_kept_and_its_wrong_lines_are_named(segment, tmp_path):
    (tmp_path / "friday.txt").write_text("0170 1234560\n\n+491701234561\n12\n")
    said = segment("numbers", tmp_path / "friday.txt", "Friday")
    assert "Friday: 2 members" in said.out and "line 4: no valid number" in said.out
    assert segment("count", 'in segment "Friday"', "--json").json["matched"] == 2
    (tmp_path / "none.txt").write_text("\n")
    assert "no number is in it" in segment("numbers", tmp_path / "none.txt", "None").err


def test_a_snapshot_is_kept_counted_and_deleted(segment):
    kept = segment("snapshot", 'tier = "gold"', "Gold then", "--as-of", "2026-03-01", "--json").json
    assert (kept["title"], kept["frozen"]["count"], kept["frozen"]["rule"]) == ("Gold then", 2, 'tier = "gold"')
    assert segment("count", 'in segment "Gold then"', "--json").json["matched"] == 2
    assert "2 members as of" in segment("snapshot", kept["id"], "Again").out
    assert segment("snapshot", "everyone", "Again").status == 1
    assert segment("delete", "Again").status == segment("delete", "Gold then").status == 0


def test_a_segment_is_saved_shown_versioned_and_deleted(segment):
    saved = segment("save", "Golden", 'tier  =  "gold"', "--description", "for spring", "--json").json
    assert (saved["title"], saved["expr"], saved["version"]) == ("Golden", 'tier = "gold"', 1)
    assert "version 2" in segment("save", "Golden", "visits > 3").out
    shown = segment("show", "Golden", "--json").json
    assert (shown["id"], shown["expr"], shown["description"]) == (saved["id"], "visits > 3", "for spring")
    versions = segment("show", saved["id"], "--versions", "--json").rows
    assert [(row["version"], row["expr"]) for row in versions] == [(1, 'tier = "gold"'), (2, "visits > 3")]
    assert [row["title"] for row in segment("list", "--json").rows] == ["Golden"]
    assert segment("count", saved["id"], "--json").json["matched"] == 2
    assert segment("delete", "Golden").out == "deleted Golden\n"
    assert segment("list", "--json").rows == []
    assert segment("counts", saved["id"]).status == 1


def test_members_are_listed_a_line_each(segment):
    lines = segment("members", "visits >= 2").out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("mem_") for line in lines)
    assert [row["id"] for row in segment("members", "visits >= 2", "--limit", "2", "--json").rows] == lines[:2]


def test_overlap_histogram_and_sample(segment):
    found = segment("overlap", 'tier = "gold"', "visits >= 3", "--json").json
    assert (found["shared"], found["union"]) == ([[2, 1], [1, 3]], 4)
    shown = segment("overlap", 'tier = "gold"', "visits >= 3").out
    assert "in any 4, in all 1" in shown
    found = segment("histogram", "everyone", "tier", "--json").json
    assert found["top"] == [{"value": "basic", "count": 4}, {"value": "gold", "count": 2}]
    assert "basic            4 ####" in segment("histogram", "everyone", "tier").out
    assert "known 6, unknown 0" in segment("histogram", "everyone", "visits", "--bins", "2").out
    rows = segment("sample", "everyone", "-n", "3", "--seed", "a", "--json").rows
    assert len(rows) == 3
    assert segment("sample", "everyone", "-n", "3", "--seed", "a", "--json").rows == rows
    assert "gold" in segment("sample", 'tier = "gold"').out


def test_daily_counts_of_a_new_segment_are_none_yet(segment):
    segment("save", "Golden", 'tier = "gold"')
    assert segment("counts", "Golden", "--json").rows == []
    assert segment("counts", "Golden", "--from", "2026-01-01", "--to", "2026-02-01").status == 0


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["count", "tier ="], 1, "position"),
        (["count", 'teir = "gold"'], 1, "tier"),
        (["count", "everyone", "--as-of", "yesterday"], 2, "yesterday"),
        (["count", "everyone", "--purpose", "fun"], 2, "fun"),
        (["show", "Silver"], 1, "Silver"),
        (["count", "seg_0000000000001"], 1, "no saved segment"),
        (["overlap", "everyone"], 1, "2 to 8"),
        (["histogram", "everyone", "teir"], 1, "tier"),
        (["sample", "everyone", "-n", "0"], 1, "1 to 1,000"),
        (["counts", "Silver", "--from", "May"], 1, "Silver"),
    ],
)
def test_a_mistake_is_one_line(segment, argv, status, words):
    said = segment(*argv)
    assert said.status == status, said.err
    assert words in said.err
    assert said.err.count("\n") == 1
