"""Random small worlds as plain data: a tenant, its members, what was said and sent before, a campaign, and what happens
while it runs. worlds.py makes them real."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from config import Route

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SIGNATURE = "小店铺"
ZONES = [
    "Europe/Paris", "Africa/Casablanca", "Australia/Lord_Howe", "America/New_York", "Asia/Kathmandu",
    "America/Santiago", "Pacific/Kiritimati", "Mars/Olympus",
]  # fmt: skip
HEADS = {  # what numbers begin with: of one zone, of several, of none that is known
    "germany": 4915100000000, "france": 33612345600, "new_york": 12125550100, "honolulu": 18085550100,
    "toll_free": 18005550100, "australia": 61412345600, "morocco": 212612345600, "china": 8613912345600,
    "russia": 79161234500, "nowhere": 999123456700,
}  # fmt: skip
CHANGES = [  # instants near which clocks change, or a holiday begins
    "2026-03-08T07:00", "2026-03-22T02:00", "2026-03-29T01:00", "2026-04-04T15:00", "2026-10-03T15:30",
    "2026-10-25T01:00", "2026-11-01T06:00", "2026-07-13T22:00", "2026-12-24T23:00", "2026-09-06T04:00", "2026-06-10T11:00",
]  # fmt: skip
LENGTHS = [1, 2, 20, *range(59, 72), *range(128, 136), *range(140, 162), *range(198, 204), *range(300, 308), 460]
ROUTES = {
    "none": None,
    "shared": [Route(name="all", endpoints=("main=3", "spare=1"))],
    "by_country": [
        Route(name="de", prefixes=("49", "33"), endpoints=("main",)),
        Route(name="far", prefixes=("1", "86", "999", "49151000000001"), endpoints=("spare", "main")),
    ],
    "all": [Route(name="de", prefixes=("4",), endpoints=("main",)), Route(name="rest", endpoints=("spare",))],
}


EXACT = "exact"  # what the preview says


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


purposes = st.sampled_from(["marketing", "marketing", "marketing", "care", "service", "transactional"])
spans_s = st.sampled_from([60, 3_600, 7_200, 86_400, 3 * 86_400, 7 * 86_400])
moments = st.tuples(st.sampled_from(CHANGES), st.integers(-30, 30), st.sampled_from([0, 0, 1_800_000, 1_234_567])).map(
    lambda one: at(one[0]) + one[1] * HOUR_MS + one[2]
)
members = st.fixed_dictionaries({
    "head": st.sampled_from(list(HEADS)),
    "name": st.sampled_from([None, None, "Ann", "Zoë", "Ğül", "李", "👩‍👧" * 10, "😀" * 40, "€" * 40, "x" * 40, "a", "\\^"]),
    "visits": st.sampled_from([None, 0, -7, 2_147_483_647]),
    "tier": st.sampled_from([None, "basic", "gold"]),
    "zone": st.sampled_from([None, None, *ZONES]),
    "consented": st.sampled_from([True, True, True, False]),
    "opted_out": st.sampled_from([None] * 10 + ["marketing", "care"]),
    "suppressed": st.sampled_from([None] * 20 + ["tenant", "operator", "hash", "signature", "other signature"]),
})  # fmt: skip
texts = st.tuples(
    st.sampled_from("aaa€ñıçş日^😀"),
    st.sampled_from(LENGTHS),
    st.sampled_from(["", "{name}", "{name|you}", "{name|you}", "{visits|0}", "{tier}"]),
)
earlier = st.fixed_dictionaries({
    "how": st.sampled_from(["campaign", "single", "single"]),
    "purpose": purposes,
    "ago_s": st.sampled_from([-2 * 86_400, -7_000, -3_000, -30, 10, 50, 3_000, 3_700, 80_000, 90_000, 250_000, 600_000]),
    "to": st.sets(st.integers(0, 9), min_size=1),
})  # fmt: skip
events = st.fixed_dictionaries({
    "step": st.sampled_from([0, 0, 0, 1, 2]),
    "what": st.sampled_from(["stop", "suppress", "single", "single", "name", "name", "name", "erase", "consent"]),
    "who": st.integers(0, 9),
})  # fmt: skip
shares = st.sampled_from([[], [], [100], [50, 50], [33.33, 33.33, 33.34], [0.01, 99.99], [10, 20, 70]])
prices = st.dictionaries(
    st.sampled_from(["", "", "49", "33", "1", "1212", "86", "main:", "main:49", "spare:", "spare:1", "4915100000000"]),
    st.sampled_from([0, 1, 20, 35, 50_000]),
)
some_prices = st.just({}) | prices.map(lambda some: {"": 10} | some)
worlds = st.fixed_dictionaries({
    "now_ms": moments,
    "profile": st.sampled_from(["none", "cn", "us", "fr", "strict", "strict"]),
    "purpose": purposes,
    "members": st.lists(members, min_size=1, max_size=4) | st.lists(members, min_size=5, max_size=10),
    "zone_field": st.booleans(),
    "texts": st.lists(texts, min_size=3, max_size=3),
    "more_parts": st.integers(0, 2),  # than the words alone need
    "shares": shares,
    "holdout": st.sampled_from([None, None, {"percent": 20}, {"percent": 33.33}, {"size": 1}, {"percent": 50, "salt": "s"}]),
    "winner": st.sampled_from([None, None, 30, 50.5]),
    "stratify": st.booleans(),
    "caps": st.lists(st.tuples(st.integers(0, 3), spans_s), max_size=1),
    "tenant_caps": st.lists(st.tuples(purposes.filter(lambda p: p != "transactional"), st.integers(1, 3), spans_s), max_size=2),
    "earlier": st.lists(earlier, max_size=4),
    "routes": st.sampled_from(list(ROUTES)),
    "spare": st.sampled_from([{}, {}, {"latin1": True}, {"ucs2": False}, {"single_shift": "turkish"},
                              {"locking_shift": "portuguese", "single_shift": "portuguese"}]),
    "own_prices": some_prices,
    "operator_prices": some_prices,
    "credit": st.sampled_from([None, None, EXACT, EXACT, 10_000_000, 100]),
    "budget": st.sampled_from([None, None, None, 500, 10_000_000]),
    "plan": st.sampled_from([0, 0, EXACT, EXACT, 1_000, 5]),
    "list": st.none() | st.lists(st.integers(-2, 12), min_size=1, max_size=14),
    "events": st.lists(events, max_size=4),
    "restart": st.booleans(),
    "later": st.sampled_from([None, None, None, "UTC", "recipient"]),  # the zone of a start that is not at once
})  # fmt: skip


SOMEBODY = {
    "head": "germany", "name": "Ann", "visits": 7, "tier": "gold", "zone": None, "consented": True, "opted_out": None,
    "suppressed": None,
}  # fmt: skip
NIGHT_MS, NOON_MS = at("2026-06-10T01:00"), at("2026-06-10T11:00")


def world(*members: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """One in which nothing is special but what is named."""
    plain = {
        "now_ms": NOON_MS, "profile": "none", "purpose": "marketing", "zone_field": False, "more_parts": 0,
        "texts": [("a", 20, "{name|you}")] * 3, "shares": [], "holdout": None, "winner": None, "stratify": False,
        "caps": [], "tenant_caps": [], "earlier": [], "routes": "none", "spare": {}, "own_prices": {},
        "operator_prices": {}, "credit": None, "budget": None, "plan": 0, "list": None, "events": [], "restart": False,
        "later": None,
    }  # fmt: skip
    return {**plain, "members": [SOMEBODY | one for one in members], **parts}
