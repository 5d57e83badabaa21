"""volley coupon: a pool, a code, a till, and what each mistake is told."""

from __future__ import annotations

import pytest


@pytest.fixture
def shop(volley, data):
    assert volley("tenant", "create", "Shop", "--region", "DE", "--zone", "Europe/Berlin", "--data", data).status == 0
    for last in range(2):
        assert volley("member", "set", f"+49170123456{last}", "--data", data).status == 0
    return data


@pytest.fixture
def pool(volley, shop):
    made = volley("coupon", "pool", "create", "Spring cake", "--value", "a slice", "--stock", "2", "--data", shop)
    assert made.status == 0, made.err
    return made.out.strip()


def test_a_pool_is_made_listed_edited_and_closed(volley, shop, pool):
    edited = volley("coupon", "pool", "edit", "spring cake", "--stock", "none", "--until", "2100-01-01", "--data", shop)
    assert (edited.status, edited.out) == (0, "version 2\n")
    (row,) = volley("coupon", "pool", "list", "--data", shop, "--json").rows
    assert (row["id"], row["left"], row["valid_until"]) == (pool, None, "2099-12-31T23:00:00.000Z")
    shown = volley("coupon", "pool", "show", pool, "--data", shop)
    assert "Spring cake" in shown.out and "2100-01-01T00:00:00+01:00" in shown.out
    assert volley("coupon", "pool", "close", pool, "--data", shop).out == "closed, 0 redeemed\n"
    assert volley("coupon", "pool", "open", pool, "--data", shop).status == 0


def test_a_code_is_issued_redeemed_shown_taken_back_and_made_void(volley, shop, pool):
    code = volley("coupon", "issue", "Spring cake", "+491701234560", "--data", shop, "--json").json["code"]
    done = volley("coupon", "redeem", code.lower(), "--shop", "Mitte", "--key", "r1", "--data", shop)
    assert (done.status, done.out) == (0, "a slice\n")
    assert "by this key" in volley("coupon", "redeem", code, "--shop", "Mitte", "--key", "r1", "--data", shop).out
    again = volley("coupon", "redeem", code, "--data", shop)
    assert again.status == 1 and "[coupon_redeemed]" in again.err and "at Mitte" in again.err
    assert volley("coupon", "show", code, "--data", shop, "--json").json["state"] == "redeemed"
    assert volley("coupon", "undo", code, "--reason", "x", "--data", shop).out == "no longer redeemed\n"
    assert volley("coupon", "void", code, "--reason", "x", "--data", shop).out == "void\n"
    rows = volley("coupon", "log", "--pool", "Spring cake", "--data", shop, "--json").rows
    assert [(row["state"], row["code"]) for row in rows] == [("void", code), ("undone", code)]
    assert [row["shop"] for row in volley("coupon", "log", "--shop", "Mitte", "--data", shop, "--json").rows] == [
        "Mitte"
    ]
    assert code in volley("coupon", "log", "--limit", "1", "--data", shop).out
    assert volley("verify", "--data", shop).status == 0


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["pool", "create", "x", "--value", ""], 1, "for the till"),
        (["pool", "create", "x"], 2, "--value"),
        (["pool", "create", "x", "--value", "y", "--stock", "many"], 2, "--stock 'many'"),
        (["pool", "create", "x", "--value", "y", "--from", "soon"], 2, "no instant"),
        (["pool", "edit", "Spring cake"], 2, "nothing to change"),
        (["pool", "show", "Autumn"], 2, "volley coupon pool list"),
        (["redeem", "000000000000"], 1, "[coupon_unknown]"),
        (["void", "000000000000"], 2, "--reason"),
        (["issue", "Spring cake", "+491709999999"], 1, "no member"),
        (["log", "--campaign", "x"], 2, "cmp_"),
    ],
)
def test_a_mistake_is_one_line(volley, shop, pool, argv, status, words):
    said = volley("coupon", *argv, "--data", shop)
    assert (said.status, words in said.err, said.err.count("\n")) == (status, True, 1), said.err
