"""volley suppression, consent, profile, price, money and usage, on a folder without a dispatcher."""

import hashlib
import json

import pytest

NUMBERS = [f"+3361234560{i}" for i in range(4)]


@pytest.fixture
def shop(volley, data):
    """A tenant with four members; a call in its folder, in JSON."""

    def call(*words, status=0):
        said = volley(*words, "--data", data, "--json")
        assert said.status == status, said.err
        return said

    call("tenant", "create", "Corner", "--region", "FR")
    for number in NUMBERS:
        call("member", "set", number)
    return call


def drafted(shop, *words):
    return shop("campaign", "create", "Sale", "--text", "Hi", "--sender", "SHOP", *words).json["id"]


def test_a_file_of_numbers_and_hashes_goes_to_a_list_and_what_is_neither_is_named(shop, tmp_path):
    digest = hashlib.sha256(NUMBERS[1][1:].encode()).hexdigest()
    (tmp_path / "list.txt").write_text(f"{NUMBERS[0]}\n{digest}\nnobody\n\n+33612345699\n")
    found = shop("suppression", "import", tmp_path / "list.txt", "--operator").json
    assert (found["added"], found["wrong"], found["lines"]) == (3, 1, [{"line": 3, "value": "nobody"}])
    rows = shop("suppression", "check", *NUMBERS[:3]).rows
    assert [row["lists"] for row in rows] == [["operator"], ["hash"], []]
    assert len(shop("suppression", "list", "--operator").rows) == 2
    assert shop("campaign", "preview", drafted(shop)).json["skipped"] == {"suppressed": 2}
    shop("suppression", "remove", NUMBERS[0], "--operator")
    assert shop("suppression", "check", NUMBERS[0]).rows[0]["suppressed"] is False


def test_a_signatures_list_from_the_command_line(shop):
    shop("suppression", "add", NUMBERS[0], "--signature", "Corner")
    assert [row["number"] for row in shop("suppression", "list", "--signature", "Corner").rows] == [NUMBERS[0]]
    campaign = drafted(shop, "--signature", "Corner")
    assert shop("campaign", "preview", campaign).json["skipped"] == {"suppressed": 1}


def test_consents_from_a_file_and_by_hand(shop, tmp_path):
    tenant = shop("tenant", "list").rows[0]["id"]
    shop("tenant", "edit", tenant, "--market", "us", "--cap", "marketing:1/86400")
    words = [{"number": number, "purpose": "marketing", "source": "till"} for number in NUMBERS[:2]]
    (tmp_path / "yes.jsonl").write_text("\n".join(map(json.dumps, words)))
    assert shop("consent", "import", tmp_path / "yes.jsonl").json == {"given": 2, "withdrawn": 0}
    shop("consent", "add", NUMBERS[2], "marketing", "--source", "call", "--no")
    assert shop("consent", "show", NUMBERS[2]).json["history"][0]["what"] == "stop"
    seen = shop("campaign", "preview", drafted(shop)).json
    assert (seen["will_send"], seen["skipped"]) == (2, {"opted_out": 1, "no_consent": 1})
    assert seen["text"] == "Hi Reply STOP to end"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 3: not JSON"),
        ("[1]", "line 3: an object with number"),
        ('{"number": "12", "purpose": "otp", "source": "till"}', "nothing of lines 1 to 3 is recorded: line 3: number"),
    ],
)
def test_a_wrong_line_of_a_file_of_consents_is_named(shop, tmp_path, line, said):
    good = json.dumps({"number": NUMBERS[0], "purpose": "marketing", "source": "till"})
    (tmp_path / "bad.jsonl").write_text(f"{good}\n\n{line}\n")
    assert said in shop("consent", "import", tmp_path / "bad.jsonl", status=1).err


def test_credit_prices_and_usage_from_the_command_line(shop, volley, data):
    tenant = shop("tenant", "list").rows[0]["id"]
    shop("tenant", "edit", tenant, "--prepaid", "--currency", "EUR", "--parts-month", "100")
    shop("price", "set", "--operator", "=50", "33=40")
    assert {row["prefix"]: row["micros"] for row in shop("price", "list").rows} == {"all others": 50, "33": 40}
    assert "insufficient_credit" in shop("campaign", "start", drafted(shop), "--yes", status=1).err
    assert shop("money", "top-up", "1000", "--reason", "invoice").json["balance"] == 1000
    campaign = drafted(shop, "--budget", "500", "--rate", "10")
    assert (
        "cost       0.00016 EUR for 4 parts, balance after 0.00084"
        in volley("campaign", "preview", campaign, "--data", data).out
    )
    shop("campaign", "start", campaign, "--yes")
    found = shop("usage").json
    assert (found["billed"], found["plan"]["parts_left"], found["plan"]["balance_micros"]) == (4, 96, 840)
    assert "0.00016 EUR, some of it reserved" in volley("usage", "--data", data).out
    assert [row["kind"] for row in shop("money", "ledger").rows] == ["reserve", "top_up"]
    topped = volley("money", "top-up", "2500000", "--data", data).out
    assert topped == "balance 2.50084 EUR, reserved 0.00016 EUR\n"
    table = volley("money", "ledger", "--data", data).out.splitlines()
    assert table[0].split() == ["at", "kind", "micros", "balance", "reserved", "campaign", "reason"]
    assert "2.50 EUR" in table[1] and "2.50084 EUR" in table[1] and "+0" in table[1].split()[0], "the tenant's clock"
    assert "0.00005 EUR" in volley("price", "list", "--data", data).out
    assert "0.00016 EUR" in volley("usage", "--data", data).out.splitlines()[-1]
    assert shop("usage", "--month", "2026-13", status=2).err
    assert shop("price", "set", "33:40", status=2).err


def test_markets_are_listed_and_a_wrong_file_says_where(shop, tmp_path, monkeypatch):
    (tmp_path / "xx.toml").write_text("[[caps]]\nmax = -1\nwithin_s = 5\n")
    monkeypatch.setenv("VOLLEY_PROFILES", str(tmp_path))
    rows = {row["name"]: row for row in shop("profile", "list").rows}
    assert set(rows) == {"none", "cn", "fr", "us", "xx"} and "max = -1" in rows["xx"]["wrong"]
    assert shop("profile", "show", "cn").json["billing"] == {"first": 70, "more": 67}
    assert "xx.toml" in shop("profile", "show", "xx", status=2).err


def test_a_signature_is_registered_and_listed(shop):
    tenant = shop("tenant", "list").rows[0]["id"]
    assert shop("tenant", "signature", tenant, "Corner").json == {"text": "Corner", "state": "registered"}
    assert shop("tenant", "signature", tenant).rows == [{"text": "Corner", "state": "registered"}]
    assert shop("tenant", "edit", tenant, "--cap", "marketing", status=2).err
