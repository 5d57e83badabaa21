"""Arms and holdout: who gets which text, and who gets none to compare with. Exact sizes, nothing kept a recipient.

Touches: a frozen audience while it is dealt, a dictionary field's column where the deal is stratified; afterwards only
the campaign's row and, stratified, a few exceptions.

A member's place is mix64(member_no + seed). Dealing means choosing thresholds over the places of the frozen audience by
selection, so that exactly as many lie below each as are wanted; whose arm somebody is can be computed at any time. The
holdout has a seed of its own: two campaigns with the same `salt` hold back the same people.

    row: deal {seed, held_seed, bounds: [held, arm, arm, ...], sizes: [held out, arm, ..., rest], matched, strata}
    bitmaps: campaign:8 which:1 = 4 block:4 -> (slot u16, group u8, 0)*, of a stratified deal

Stratified, each stratum has its shares to within a member, and the whole has them exactly. The stored thresholds are
those of the whole; who is in another group by their stratum's own (of n some square root of n) is an exception, listed,
so that a change of the field later moves nobody. Sizes are of the audience: guards skip in every group alike.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any, NamedTuple

from dispatcher.campaigns.campaign import bitmap_key
from dispatcher.errors import CommandRefused
from dispatcher.fastmatch import BITMAP_OCTETS, count_bits, seed_of
from dispatcher.members.fields import fields_of
from dispatcher.records.changes import Changes, View
from dispatcher.store.blocks import WIDTH
from dispatcher.store.columns import open_block
from dispatcher.store.layout import BLOCK

try:
    from dispatcher.campaigns import _arms as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel campaigns/_arms is not built: run `make build`") from exc

WHICH_EXCEPTIONS = 4
EVERYBODY = (1 << 64) - 1
STRATA_MAX = 1_000  # values of the field; a histogram of each is in memory while dealing
BITS, BITS_OF_MANY = 12, 8  # of a histogram: with 4,096 places 10 M members are 2,400 a place, which are then sorted
FEW_STRATA = 64
_EXCEPTION = struct.Struct("<HBx")

Row = dict[str, Any]
Blocks = Sequence[tuple[int, int, bytes | bytearray]]  # block, rank of its first, bitmap


@dataclass(frozen=True, slots=True)
class Dealt:
    """What a freeze chose: `row` is for the campaign's own, `exceptions` for the table of bitmaps."""

    row: Row
    exceptions: dict[int, bytes]


class Split(NamedTuple):
    """Disjoint parts of what was to be split; None where there can be none."""

    holdout: bytearray | None
    waits: bytearray | None  # for the winner to be known
    arms: list[bytearray]


@dataclass(frozen=True, slots=True)
class Arms:
    """A dealt campaign. Groups are numbered: 0 the held out, 1 .. n the arms, n + 1 the rest."""

    campaign: int
    names: list[str]
    texts: list[str]
    sizes: list[int]  # by group
    won: int | None  # the arm that the rest gets
    _deal: kernel.Deal
    _excepted: bool

    def split(self, view: View, tenant: int, block: int, todo: bytes | bytearray) -> Split:
        """The slots of a block's bitmap by what is to become of them."""
        held, *mine, rest = self.groups(view, block, todo)
        if self.won is not None:
            mine[self.won] = _either(mine[self.won], rest)
        waits = rest if self.sizes[-1] and self.won is None else None
        return Split(held if self.sizes[0] else None, waits, mine)

    def groups(self, view: View, block: int, bitmap: bytes | bytearray) -> list[bytearray]:
        """The slots of a block's bitmap by group."""
        size, many = len(bitmap), len(self.names) + 2
        out = bytearray(size * many)
        self._deal.split(bitmap, block * BLOCK, out)
        found = [out[size * group : size * (group + 1)] for group in range(many)]
        listed = view.get("bitmaps", bitmap_key(self.campaign, WHICH_EXCEPTIONS, block)) if self._excepted else None
        for slot, group in _EXCEPTION.iter_unpack(listed or b""):
            at, bit = slot >> 3, 1 << (slot & 7)
            if at < size and bitmap[at] & bit:
                for one in found:
                    one[at] &= ~bit & 0xFF
                found[group][at] |= bit
        return found

    def group_of(self, view: View, member_no: int) -> int:
        block, slot = divmod(member_no, BLOCK)
        only = bytearray(BITMAP_OCTETS)
        only[slot >> 3] = 1 << (slot & 7)
        return next(group for group, bits in enumerate(self.groups(view, block, only)) if any(bits))

    def word(self, group: int) -> str:
        """A group as people see it."""
        return "holdout" if group == 0 else "rest" if group > len(self.names) else self.names[group - 1]


