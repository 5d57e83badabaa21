"""The words of the segment language, as data: what each means to the grammar, and how it is written in each language.

Touches: nothing. lexer.py reads texts with this table, rule.py prints with it.
Rests on: PRODUCT E. A row is a terminal of grammar.lark and the spellings in English and Chinese, the first of
each the one that is printed. The first English spelling is the word's meaning: what a token carries (after a ~ it is
only that). A spelling of several words is one token; a Chinese one may be typed with or without blanks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# fmt: off
TABLE: tuple[tuple[str, str, str], ...] = (
    ("_AND", "and", "且|并且|而且|和|至|到"),
    ("_OR", "or", "或|或者"),
    ("NOT", "not", "非|不|并非"),
    ("_EXCEPT", "except", "除外|除去|排除|但不含"),
    ("_EVERYONE", "everyone", "所有人|全体|全部会员|所有会员"),
    # comparisons
    ("CMP", "=", "＝|等于|为"), ("CMP", "!=", "≠|不等于|！＝|！=|!＝"),
    ("CMP", "<=", "≤|不大于|小于等于|不超过|＜＝|＜=|<＝"), ("CMP", ">=", "≥|不小于|大于等于|不少于|＞＝|＞=|>＝"),
    ("CMP", "<", "＜|小于|少于"), ("CMP", ">", "＞|大于|多于"),
    ("_BETWEEN", "between", "介于|在"),
    ("IN", "in", "属于"), ("NOT_IN", "not in", "不属于"),
    ("TEXT_HOW", "contains", "包含"), ("TEXT_HOW", "starts with", "开头是|开头为|以此开头"),
    ("TEXT_HOW", "ends with", "结尾是|结尾为"),
    # states
    ("_IS", "is", "是"), ("_IS_NOT", "~is not", "不是"),
    ("STATE", "known", "已知"), ("STATE", "unknown", "未知"), ("STATE", "yes", "真"), ("STATE", "no", "假"),
    ("STATE_ALONE", "~known", "已知"), ("STATE_ALONE", "~unknown", "未知"),
    ("DAY", "today", "今天|今日"), ("DAY", "tomorrow", "明天|明日"), ("DAY", "yesterday", "昨天|昨日"),
    ("DAY", "this week", "本周|这周"), ("DAY", "last week", "上周"), ("DAY", "next week", "下周"),
    ("DAY", "this month", "本月|这个月"), ("DAY", "last month", "上月|上个月"), ("DAY", "next month", "下月|下个月"),
    ("DAY", "this year", "今年|本年"), ("DAY", "last year", "去年"), ("DAY", "next year", "明年"),
    # spans of time
    ("SPAN", "in last", "最近|过去|在最近|在过去|近"), ("NEXT", "in next", "未来|在未来|今后"),
    ("_MORE_THAN", "more than", "早于|超过"), ("_AGO", "ago", "前|以前|之前"), ("_WITHIN", "~within", "内|以内|之内"),
    ("_DAYS_SINCE", "days since", ""), ("_DAYS_PAST", "~days past", "距今天数"),
    ("_IN_MONTH", "in month", "月份为|在月份"),
    ("UNIT", "day|days", "天|日"), ("UNIT", "week|weeks", "周|星期|个星期"),
    ("UNIT", "month|months", "个月|月"), ("UNIT", "year|years", "年"),
    # tags, regions, segments
    ("HAS", "has", "有|带有|含"), ("LACKS", "lacks", "没有|无|不含"),
    ("TAG", "tag|tags", "标签"), ("_HAS_TAG", "~has tag", "标签"),
    ("ANY_TAG", "any tag of|any tags of", "任一标签|任意标签"),
    ("ALL_TAGS", "all tags of|all tag of", "全部标签|所有标签"),
    ("_IN_REGION", "in region", ""),
    ("_IN_SEGMENT", "in segment", "属于分群|在分群"),
    # consent and campaigns
    ("CONSENT", "consented to", "同意"), ("CONSENT", "opted out of", "退订"),
    ("CAMPAIGN", "sent campaign", "已发送活动|发送过活动"),
    ("ANY_CAMPAIGN", "sent any campaign", "已发送任一活动"),
    ("CAMPAIGN", "received campaign", "收到活动|收到过活动"),
    ("ANY_CAMPAIGN", "received any campaign", "收到任一活动"),
    ("CAMPAIGN", "undelivered campaign", "未送达活动"),
    ("ANY_CAMPAIGN", "undelivered any campaign", "未送达任一活动"),
    ("CAMPAIGN", "replied to campaign", "回复活动|回复过活动"),
    ("ANY_CAMPAIGN", "replied to any campaign", "回复任一活动"),
    ("CAMPAIGN", "redeemed campaign", "兑换活动|兑换过活动"),
    ("ANY_CAMPAIGN", "redeemed any campaign", "兑换任一活动"),
    ("CAMPAIGN", "held out of campaign", "对照活动"),
    ("ANY_CAMPAIGN", "held out of any campaign", "对照任一活动"),
    ("_WITH", "with", "内容为|内容"),
    ("_MESSAGES", "messages in last", "消息数最近|最近消息数"),
    ("_ANSWERED", "answered", "回答"),
    # modifiers
    ("_SAMPLE", "sample", "抽样"), ("_BUCKET", "bucket", "分桶"), ("_TOP", "top", "前"), ("_BY", "by", "按"),
    ("_LIMIT", "limit", "限|限制|最多"),
)
# what every tenant may call these fields, unless it has a field of that very name (PRODUCT E, example 20)
NAMES = {
    "年龄": "age", "性别": "sex", "生日": "birthday", "区域": "region", "姓名": "name", "积分": "points",
    "手机": "phone",
}
# a purpose of records/states.py that is written otherwise in Chinese
PURPOSES = {"营销": "marketing", "关怀": "care", "服务": "service"}
# fmt: on


@dataclass(frozen=True, slots=True)
class Language:
    """How a rule is printed: words by their meaning, and fields by their name."""

    code: str
    words: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict)  # a field's name -> what it is called here
    purposes: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, meaning: str) -> str:
        return self.words.get(meaning, meaning)

    def name(self, name: str) -> str:
        return self.names.get(name, name)

    def purpose(self, name: str) -> str:
        return self.purposes.get(name, name)

    def span(self, count: int, unit: str) -> str:
        """7 days, 1 week."""
        return f"{count} {unit}{'s' * (count != 1)}" if self.code == "en" else f"{count} {self(unit)}"


ENGLISH = Language("en", {})
CHINESE = Language(
    "zh",
    {
        english.split("|")[0].lstrip("~"): chinese.split("|")[0]
        for terminal, english, chinese in TABLE
        if chinese and terminal not in ("CMP", "STATE_ALONE")
    },
    {name: alias for alias, name in NAMES.items()},
    {name: alias for alias, name in PURPOSES.items()},
)
LANGUAGES = {"en": ENGLISH, "zh": CHINESE}


def aliases(fields: Mapping[str, object]) -> dict[str, str]:
    """What else the fields may be called -> the field's name: what everybody says, and each field's label.

    A field's own name stands before any other's label, and the first field with a label has it.
    """
    found = {alias: name for alias, name in NAMES.items() if alias not in fields}
    for name, of in fields.items():
        for other in (getattr(of, "label", ""), *getattr(of, "aliases", ())):
            word = other.lower()
            if word and word not in fields:
                found.setdefault(word, name)
    return found
