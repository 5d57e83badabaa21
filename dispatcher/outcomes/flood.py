"""How many messages from phones are taken: so many a second from one sender, so many in all; opt-outs always.

Touches: nothing; counts in memory, of as many senders as SOURCES_MAX. Rests on: PITFALLS F14. What is not taken is
answered ESME_RX_T_APPN, so the SMSC keeps it and comes again. What is more than an endpoint may give Python at all, the
pump refuses in the same way (smpp/mo.h).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from config import SettingError
from dispatcher.records.events import Delivered
from dispatcher.tenants.market import plain
from dispatcher.tenants.profile import Words, get_profile, profile_names
from dispatcher.text.decode import decode

A_SOURCE_PER_S, A_SOURCE_BURST = 1.0, 60.0  # a long message is a burst of up to 10 or so; nobody types one a second
IN_ALL_PER_S, IN_ALL_BURST = 5_000.0, 20_000.0
SOURCES_MAX = 65_536
_ENDS = re.compile(r"[\s,.;:!]+")


@dataclass(slots=True)
class Bucket:
    left: float
    at_s: float

    def take(self, now_s: float, per_s: float, burst: float) -> bool:
        self.left = min(burst, self.left + max(0.0, now_s - self.at_s) * per_s)
        self.at_s = now_s
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


class Flood:
    """Ask `takes` for each message; `refused` counts what it said no to."""

    def __init__(self) -> None:
        self._of: dict[str, Bucket] = {}
        self._all = Bucket(IN_ALL_BURST, 0.0)
        self.refused = {"source": 0, "total": 0}

    def __repr__(self) -> str:
        return f"<Flood {len(self._of)} senders, refused {self.refused}>"

    def takes(self, message: Delivered, now_s: float, default_alphabet: str = "gsm") -> bool:
        """now_s: monotonic."""
        mine = self._of.pop(message.source_addr, None)
        if mine is None:
            mine = Bucket(A_SOURCE_BURST, now_s)
            if len(self._of) >= SOURCES_MAX:  # the one that has been silent longest
                del self._of[next(iter(self._of))]
        self._of[message.source_addr] = mine
        if not mine.take(now_s, A_SOURCE_PER_S, A_SOURCE_BURST):
            why = "source"
        elif not self._all.take(now_s, IN_ALL_PER_S, IN_ALL_BURST):
            why = "total"
        else:
            return True
        if may_opt_out(message, default_alphabet):
            return True
        self.refused[why] += 1
        return False


def may_opt_out(message: Delivered, default_alphabet: str = "gsm") -> bool:
    """Whether it opts out in some market: before the tenant is known."""
    word = plain(decode(message.data_coding, message.octets, message.udhi, default_alphabet) or "")
    return bool(word) and any(words.is_opt_out(word) for words in _words())


def first_words() -> list[str]:
    """With which an opt-out may begin, in any market: what the pump looks for before it refuses by itself."""
    said = {word for words in _words() for word in words.opt_out_first | words.opt_out_alone}
    return sorted({_ENDS.split(word, maxsplit=1)[0] for word in said} - {""})


@lru_cache(1)
def _words() -> tuple[Words, ...]:
    """Of every market whose file can be read."""
    found = []
    for name in profile_names():
        with suppress(SettingError):
            found.append(get_profile(name).words)
    return tuple(found)
