"""Members with 17 fixed fields from a fixed seed: as numpy arrays for everybody, as blocks of a store for us.

Touches: the store it is given. Numpy is of the `bench` extra.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dispatcher.control.commands import CreateTenant, DefineField, Envelope
from dispatcher.members.fields import define_field, fields_of
from dispatcher.records.changes import Changes
from dispatcher.store import Store
from dispatcher.store.blocks import UNKNOWN
from dispatcher.store.columns import FLAGS, Column, ColumnKind, slots_of, text_array, write_block
from dispatcher.store.layout import BLOCK, FIELD_MSISDN, FIELD_POINTS, PLANE_LIVE, PLANE_OPTOUT_MARKETING, TENANT_U64
from dispatcher.tenants.tenant import create_tenant, put_next_member_no

TENANT = 1
SEED = 20
PART = 64 * BLOCK  # members made at a time: any number of members begins with the same ones
AS_OF_MS = 1_795_348_800_000  # 2026-11-22 12:00 UTC
TODAY = 11 * 32 + 22
DAY = 20_779  # of AS_OF_MS since 1970-01-01

REGIONS = [f"R{n:03}" for n in range(300)]
CHOSEN = REGIONS[0:20:2]
TAGS = [f"T{n:02}" for n in range(64)]
WITH_TAGS = ["T05", "T30", "T45"]
BRANDS = [f"B{n:02}" for n in range(40)]
NAMES = ["Anna", "Bartholomew", "Chloé", "Dilnoza Karimova", "Eve", "Jean-François", "Max Mustermann", "李雷"]
_CHOSEN, _TAGS, _BRANDS = (", ".join(f'"{word}"' for word in words) for words in (CHOSEN, WITH_TAGS, BRANDS[3:6]))
_TAG_BITS = sum(1 << TAGS.index(tag) for tag in WITH_TAGS)

# name -> (expression, the same as SQL over codes)
SEGMENTS = {
    "S1": (
        f'sex = "F" and region in ({_CHOSEN}) and points >= 1000',
        f"sex = 1 and region in ({', '.join(str(REGIONS.index(r) + 1) for r in CHOSEN)}) and points >= 1000",
    ),
    "S2": ("birthday is today", f"birthday = {TODAY}"),
    "S3": (
        f'(tier = "gold" or arpu > 80) and not opted out of marketing and has any tag of ({_TAGS})',
        f"(tier = 3 or arpu > 80) and not opted_out and tags & {_TAG_BITS}::UBIGINT != 0",
    ),
    "S4": (
        '(sex = "F" or (marital = "married" and churn < 40)) and born between "1985-01-01" and "2004-12-31" '
        'and not (tier = "basic" and points < 500) and (operator = "O1" or brand in '
        f'({_BRANDS}) or (language = "en" and not churn > 20)) and last_seen >= "2026-11-12" '
        'and not has any tag of ("T02", "T09")',
        "(sex = 1 or (marital = 2 and churn < 40)) and born between 5479 and 12783 "
        "and not (tier = 1 and points < 500) and (operator = 1 or brand in (4, 5, 6) "
        f"or (language = 2 and not churn > 20)) and last_seen >= 20769 and tags & {1 << 2 | 1 << 9}::UBIGINT = 0",
    ),
}


@dataclass(frozen=True, slots=True)
class Kind:
    command: DefineField
    dtype: str


def _dict(title: str, values: list[str], max_values: int = 255) -> Kind:
    command = DefineField(title=title, kind="dict", values=values, max_values=max_values)
    return Kind(command, "u2" if max_values > 255 else "u1")


FIELDS = [
    _dict("sex", ["F", "M"]),
    _dict("region", REGIONS, max_values=1_000),
    Kind(DefineField(title="birthday", kind="month_day"), "u2"),
    Kind(DefineField(title="born", kind="date"), "i4"),
    _dict("tier", ["basic", "silver", "gold", "platinum"]),
    Kind(DefineField(title="arpu", kind="int", bits=32), "i4"),
    Kind(DefineField(title="churn", kind="int", bits=32), "i4"),
    Kind(DefineField(title="last_seen", kind="date"), "i4"),
    Kind(DefineField(title="joined", kind="date"), "i4"),
    _dict("marital", ["single", "married", "widowed"]),
    _dict("employment", ["yes", "no", "student", "retired"]),
    _dict("brand", BRANDS),
    _dict("language", ["zh", "en", "ru", "kk"]),
    _dict("operator", ["O1", "O2", "O3"]),
    Kind(DefineField(title="vip", kind="bool"), "u1"),
]  # with points and tags: 17


def define(store: Store, members: int, *, name: bool = False) -> None:
    """The tenant and its fields."""
    more = [DefineField(title="tags", kind="tags", values=TAGS)]
    more += [DefineField(title="name", kind="text")] if name else []
    define_all(store, [*(kind.command for kind in FIELDS), *more])
    with store.begin_write() as view:
        changes = Changes()
        put_next_member_no(changes, view, TENANT, members)
        view.apply(changes)


def define_all(store: Store, commands: list[DefineField]) -> None:
    """A tenant with these fields."""
    with store.begin_write() as view:
        view.apply(
            create_tenant(
                view, CreateTenant(title="bench", sender="10690000"), Envelope(tenant=0, actor="bench", at_ms=1)
            )[0]
        )
    for command in commands:
        with store.begin_write() as view:
            view.apply(define_field(view, command, Envelope(tenant=TENANT, actor="bench", at_ms=1))[0])


def parts(members: int) -> Iterator[dict[str, np.ndarray]]:
    """Arrays by field, PART members at a time; `id` is the member number."""
    for first in range(0, members, PART):
        yield {name: array[: members - first] for name, array in _part(first).items()}


def _part(first: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng((SEED, first // PART))

    def codes(shares: list[float]) -> np.ndarray:
        """1 .. len(shares) with these shares; 0, unknown, with what is left."""
        edges = np.cumsum(np.array(shares))
        found = np.searchsorted(edges, draw.random(PART), side="right") + 1
        return np.where(found > len(shares), 0, found).astype("u1")

    born = draw.integers(-3_650, 14_600, PART).astype("i4")
    months, days = draw.integers(1, 13, PART), draw.integers(1, 29, PART)
    birthday = np.where(draw.random(PART) < 0.03, 0, months * 32 + days).astype("u2")
    tags = np.zeros(PART, "u8")
    for tag in range(64):
        share = 0.25 if tag in (5, 30, 45) else 0.05
        tags |= (draw.random(PART) < share).astype("u8") << np.uint64(tag)
    joined = DAY - 4_000 + (first + np.arange(PART)) // 5_000 % 4_000
    return {
        "id": np.arange(first, first + PART, dtype="u4"),
        "sex": codes([0.48, 0.47]),
        "region": (301 * draw.random(PART) ** 2).astype("u2"),
        "birthday": birthday,
        "born": born,
        "tier": codes([0.55, 0.2, 0.2, 0.04]),
        "arpu": (draw.gamma(2.0, 39.0, PART)).astype("i4"),
        "churn": draw.integers(0, 100, PART).astype("i4"),
        "last_seen": (DAY - draw.exponential(90.0, PART)).astype("i4"),
        "joined": joined.astype("i4"),
        "marital": codes([0.4, 0.45, 0.05]),
        "employment": codes([0.5, 0.2, 0.15, 0.1]),
        "brand": draw.integers(0, 41, PART).astype("u1"),
        "language": codes([0.7, 0.1, 0.1, 0.05]),
        "operator": codes([0.5, 0.3, 0.2]),
        "vip": codes([0.9, 0.08]),
        "points": draw.integers(0, 1_725, PART).astype("i8"),
        "tags": tags,
        "opted_out": draw.random(PART) < 0.1,
    }


def fill(store: Store, first: int, part: dict[str, np.ndarray], members: int, *, name: bool = False) -> None:
    """One part into blocks, one commit a few blocks; opt-outs as planes beside it."""
    with store.snapshot() as view:
        fields = fields_of(view, TENANT)
    have = len(part["id"])
    for low in range(0, have, BLOCK):
        block = (first + low) // BLOCK
        slots = slots_of(members, block)
        used = slice(low, min(low + BLOCK, have))
        changes = Changes()

        def put(column: Column, array: np.ndarray) -> None:
            fill_up = np.full(slots, UNKNOWN[column[2]], array.dtype)  # noqa: B023
            fill_up[: len(array)] = array
            write_block(changes, TENANT, *column[:2], block, column[2], slots, fill_up.tobytes())  # noqa: B023

        def planes(column: Column, bits: dict[int, np.ndarray]) -> None:
            whole = np.zeros((8, slots), bool)  # noqa: B023
            for plane, array in bits.items():
                whole[plane, : len(array)] = array
            octets = np.packbits(whole, axis=1, bitorder="little").tobytes()
            write_block(changes, TENANT, *column[:2], block, ColumnKind.PLANES, slots, octets)  # noqa: B023

        for kind in FIELDS:
            title = kind.command.title
            put((fields[title].number, 0, fields[title].column), part[title][used].astype(kind.dtype))
        put((FIELD_POINTS, 0, ColumnKind.I64), part["points"][used])
        numbers = 491_700_000_000 + part["id"][used].astype("u8")
        put((FIELD_MSISDN, 0, ColumnKind.U64), numbers)
        live = np.ones(len(numbers), bool)
        planes(FLAGS, {PLANE_LIVE: live, PLANE_OPTOUT_MARKETING: part["opted_out"][used]})
        tags = part["tags"][used]
        for group in range(8):
            bits = {n: (tags >> np.uint64(8 * group + n) & np.uint64(1)).astype(bool) for n in range(8)}
            planes((fields["tags"].number, group, ColumnKind.PLANES), bits)
        if name:
            texts = [NAMES[n % len(NAMES)].encode() for n in range(low, low + len(numbers))]
            array = text_array(texts, slots)
            write_block(changes, TENANT, fields["name"].number, 0, block, ColumnKind.TEXT, slots, array)
        store.apply(changes)


def put_numbers(store: Store, members: int) -> None:
    """The phone table, in key order: 22 octets a member on disk that a store of this size really has."""
    with store.begin_write() as view:
        for first in range(0, members, PART):
            changes = Changes()
            rows = [
                (TENANT_U64.pack(TENANT, 491_700_000_000 + no), no.to_bytes(4, "little"))
                for no in range(first, min(members, first + PART))
            ]
            changes.put_many("phones", rows, append=True)
            view.apply(changes)