def arms_of(row: Row, campaign: int) -> Arms | None:
    """None for a campaign with one text and no holdout, and before its audience is frozen."""
    dealt = row.get("deal")
    if dealt is None:
        return None
    kept = kernel.Deal(dealt["held_seed"], dealt["seed"], 1, array("Q", dealt["bounds"]))
    won = row["won"]["arm"] if row.get("won") else None
    return Arms(campaign, names_of(row), texts_of(row), list(dealt["sizes"]), won, kept, dealt["strata"] > 1)


def names_of(row: Row) -> list[str]:
    return [arm["name"] for arm in row["arms"]] or [""]


def texts_of(row: Row) -> list[str]:
    """One an arm; an arm without a text of its own has the campaign's."""
    return [arm["text"] or row["text"] for arm in row["arms"]] or [row["text"]]


def deal(view: View, tenant: int, row: Row, blocks: Blocks) -> Dealt | None:
    """Thresholds for a frozen audience; None for a campaign with one text and no holdout.

    Raises CommandRefused 422: holdout_too_large; unknown_field or too_many_strata of the field it is stratified by.
    """
    if not row["arms"] and not row["holdout"]:
        return None
    matched = sum(count_bits(bitmap) for _, _, bitmap in blocks)
    sizes = sizes_of(row, matched)
    held_seed, seed = _seeds(row)
    whole = _Dealing(blocks, [(b"", 0)] * len(blocks), 1, held_seed, seed)
    of_whole = whole.bounds([sizes])
    dealt = {"seed": seed, "held_seed": held_seed, "bounds": of_whole, "sizes": sizes, "matched": matched, "strata": 1}
    if not row["stratify"]:
        return Dealt(dealt, {})
    codes, strata = _strata(view, tenant, row["stratify"], blocks)
    mine = _Dealing(blocks, codes, strata, held_seed, seed)
    of_each = mine.bounds(spread(sizes, mine.counts()))
    dealt["strata"] = strata
    return Dealt(dealt, _exceptions(blocks, codes, whole.dealt(of_whole), mine.dealt(of_each)))


def put_deal(changes: Changes, campaign: int, dealt: Dealt | None) -> None:
    """What a deal keeps beside the row, once the audience's bitmaps are put."""
    for block, octets in (dealt.exceptions if dealt else {}).items():
        changes.put("bitmaps", bitmap_key(campaign, WHICH_EXCEPTIONS, block), octets)


def sizes_of(row: Row, matched: int) -> list[int]:
    """Members by group: the held out, each arm, the rest. Raises CommandRefused 422 holdout_too_large."""
    holdout, held = row["holdout"], 0
    if holdout:
        held = int(holdout["size"]) if holdout.get("size") else _share(matched, holdout["percent"])
    if held and held >= matched:
        detail = f"the holdout of {held:,} leaves nobody of the {matched:,} who are matched"
        errors = [{"pointer": "/holdout", "code": "holdout_too_large", "detail": detail}]
        raise CommandRefused(422, "holdout_too_large", detail, errors=errors)
    pool = matched - held
    test = _share(pool, row["winner"]["test_percent"]) if row["winner"] else pool
    shares = [Fraction(str(arm["share"])) for arm in row["arms"]] or [Fraction(100)]
    return [held, *_largest_remainder([share * test / 100 for share in shares], test), pool - test]


