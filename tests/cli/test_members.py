import pytest

from dispatcher.records.keys import parse_member_id


@pytest.fixture
def shop(volley, data):
    assert volley("tenant", "create", "Shop", "--region", "DE", "--data", data).status == 0
    tiers = ["--value", "basic", "--value", "gold", "--closed"]
    assert volley("field", "add", "name", "text", "--max-length", "40", "--pii", "--data", data).status == 0
    assert volley("field", "add", "tier", "dict", *tiers, "--data", data).status == 0
    return data


def test_fields_are_listed_with_those_of_the_system(volley, shop):
    rows = {row["name"]: row for row in volley("field", "list", "--data", shop, "--json").rows}
    assert {"phone", "points", "name", "tier"} <= set(rows)
    assert (rows["tier"]["kind"], rows["tier"]["values"], rows["tier"]["closed"]) == ("dict", 2, True)


def test_a_member_is_made_shown_counted_and_erased(volley, shop):
    made = volley("member", "set", "0170 1234567", "name=Ada", "tier=gold", "--data", shop)
    assert made.status == 0, made.err
    member = made.out.strip()
    assert parse_member_id(member) == 0
    shown = volley("member", "show", "+491701234567", "--data", shop, "--json").json
    assert shown["id"] == member
    counted = volley("segment", "count", 'tier = "gold"', "--data", shop, "--json").json
    assert (counted["matched"], counted["reachable"]) == (1, 1)
    assert "matched 1, reachable 1" in volley("segment", "count", "everyone", "--data", shop).out
    assert volley("member", "erase", member, "--reason", "asked for", "--data", shop).out == "erased\n"
    assert volley("segment", "count", "everyone", "--data", shop, "--json").json["matched"] == 0


def test_points_add_up_and_never_go_below_zero(volley, shop):
    member = volley("member", "set", "+491701234567", "--data", shop).out.strip()
    assert volley("points", "add", member, "50", "--key", "till-1", "--data", shop).out == "balance 50\n"
    assert volley("points", "add", member, "50", "--key", "till-1", "--data", shop).out == "balance 50\n"
    refused = volley("points", "add", "--data", shop, member, "--", "-60")
    assert refused.status == 1
    assert "insufficient_points" in refused.err
    assert volley("points", "add", "--data", shop, member, "--", "-20").out == "balance 30\n"
    shown = volley("points", "show", member, "--data", shop, "--json").json
    assert (shown["balance"], len(shown["entries"])) == (30, 2)


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["member", "show", "+491709999999"], 1, "no member"),
        (["member", "set", "+491701234567", "tier"], 2, "write FIELD=VALUE"),
        (["member", "set", "+491701234567", "teir=gold"], 1, "teir"),
        (["segment", "count", "tier ="], 1, "position"),
        (["segment", "count", 'teir = "gold"'], 1, "tier"),
        (["field", "add", "x", "float"], 2, "'float'"),
    ],
)
def test_a_mistake_is_one_line(volley, shop, argv, status, words):
    said = volley(*argv, "--data", shop)
    assert said.status == status
    assert words in said.err
    assert said.err.count("\n") == 1


@pytest.fixture
def crowd(volley, shop):
    assert volley("field", "add", "tags", "tags", "--data", shop).status == 0
    for at in range(4):
        values = [f"name=M{at}", f"tier={'gold' if at % 2 else 'basic'}"]
        assert volley("member", "set", f"+49170123456{at}", *values, "--data", shop).status == 0
    return shop


def test_a_number_that_is_taken_is_refused_where_it_must_be_new(volley, crowd):
    said = volley("member", "set", "+491701234560", "--new", "--data", crowd)
    assert said.status == 1 and "duplicate_number" in said.err


def test_tags_are_put_on_and_taken_off(volley, crowd):
    assert volley("member", "tag", "+491701234560", "--add", "vip", "--add", "new", "--data", crowd).status == 0
    assert volley("member", "tag", "+491701234560", "--remove", "new", "--data", crowd).status == 0
    shown = volley("member", "show", "+491701234560", "--data", crowd, "--json").json
    assert shown["values"]["tags"] == ["vip"]
    assert volley("member", "tag", "+491701234560", "--data", crowd).status == 2


