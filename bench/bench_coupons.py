"""Coupons: what a redeeming and an unknown code cost the writer, and `redeemed campaign` over a million of them.

A redeeming is the command as the writer runs it, commit included and fsync left out; beside it, in turns, an entry of
points. Of the million 2,000 are redeemed and the others written as redeeming writes them; counts are held against them.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import people
from bench.harness import Figure, best_of, face, print_figures
from dispatcher.apps.coupons import redeem_coupon
from dispatcher.apps.points.account import add_points
from dispatcher.control.commands import AddPoints, CreateCouponPool, RedeemCoupon
from dispatcher.coupons.code import code_of
from dispatcher.coupons.pool import create_pool
from dispatcher.records.changes import Changes
from dispatcher.records.keys import public_id
from dispatcher.segments.engagement import evaluate
from dispatcher.segments.given import Engaged
from dispatcher.store import Store, ledger, open_store
from dispatcher.store.layout import REDEEMED, TENANT_U64
from tests.coupons.tills import KEY, number
from tests.fakes.people import people_shop, run_import
from tests.fakes.shop import NOW_MS, do, refused
from tests.segments.sends import started
from tests.store.logs import Claim, append, fold_all, value_of

MEMBERS = 1_000_000
REDEEMED_HERE = 2_000
ROUND = 400  # redeemings a turn
POOLS = 100  # beside the one: an unknown code is tried under the key of each
CLAIMED_AT_ONCE = 50_000


def main(argv: Sequence[str]) -> int:
    parser = face("coupons", __doc__)
    parser.add_argument("--members", type=int, default=MEMBERS)
    given = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder) / "data", write=True, create=True, sync=False) as store,
    ):
        tenant = people_shop(store)
        path = Path(folder) / "people.csv"
        people.write_csv(path, given.members, 7)
        run_import(store, 1, path, tenant=tenant)
        for no in range(POOLS):
            do(store, create_pool, CreateCouponPool(title=str(no), value="x"), tenant=tenant)
        pool = number(do(store, create_pool, CreateCouponPool(title="Spring", value="x", key=KEY), tenant=tenant)["id"])
        campaign = started(store, "Spring", text="Hi {coupon}", coupon_pool=public_id("cpl", pool))
        sent = _sent_to_all(store, campaign)
        figures = [*_redeem(store), _unknown(store), *_count(store, campaign, sent)]
    print_figures(figures, given.json)
    return int(any(figure.ok is False for figure in figures))


def _sent_to_all(store: Store, campaign: int) -> int:
    with store.snapshot() as view:
        audience = sum(ledger.popcount(bits) for _, bits in view.range("bitmaps", campaign.to_bytes(8, "big") + b"\0"))
    for first in range(0, audience, CLAIMED_AT_ONCE):
        many = min(CLAIMED_AT_ONCE, audience - first)
        append(store, value_of([Claim(campaign, first, (1,) * many)], NOW_MS))
    fold_all(store)
    return audience


def _redeem(store: Store) -> list[Figure]:
    """Each turn redeems codes of members who have not, and gives as many points."""
    members, entries = iter(range(REDEEMED_HERE)), iter(range(REDEEMED_HERE))

    def redeem() -> None:
        for no in _some(members):
            code = code_of(KEY, no)
            found = do(store, redeem_coupon, RedeemCoupon(code=code, key=f"till {no}", shop="Mitte"), at_ms=NOW_MS + no)
            assert found["campaign"] is not None

    def give() -> None:
        for no in _some(entries):
            do(store, add_points, AddPoints(member_no=no, delta=1, source="pos", key=f"till {no}"), at_ms=NOW_MS + no)

    redeemed_s, given_s = best_of(REDEEMED_HERE // ROUND, redeem, give)
    return [
        Figure.of("a redeeming, without fsync", round(1e6 * redeemed_s / ROUND, 1), "us", most=1_000),
        Figure.of("an entry of points beside it", round(1e6 * given_s / ROUND, 1), "us"),
    ]


def _some(numbers: Iterator[int]) -> Iterator[int]:
    return (no for _, no in zip(range(ROUND), numbers, strict=False))


def _unknown(store: Store) -> Figure:
    def guess() -> None:
        for no in range(ROUND):
            assert refused(store, redeem_coupon, RedeemCoupon(code=f"{no:012}", key="guess")).code == "coupon_unknown"

    (best,) = best_of(3, guess)
    return Figure.of(f"an unknown code, {POOLS + 1} pools", round(1e6 * best / ROUND, 1), "us", most=2_000)


def _count(store: Store, campaign: int, sent: int) -> list[Figure]:
    members = list(range(REDEEMED_HERE, sent))
    random.Random(1).shuffle(members)
    rows = (
        (TENANT_U64.pack(1, at_ms << 16), REDEEMED.pack(at_ms, member_no, 0, campaign))
        for at_ms, member_no in enumerate(members, NOW_MS + REDEEMED_HERE)
    )
    changes = Changes()
    changes.put_many("redeemed", list(rows))
    store.apply(changes)
    asked = {
        f"redeemed campaign, {sent:,} of them": (Engaged("redeemed", campaign), sent),
        "the same in the last half": (Engaged("redeemed", campaign, since_ms=NOW_MS + sent // 2), sent - sent // 2),
        "redeemed any campaign": (Engaged("redeemed"), sent),
    }
    figures = []
    for name, (key, expected) in asked.items():
        ask = _asking(store, key, NOW_MS + sent)
        assert ask() == expected, name
        figures.append(Figure.of(name, round(1e3 * best_of(5, ask)[0], 1), "ms", most=100))
    return figures


def _asking(store: Store, key: Engaged, as_of_ms: int) -> Callable[[], int]:
    def ask() -> int:
        with store.snapshot() as view:
            return sum(map(ledger.popcount, evaluate(view, 1, [key], as_of_ms)[key].values()))

    return ask


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
