"""A market is a data file; one that is wrong says where, and no rule of a market stands in code."""

import pytest

from config import SettingError
from dispatcher.tenants.market import plain
from dispatcher.tenants.profile import FOLDER, NONE, get_profile, profile_json, profile_names, read_profile

GOOD = """
title = "Test"
zones = ["Europe/Paris"]
[words]
opt_out_first = ["Basta!"]
[[caps]]
max = 2
within_s = 60
[[quiet.hours]]
days = ["mo"]
from = "08:00"
to = "24:00"
[text]
opt_out_purposes = ["marketing"]
opt_out_wording = " STOP"
"""


def test_the_three_markets_can_be_read_and_none_asks_for_nothing():
    assert profile_names() == [NONE, "cn", "fr", "us"]
    for name in profile_names():
        assert profile_json(get_profile(name))["name"] == name
    none = get_profile(NONE)
    assert (none.consent, none.quiet, none.caps, none.billing) == (frozenset(), None, (), None)


@pytest.mark.parametrize(
    ("market", "text", "opts_out"),
    [
        ("us", "Stop. Thank you", True), ("us", "STOP 12345", False), ("us", "REVOKE", True), ("us", "I quit", False),
        ("cn", "Ｔ", True), ("cn", "回T退订", True), ("cn", "回复T退订", True), ("cn", "退订回TD", True),
        ("cn", "td", True), ("cn", "退订，谢谢", True), ("cn", "订阅", False),
        ("fr", "Arrêt", True), ("fr", "STOP", True), ("none", "stop", True), ("none", "arret", True),
    ],
)  # fmt: skip
def test_opt_out_words_are_those_of_the_market(market, text, opts_out):
    assert get_profile(market).words.is_opt_out(plain(text)) == opts_out


COMMON = ["STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"]


def test_the_market_rules_of_the_product_are_in_the_files():
    """PRODUCT, rules found in the markets: each a value of a file."""
    cn, us, fr = (get_profile(name) for name in ("cn", "us", "fr"))
    assert all(word in cn.words.opt_out_alone for word in ("t", "r", "td", "回t退订"))
    assert {plain(word) for word in COMMON} <= us.words.opt_out_first | us.words.opt_out_alone
    assert [(cap.group, cap.max, cap.within_s) for cap in cn.caps] == [("marketing", 2, 60), ("marketing", 10, 86_400)]
    assert (cn.billing.first, cn.billing.more) == (70, 67) and us.billing is fr.billing is None
    assert (cn.text.signature_form, cn.text.signature_characters) == ("【{signature}】", (2, 12))
    assert cn.text.signature_registered and cn.text.signature_purposes >= {"otp", "marketing"} and cn.proof_months == 5
    for market, opens, closes in ((cn, 8, 21), (us, 8, 21), (fr, 8, 22)):
        assert "marketing" in market.consent & market.quiet.purposes & market.text.opt_out_purposes
        assert {(one.opens, one.closes) for one in market.quiet.hours} == {(60 * opens, 60 * closes)}
        assert market.words.is_opt_out(plain("Stop. Thank you")) and not market.words.is_opt_out(plain("STOP 12345"))
    days = [sorted(day for one in market.quiet.hours for day in one.days) for market in (cn, us, fr)]
    assert days == [[*range(7)], [*range(7)], [*range(6)]] and (fr.quiet.holidays, us.quiet.holidays) == ("FR", "")
    assert fr.zones == ("Europe/Paris",) and len(us.zones) > 4, "of an unknown place: open in all of them"


def test_a_folder_of_the_operators_adds_a_market_and_changes_one(tmp_path, monkeypatch):
    (tmp_path / "de.toml").write_text(GOOD)
    (tmp_path / "fr.toml").write_text(GOOD.replace("Test", "Ours"))
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert profile_names() == [NONE, "cn", "de", "fr", "us"]
    assert (get_profile("de").title, get_profile("fr").title) == ("Test", "Ours")
    assert get_profile("de").words.is_opt_out("basta")
    assert get_profile("de").words.is_opt_out("stop"), "the common words hold everywhere"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('zones = ["Europe/Paris"]', 'zones = ["Europe/Pari"]', "zones"),
        ('zones = ["Europe/Paris"]', "", "zones"),
        ("within_s = 60", "within_s = 0", "within_s"),
        ("max = 2", 'max = "2"', "max"),
        ('days = ["mo"]', 'days = ["monday"]', "days"),
        ('to = "24:00"', 'to = "07:00"', "to"),
        ('from = "08:00"', 'from = "8"', "from"),
        ('["marketing"]', '["advertising"]', "opt_out_purposes"),
        ('opt_out_wording = " STOP"', 'opt_out_wording = ""', "opt_out_wording"),
        ('title = "Test"', 'titel = "Test"', "titel"),
        ("[words]", "[words", "profile"),
    ],
)
def test_a_file_that_breaks_a_rule_names_file_key_value_and_rule(tmp_path, old, new, key):
    assert old in GOOD
    path = tmp_path / "bad.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(SettingError) as caught:
        read_profile(path)
    assert caught.value.key == key
    assert str(path) in str(caught.value)


def test_a_market_that_is_not_there_names_the_nearest():
    with pytest.raises(SettingError) as caught:
        get_profile("uss")
    assert caught.value.nearest == "us"


def test_a_key_of_consent_that_is_none_is_refused(tmp_path):
    path = tmp_path / "de.toml"
    path.write_text(GOOD + '[consent]\npurpose = ["marketing"]\n')
    with pytest.raises(SettingError, match="purpose"):
        read_profile(path)
