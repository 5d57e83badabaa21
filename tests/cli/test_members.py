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