def spread(sizes: Sequence[int], strata: Sequence[int]) -> list[list[int]]:
    """Sizes by stratum and group: rows add up to `strata`, columns to `sizes`, and no cell is far from its share.

    Small strata first; each gets what its groups lack by then of their share so far, the greatest lack first.
    """
    total, given, seen = sum(strata), [0] * len(sizes), 0
    found = [[0] * len(sizes) for _ in strata]
    order = sorted(range(len(strata)), key=lambda number: (strata[number], number))
    for stratum in order:
        many = strata[stratum]
        seen += many
        lacks = [size * seen - total * have for size, have in zip(sizes, given, strict=True)]  # in 1 / total members
        mine = [max(0, lack // total) if total else 0 for lack in lacks]
        left = [lack - total * have for lack, have in zip(lacks, mine, strict=True)]
        while (missing := many - sum(mine)) != 0:
            step = 1 if missing > 0 else -1
            groups = [group for group in range(len(sizes)) if step > 0 or mine[group]]
            group = max(groups, key=lambda group: step * left[group])
            mine[group] += step
            left[group] -= step * total
        found[stratum] = mine
        given = [have + more for have, more in zip(given, mine, strict=True)]
    return found


class _Dealing:
    """Selection over an audience's places, a stratum at a time."""

    def __init__(
        self, blocks: Blocks, codes: Sequence[tuple[Any, int]], strata: int, held_seed: int, seed: int
    ) -> None:
        self._blocks, self._codes, self._strata = blocks, codes, strata
        self._seeds = held_seed, seed
        self._bits = BITS if strata <= FEW_STRATA else BITS_OF_MANY

    def dealt(self, bounds: Sequence[int]) -> kernel.Deal:
        return kernel.Deal(*self._seeds, self._strata, array("Q", bounds))

    def counts(self) -> list[int]:
        """Members by stratum."""
        tally, step = self._tally(self.dealt([0] * self._strata), True), 1 << self._bits
        return [sum(tally[step * stratum : step * (stratum + 1)]) for stratum in range(self._strata)]

    def bounds(self, sizes: Sequence[Sequence[int]]) -> list[int]:
        """Of every stratum: that of the held out, then those of the arms; `sizes` by stratum and group."""
        nobody = self.dealt([0] * self._strata)
        held = self._select(nobody, True, [[mine[0]] for mine in sizes])
        kept = self.dealt([one[0] for one in held])
        upto = [list(accumulate(mine[1:-1])) for mine in sizes]
        arms = self._select(kept, False, upto)
        for mine, found in zip(sizes, arms, strict=True):
            if not mine[-1]:
                found[-1] = EVERYBODY
        return [bound for held_bound, found in zip(held, arms, strict=True) for bound in (*held_bound, *found)]

    def _select(self, dealt: kernel.Deal, held: bool, upto: Sequence[Sequence[int]]) -> list[list[int]]:
        """For each stratum and number k, a bound that exactly k of its places lie below."""
        if not any(map(any, upto)):
            return [[0] * len(ks) for ks in upto]
        tally, step = self._tally(dealt, held), 1 << self._bits
        wanted = bytearray(self._strata * step)
        places: list[list[tuple[int, int] | int]] = []  # (place in the histogram, how many of it lie below), or a bound
        for stratum, ks in enumerate(upto):
            below = list(accumulate(tally[step * stratum : step * (stratum + 1)]))
            mine: list[tuple[int, int] | int] = []
            for k in ks:
                if k <= 0 or k >= below[-1]:
                    mine.append(0 if k <= 0 else EVERYBODY)
                    continue
                bucket = bisect_right(below, k)
                wanted[step * stratum + bucket] = 1
                mine.append((step * stratum + bucket, k - (below[bucket - 1] if bucket else 0)))
            places.append(mine)
        room = sum(many for many, asked in zip(tally, wanted, strict=True) if asked)
        hashes, whose, at = array("Q", bytes(8 * room)), array("H", bytes(2 * room)), 0
        for (block, _, bitmap), (codes, width) in zip(self._blocks, self._codes, strict=True):
            at = dealt.gather(bitmap, block * BLOCK, held, self._bits, wanted, hashes, whose, at, codes, width)
        found: dict[int, list[int]] = {}
        for place, stratum in zip(hashes, whose, strict=True):
            found.setdefault(step * stratum + (place >> 64 - self._bits), []).append(place)
        for each in found.values():
            each.sort()
        return [[one if isinstance(one, int) else found[one[0]][one[1]] for one in mine] for mine in places]

    def _tally(self, dealt: kernel.Deal, held: bool) -> array[int]:
        counts = array("I", bytes(4 * (self._strata << self._bits)))
        for (block, _, bitmap), (codes, width) in zip(self._blocks, self._codes, strict=True):
            dealt.tally(bitmap, block * BLOCK, held, self._bits, counts, codes, width)
        return counts


def _exceptions(
    blocks: Blocks, codes: Sequence[tuple[Any, int]], whole: kernel.Deal, mine: kernel.Deal
) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for (block, _, bitmap), (of_slots, width) in zip(blocks, codes, strict=True):
        size, groups = len(bitmap), whole.columns + 1
        outs = bytearray(size * groups), bytearray(size * groups)
        whole.split(bitmap, block * BLOCK, outs[0])
        mine.split(bitmap, block * BLOCK, outs[1], of_slots, width)
        listed = []
        for group in range(groups):
            here = slice(size * group, size * (group + 1))
            changed = int.from_bytes(outs[1][here], "little") & ~int.from_bytes(outs[0][here], "little")
            while changed:
                low = changed & -changed
                listed.append((low.bit_length() - 1, group))
                changed ^= low
        if listed:
            found[block] = b"".join(_EXCEPTION.pack(*one) for one in sorted(listed))
    return found


def _strata(view: View, tenant: int, name: str, blocks: Blocks) -> tuple[list[tuple[Any, int]], int]:
    """(codes of each block's slots with their width, how many strata): the field's values and 0, the unknown."""
    field = fields_of(view, tenant).get(name)
    if field is None or field.kind != "dict":
        raise stratify_refused("unknown_field", f"stratify: there is no dictionary field {name!r}")
    if len(field.values) > STRATA_MAX:
        detail = f"stratify: {name!r} has {len(field.values):,} values, and {STRATA_MAX:,} is the most"
        raise stratify_refused("too_many_strata", detail)
    column = field.columns[0]
    codes = [(open_block(view, tenant, block, [column]).array(*column[:2]), WIDTH[column[2]]) for block, *_ in blocks]
    return codes, len(field.values) + 1


def stratify_refused(code: str, detail: str) -> CommandRefused:
    return CommandRefused(422, code, detail, errors=[{"pointer": "/stratify", "code": code, "detail": detail}])


def _seeds(row: Row) -> tuple[int, int]:
    """(the holdout's, the arms'): the same at each preview, others at each repetition; a salt gives always the same."""
    own = f"{row['created_ms']} {row['ref_seed']} {row['due_ms']}"
    salt = (row["holdout"] or {}).get("salt") or ""
    return seed_of(f"holdout {salt or own}".encode()), seed_of(f"arms {own}".encode())


def _share(of: int, percent: Any) -> int:
    return int(Fraction(str(percent)) * of / 100 + Fraction(1, 2))


def _largest_remainder(wanted: Sequence[Fraction], total: int) -> list[int]:
    sizes = [int(one) for one in wanted]
    order = sorted(range(len(sizes)), key=lambda i: (sizes[i] - wanted[i], i))
    for i in order[: total - sum(sizes)]:
        sizes[i] += 1
    return sizes


def _either(a: bytearray, b: bytearray) -> bytearray:
    return bytearray((int.from_bytes(a, "little") | int.from_bytes(b, "little")).to_bytes(len(a), "little"))
