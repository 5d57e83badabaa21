"""Both languages say the same: PRODUCT E's examples, every word of the table, and what may be typed without blanks."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from hypothesis import given

from dispatcher.errors import CommandRefused
from dispatcher.members.fields import RESERVED as FIELD_RESERVED
from dispatcher.members.fields import Field
from dispatcher.segments import rule
from dispatcher.segments.lexer import RESERVED
from dispatcher.segments.parse import parse, print_rule
from dispatcher.segments.words import TABLE, aliases
from dispatcher.store.columns import ColumnKind
from tests.segments.trees import rules

EXAMPLES = [  # PRODUCT E, 1 to 20: English, and the Chinese that is printed for it
    ('age between 25 and 40 and sex = "F"', '年龄 介于 25 和 40 且 性别 = "F"'),
    ("birthday is today", "生日 是 今天"),
    ('birthday in next 7 days and tier in ("gold", "vip")', '生日 未来 7 天 内 且 tier 属于 ("gold", "vip")'),
    ("days since last_visit > 60 and visits >= 3", "last_visit 距今天数 > 60 且 visits >= 3"),
    ("joined in last 30 days", "joined 最近 30 天 内"),
    ('in region "浙江/杭州"', '区域 属于 "浙江/杭州"'),
    ('has any tag of ("hotpot", "seafood")', '有 任一标签 ("hotpot", "seafood")'),
    ("points >= 1000 and points_expiring_30d > 0", "积分 >= 1000 且 points_expiring_30d > 0"),
    ("consented to marketing and phone is known", "同意 营销 且 手机 是 已知"),
    ("opted out of marketing in last 90 days", "退订 营销 最近 90 天 内"),
    ("messages in last 7 days < 2", "消息数最近 7 天 内 < 2"),
    ('replied to campaign "Spring" with "1"', '回复活动 "Spring" 内容为 "1"'),
    (
        'received campaign "Spring" and not replied to campaign "Spring"',
        '收到活动 "Spring" 且 非 回复活动 "Spring"',
    ),
    ("undelivered any campaign in last 30 days", "未送达任一活动 最近 30 天 内"),
    ('answered nps.q1 <= 6 and not in segment "Open cases"', '回答 nps.q1 <= 6 且 非 属于分群 "Open cases"'),
    ('tier = "vip" except has tag "staff"', 'tier = "vip" 除外 有 标签 "staff"'),
    ('consented to marketing sample 10% by "spring26"', '同意 营销 抽样 10% 按 "spring26"'),
    ("everyone bucket 0..499", "所有人 分桶 0..499"),
    ("last_order more than 90 days ago top 5000 by spend_12m", "last_order 早于 90 天 前 前 5000 按 spend_12m"),
    (
        'age between 25 and 40 and in region "浙江" except has tag "员工"',
        '年龄 介于 25 和 40 且 区域 属于 "浙江" 除外 有 标签 "员工"',
    ),
]
FIELDS = ["tier", "last_visit", "visits", "joined", "points_expiring_30d", "last_order", "spend_12m"]


@pytest.mark.parametrize(("english", "chinese"), EXAMPLES, ids=[str(n) for n in range(1, 21)])
def test_the_examples_mean_the_same_in_both_languages(english: str, chinese: str) -> None:
    found = parse(english)
    assert str(found) == english and print_rule(found, "zh") == chinese
    assert parse(chinese) == found
    if "answered" not in english:  # where nothing but a blank parts a word from another's letters
        assert parse(chinese.replace(" ", ""), FIELDS) == parse(english.replace("Open cases", "Opencases"), FIELDS)


def test_example_20_is_typed_as_the_product_page_has_it() -> None:
    english = parse('age between 25 and 40 and in region "浙江" except has tag "员工"')
    assert parse('年龄 介于 25 和 40 且 区域 属于 "浙江" 除外 标签 "员工"') == english
    assert parse("年龄介于２５和４０且区域属于“浙江”除外标签「员工」") == english
    assert parse("（年龄 介于 25 和 40） 且 区域属于『浙江』 除外 有标签＂员工＂") == english


@given(rules())
def test_every_rule_is_printed_in_chinese_and_parsed_back(found: rule.Rule) -> None:
    assert parse(print_rule(found, "zh")) == found


@pytest.mark.parametrize(
    ("chinese", "english"),
    [
        ("积分大于等于1000或积分不大于5", "points >= 1000 or points <= 5"),
        ("积分＞５ 并且 积分 ≠ 7", "points > 5 and points != 7"),
        ("姓名 包含 “王” 且 姓名 开头是 “老” 且 姓名结尾是“五”",
         'name contains "王" and name starts with "老" and name ends with "五"'),
        ("手机未知 或者 手机 是 已知", "phone is unknown or phone is known"),
        ("性别为“F”且非（积分少于3）", 'sex = "F" and not points < 3'),
        ("生日 是 明天 或 生日 不是 今天", "birthday is tomorrow or birthday is not today"),
        ("生日 是 非 今天", "birthday is not today"),
        ("生日不是今天", "birthday is not today"),
        ("生日是下个月", "birthday is next month"),
        ("生日在月份5", "birthday in month 5"),
        ("没有标签“a”且有全部标签（“a”，“b”）", 'lacks tag "a" and has all tags of ("a", "b")'),
        ("年龄 不属于 （1、2，3）", "age not in (1, 2, 3)"),
        ("不属于分群“x”", 'not in segment "x"'),
        ("收到 活动 “春”近3个月", 'received campaign "春" in last 3 months'),
        ("退订 关怀 过去 2 周", "opted out of care in last 2 weeks"),
        ("全体限10", "everyone limit 10"),
        ("积分 抽样 1.5％ 按 “s”", None),
        ("age 大于 3 and 年龄 < 5", "age > 3 and age < 5"),
    ],
)  # fmt: skip
def test_chinese_may_be_typed_in_many_ways(chinese: str, english: str | None) -> None:
    if english is None:
        with pytest.raises(CommandRefused):
            parse(chinese)
    else:
        assert parse(chinese) == parse(english)


def test_a_run_is_cut_only_when_all_of_it_is_known() -> None:
    assert str(parse("有效期 > 3")) == "有效期 > 3"  # 有 is a word, 效期 is not
    assert str(parse("会员等级=“金”且城市=“杭州”", ["会员等级", "城市"])) == '会员等级 = "金" and 城市 = "杭州"'
    with pytest.raises(CommandRefused) as caught:
        parse("会员等级=“金”且城市=“杭州”", ["会员等级"])
    assert caught.value.extra["position"] == 8


def test_labels_are_names_too_but_a_field_s_own_name_goes_before() -> None:
    fields = {
        "tier": Field(16, "tier", "dict", ColumnKind.U8, label="会员等级"),
        "level": Field(17, "level", "int", ColumnKind.I32, label="TIER"),
        "visits": Field(18, "visits", "int", ColumnKind.I32, label="Besuche"),
        "积分": Field(19, "积分", "int", ColumnKind.I32),
        "points": Field(3, "points", "points", ColumnKind.I64, label="Points"),
    }
    assert str(parse("besuche > 1 and 会员等级 = “金” and tier is known", fields)) == (
        'visits > 1 and tier = "金" and tier is known'
    )
    assert str(parse("积分 > 3 and points > 4", fields)) == "积分 > 3 and points > 4"
    assert print_rule(parse("points > 4", fields), "zh", fields) == "points > 4"
    assert "积分" not in aliases(fields)


def test_the_grammar_and_the_table_have_the_same_terminals() -> None:
    grammar = files("dispatcher.segments").joinpath("grammar.lark").read_text("utf-8")
    declared = {name for line in re.findall(r"^%declare (.*)", grammar, re.MULTILINE) for name in line.split()}
    made = {"_LPAR", "_RPAR", "_PERCENT", "_DOTS", "NAME", "DOTTED", "NUMBER", "STRING", "LIST"}
    assert declared == {terminal for terminal, _, _ in TABLE} | made


def test_no_field_may_be_called_as_a_word_that_is_a_word_everywhere() -> None:
    assert {word for word in RESERVED if " " not in word} <= FIELD_RESERVED
