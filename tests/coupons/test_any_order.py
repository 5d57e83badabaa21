"""Redeemed, void, taken back, merged, parted in any order: counters, rows and bitmaps say the same, nobody redeems twice."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.apps.merge import merge_members, unmerge_members
from dispatcher.control.commands import MergeMembers, UnmergeMembers
from dispatcher.coupons.pool import need_pool
from dispatcher.errors import CommandRefused
from dispatcher.fastmatch import slots_of
from dispatcher.records.keys import public_id
from dispatcher.records.states import Decision
from dispatcher.segments.engagement import evaluate
from dispatcher.segments.given import Engaged
from dispatcher.store import open_store, verify_coupons
from tests.coupons.tills import FIRST, code, new_pool, redeemed, sent_with, undone, voided
from tests.fakes.shop import NOW_MS, do, new_member, new_shop

MEMBERS, POOLS = 4, 2
member, pool = st.integers(0, MEMBERS - 1), st.integers(0, POOLS - 1)


class Tills(RuleBasedStateMachine):
    """The model: of each pool and member the stack of what stands, and who was merged into whom."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = open_store(self.folder.name, write=True, create=True, sync=False)
        new_shop(self.store)
        for no in range(MEMBERS):
            new_member(self.store, FIRST + no)
        self.pools = [new_pool(self.store, str(no), key=bytes([no]) * 16, stock=3) for no in range(POOLS)]
        sends = ([1, 1, Decision.HOLDOUT, 1], [1, Decision.OPTED_OUT])
        self.sent = {
            sent_with(self.store, self.pools[0], str(no), sent): {at for at, one in enumerate(sent) if one == 1}
            for no, sent in enumerate(sends)
        }
        self.into: dict[int, int] = {}
        self.redeemed: dict[tuple[int, int], tuple[int, int] | None] = {}  # (pool, member) -> campaign, sent to whom
        self.void: set[tuple[int, int]] = set()
        self.step = 0

    def person(self, no: int) -> int:
        while no in self.into:
            no = self.into[no]
        return no

    def earned_by(self, pool: int, no: int) -> tuple[int, int] | None:
        """The newest campaign that brought this very code, else one sent to whoever is the same person."""
        stood_for = [no]
        while stood_for[-1] in self.into:
            stood_for.append(self.into[stood_for[-1]])
        others = [each for each in range(MEMBERS) if self.person(each) == stood_for[-1] and each not in stood_for]
        for members in ([no], stood_for[1:], others):
            for campaign in sorted(self.sent, reverse=True) if pool == 0 else ():
                for each in members:
                    if each in self.sent[campaign]:
                        return campaign, each
        return None

    def by(self, pool: int, no: int) -> list[int]:
        """Members of a person who redeemed."""
        return [each for of, each in self.redeemed if of == pool and self.person(each) == self.person(no)]

    def try_(self, what: Callable[[], Any]) -> tuple[str, Any]:
        self.step += 1
        try:
            return "", what()
        except CommandRefused as exc:
            return exc.code, None

    @rule(pool=pool, no=member)
    def redeem(self, pool: int, no: int) -> None:
        text = code(self.store, self.pools[pool], no)
        why, reply = self.try_(lambda: redeemed(self.store, text, str(self.step), at_ms=NOW_MS + self.step))
        stock = sum(of == pool for of, _ in self.redeemed)
        wanted = ("coupon_redeemed" if self.by(pool, no) else "coupon_void" if (pool, no) in self.void
                  else "out_of_stock" if stock == 3 else "")  # fmt: skip
        assert why == wanted
        if not why:
            earned = self.redeemed[pool, no] = self.earned_by(pool, no)
            assert reply["campaign"] == (public_id("cmp", earned[0]) if earned else None)

    @rule(pool=pool, no=member)
    def make_void(self, pool: int, no: int) -> None:
        why, _ = self.try_(lambda: voided(self.store, code(self.store, self.pools[pool], no), at_ms=NOW_MS + self.step))
        assert why == ("coupon_redeemed" if self.by(pool, no) else "")
        if not why:
            self.void.add((pool, no))

    @rule(pool=pool, no=member)
    def take_back(self, pool: int, no: int) -> None:
        why, reply = self.try_(
            lambda: undone(self.store, code(self.store, self.pools[pool], no), at_ms=NOW_MS + self.step)
        )
        mine = self.by(pool, no)
        assert why == ("" if mine or (pool, no) in self.void else "state_conflict")
        if mine:
            (taken,) = [one for one in mine if reply["code"] == code(self.store, self.pools[pool], one)]
            del self.redeemed[pool, taken]
        else:
            self.void.discard((pool, no))

    @rule(winner=member, loser=member)
    def merge(self, winner: int, loser: int) -> None:
        if winner != loser and winner not in self.into and loser not in self.into:
            do(self.store, merge_members, MergeMembers(winner=winner, loser=loser), at_ms=NOW_MS + self.step)
            self.into[loser] = winner

    @precondition(lambda self: any(winner not in self.into for winner in self.into.values()))
    @rule()
    def unmerge(self) -> None:
        loser = next(loser for loser, winner in self.into.items() if winner not in self.into)
        do(self.store, unmerge_members, UnmergeMembers(member_no=loser), at_ms=NOW_MS + self.step)
        del self.into[loser]

    @invariant()
    def counters_rows_and_bitmaps_say_the_same(self) -> None:
        with self.store.snapshot() as view:
            assert [str(one) for check in verify_coupons.CHECKS for one in check(view)] == []
            for no, numbered in enumerate(self.pools):
                row = need_pool(view, 1, numbered)
                assert row["redeemed"] == sum(of == no for of, _ in self.redeemed)
                assert row["void"] == sum(of == no for of, _ in self.void)
            keys = [Engaged("redeemed", campaign) for campaign in (*self.sent, None)]
            found = evaluate(view, 1, keys, NOW_MS + self.step)
            for key in keys:
                marked = {slot for bitmap in found[key].values() for slot in slots_of(bitmap)}
                earned = {by[1] for by in self.redeemed.values() if by and key.campaign in (None, by[0])}
                assert marked == earned | {self.person(no) for no in earned}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


TestTills = Tills.TestCase
TestTills.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