def test_a_merge_is_told_with_its_conflicts_and_the_old_number_leads_on(volley, crowd):
    members = ["+491701234560", "+491701234561"]
    volley("points", "add", members[1], "70", "--data", crowd)
    told = volley("member", "merge", *members, "--dry-run", "--data", crowd)
    assert told.status == 0 and "would be merged" in told.out and "conflict in name: 'M0' stays, not 'M1'" in told.out
    done = volley("member", "merge", *members, "--take", "name", "--data", crowd, "--json").json
    assert (done["taken"], done["points"]) == (["name"], 70)
    shown = volley("member", "show", members[1], "--data", crowd, "--json").json
    assert (shown["id"], shown["values"]["name"], shown["points"]) == (done["id"], "M1", 70)
    old = volley("points", "show", done["merged"], "--data", crowd)
    assert "was merged into" in old.err and old.status == 0
    assert volley("verify", "--data", crowd).status == 0


def test_a_merge_is_taken_back_and_what_changed_since_is_named(volley, crowd):
    members = ["+491701234560", "+491701234561"]
    done = volley("member", "merge", *members, "--take", "name", "--data", crowd, "--json").json
    assert volley("member", "set", members[0], "name=Other", "--data", crowd).status == 0
    said = volley("member", "unmerge", done["merged"], "--dry-run", "--data", crowd)
    assert said.status == 0 and "would be apart from" in said.out and "changed since, stays: name" in said.out
    back = volley("member", "unmerge", done["merged"], "--data", crowd, "--json").json
    assert (back["id"], back["from"], back["changed_since"]) == (done["merged"], done["id"], ["name"])
    assert volley("member", "show", members[1], "--data", crowd, "--json").json["id"] == done["merged"]
    again = volley("member", "unmerge", done["merged"], "--data", crowd)
    assert again.status == 1 and "merged into nobody" in again.err
    assert volley("member", "unmerge", "+491701234561", "--data", crowd).status == 2
    assert volley("verify", "--data", crowd).status == 0


def test_many_are_changed_at_once_with_no_dispatcher_running(volley, crowd):
    change = ["--set", "tier=gold", "--tag", "moved"]
    assert "4 match, 4 would change" in volley("member", "bulk", "everyone", *change, "--dry-run", "--data", crowd).out
    done = volley("member", "bulk", 'tier = "basic"', *change, "--data", crowd, "--json")
    assert done.status == 0, done.err
    assert {name: done.json[name] for name in ("state", "matched", "changed")} == {
        "state": "done", "matched": 2, "changed": 2,
    }  # fmt: skip
    assert (
        volley("segment", "count", 'has tag "moved" and tier = "gold"', "--data", crowd, "--json").json["matched"] == 2
    )


def test_a_timeline_and_all_that_is_held_are_shown(volley, crowd):
    volley("points", "add", "+491701234560", "5", "--data", crowd)
    rows = volley("member", "timeline", "+491701234560", "--data", crowd, "--json").rows
    assert [row["kind"] for row in rows] == ["points"]
    assert "balance 5" in volley("member", "timeline", "+491701234560", "--data", crowd).out.replace("\n", " ")
    held = volley("member", "export", "+491701234560", "--data", crowd).json
    assert held["points"][0]["balance"] == 5


def test_an_erased_number_is_suppressed_when_it_comes_back(volley, crowd):
    assert volley("member", "erase", "+491701234560", "--reason", "asked for", "--data", crowd).status == 0
    assert volley("member", "show", "+491701234560", "--data", crowd).status == 1
    volley("member", "set", "+491701234560", "--data", crowd)
    assert volley("member", "show", "+491701234560", "--data", crowd, "--json").json["suppressed"]
    assert volley("verify", "--data", crowd).status == 0


def test_an_export_asks_for_a_reason_and_writes_a_whole_file(volley, crowd, tmp_path):
    asked = volley("export", 'tier = "gold"', "--fields", "phone,name", "--data", crowd)
    assert asked.status == 1 and "reason_missing" in asked.err and asked.out == ""
    argv = ["export", 'tier = "gold"', "--fields", "phone,name", "--reason", "mailing", "--data", crowd]
    assert volley(*argv).out == "phone,name\r\n+491701234561,M1\r\n+491701234563,M3\r\n"
    said = volley(*argv, "-o", tmp_path / "gold.csv", "--json").json
    assert said["members"] == 2 and (tmp_path / "gold.csv").read_bytes().startswith(b"phone,name\r\n+49")
    assert [path.name for path in tmp_path.glob("gold*")] == ["gold.csv"]
    masked = volley("export", "--fields", "phone", "--masked", "--format", "ndjson", "--data", crowd)
    assert masked.rows[0] == {"phone": "+4917******60"}
