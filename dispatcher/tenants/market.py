"""Words and texts of a market, as data: what opts out, what opts in again, what asks for points.

Touches: nothing. Values are vendors' published defaults (PRODUCT, rules found in the markets) and stay the operator's
to change; later they come from a profile file a market.
"""

from __future__ import annotations

import unicodedata

# opt out on their own, and as the first word of a sentence without digits
STOP_FIRST = frozenset({"stop", "stopall", "unsubscribe", "optout", "opt-out", "退订", "退訂"})
# opt out only when nothing follows
STOP_ALONE = frozenset({"end", "quit", "cancel", "revoke", "t", "td", "r", "回t退订", "拒收", "arret"})
START_ALONE = frozenset({"start", "unstop", "yes start", "订阅"})
POINTS_WORDS = frozenset({"points", "jf", "积分", "balance"})

CONFIRM_STOP = "{brand}: you are unsubscribed and will get no more messages from us."
CONFIRM_START = "{brand}: you will get our messages again. Reply STOP to end."
ANSWER_POINTS = "{brand}: you have {points} points."
ANSWER_NO_MEMBER = "{brand}: this number is not registered with us."


def plain(text: str) -> str:
    """A text as it is compared with words: NFKC, lower case, one blank between words, no punctuation at the ends."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    return " ".join(words).strip(" .,!?;:'\"()[]。，！？；：")
