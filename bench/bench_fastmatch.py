"""Matching: the kernel against its plain Python reference, and exact counts with waterfall over a million members.

The members lie in a real store, made from a fixed seed; every count is checked against plain Python.
"""

from __future__ import annotations

import random
import sys
import tempfile
from array import array
from collections.abc import Sequence
from itertools import count as count_from

from bench.harness import best_of, report
from dispatcher.control.commands import CreateTenant, DefineField, Envelope
from dispatcher.fastmatch import BITMAP_OCTETS, match_block
from dispatcher.members.fields import define_field
from dispatcher.records.changes import Changes
from dispatcher.segments import compile_text, count, select
from dispatcher.segments.plan import arrays_of
from dispatcher.store import Store, open_store
from dispatcher.store.columns import FLAGS, ColumnKind, blocks_of, open_block, slots_of, text_array, write_block
from dispatcher.store.layout import BLOCK, FIELD_MSISDN, FIELD_POINTS
from dispatcher.tenants.tenant import create_tenant, put_next_member_no
from tests.reference import fastmatch as reference

MEMBERS = 1_000_000
TENANT = 1
REGIONS = [f"R{n:03}" for n in range(300)]
CHOSEN = REGIONS[5:300:30]
NAMES = ["Anna", "Bartholomew", "Chloé", "Dilnoza Karimova", "Eve", "Jean-François", "Max Mustermann", "李雷"]
SEGMENTS = {
    "three": f'sex = "F" and region in ({", ".join(map(repr, CHOSEN))}) and points >= 1000'.replace("'", '"'),
    "ten": '(sex = "F" and visits > 3 and age between 20 and 60 or not (age < 30 or visits = 7)) '
    'and (points > 500 or region in ("R001", "R002") or sex is unknown) '
    "and not points between 100 and 200 and age != 33",
    "text": 'name contains "Karim"',
}
_SEEN = count_from(1)


def fill(store: Store) -> dict[str, int]:
    """Members with number, sex, region, points, age, visits and name; returns what the segments must count."""
    commands = [
        DefineField(title="sex", kind="dict", values=["F", "M"], closed=True),
        DefineField(title="region", kind="dict", values=REGIONS, max_values=1_000),
        DefineField(title="age", kind="int", bits=32),
        DefineField(title="visits", kind="int", bits=32),
        DefineField(title="name", kind="text"),
    ]
    for handler, command, tenant in [
        (create_tenant, CreateTenant(title="bench"), 0),
        *((define_field, command, TENANT) for command in commands),
    ]:
        with store.begin_write() as view:
            changes, _ = handler(view, command, Envelope(tenant=tenant, actor="bench", at_ms=1))
            view.apply(changes)
    with store.begin_write() as view:
        changes = Changes()
        put_next_member_no(changes, view, TENANT, MEMBERS)
        view.apply(changes)
    draw, wanted = random.Random(2), dict.fromkeys(SEGMENTS, 0)
    for block in range(blocks_of(MEMBERS)):
        fill_block(store, block, draw, wanted)
    return wanted


def fill_block(store: Store, block: int, draw: random.Random, wanted: dict[str, int]) -> None:
    slots, used = slots_of(MEMBERS, block), min(BLOCK, MEMBERS - block * BLOCK)
    blank = slots - used
    sex = draw.choices([0, 1, 2], [1, 10, 9], k=used)
    region = [draw.randrange(301) for _ in range(used)]
    points = [draw.randrange(3_000) for _ in range(used)]
    age = [draw.randrange(15, 90) for _ in range(used)]
    visits = [draw.randrange(12) for _ in range(used)]
    name = draw.choices(NAMES, k=used)
    live = ((1 << used) - 1).to_bytes(slots // 8, "little")
    stopped = (((1 << used) - 1) // 15).to_bytes(slots // 8, "little")  # every fourth
    number = [491700000000 + block * BLOCK + i for i in range(used)]
    texts = text_array([one.encode() for one in name], slots)
    changes = Changes()
    for field, kind, octets in [
        (FLAGS[0], ColumnKind.PLANES, live + bytes(slots // 8) + stopped + bytes(5 * slots // 8)),
        (FIELD_MSISDN, ColumnKind.U64, array("Q", number + [0] * blank).tobytes()),
        (FIELD_POINTS, ColumnKind.I64, array("q", points + [-(1 << 63)] * blank).tobytes()),
        (16, ColumnKind.U8, bytes(sex) + bytes(blank)),
        (17, ColumnKind.U16, array("H", region + [0] * blank).tobytes()),
        (18, ColumnKind.I32, array("i", age + [-(1 << 31)] * blank).tobytes()),
        (19, ColumnKind.I32, array("i", visits + [-(1 << 31)] * blank).tobytes()),
        (20, ColumnKind.TEXT, texts),
    ]:
        write_block(changes, TENANT, field, 0, block, kind, slots, octets)
    store.apply(changes)
    chosen = {REGIONS.index(one) + 1 for one in CHOSEN}
    for s, r, p, a, v, n in zip(sex, region, points, age, visits, name, strict=True):
        wanted["three"] += s == 1 and r in chosen and p >= 1_000
        first = (s == 1 and v > 3 and 20 <= a <= 60) or not (a < 30 or v == 7)
        wanted["ten"] += first and (p > 500 or r in (2, 3) or s == 0) and not 100 <= p <= 200 and a != 33
        wanted["text"] += "Karim" in n


def unseen(text: str) -> str:
    """The same segment as a text that was not parsed before."""
    return text + " " * next(_SEEN)


def main(argv: Sequence[str]) -> int:
    figures: dict[str, float] = {"members": MEMBERS}
    with tempfile.TemporaryDirectory() as folder, open_store(folder, write=True, create=True, sync=False) as store:
        wanted = fill(store)
        with store.snapshot() as view:
            compiled = compile_text(view, TENANT, SEGMENTS["three"])
            stored = [column for column in compiled.columns if isinstance(column, tuple)]
            block = open_block(view, TENANT, 0, stored)
            arrays, out = arrays_of(block, stored), bytearray(BITMAP_OCTETS)
            plain = reference.match_block(compiled.program.octets, arrays, block.slots)
            match_block(compiled.program, arrays, block.slots, out)
            assert out == reference.bitmap_of(plain, BITMAP_OCTETS)
            kernel_s, reference_s, compile_s = best_of(
                5,
                lambda: match_block(compiled.program, arrays, block.slots, out),
                lambda: reference.match_block(compiled.program.octets, arrays, block.slots),
                lambda: compile_text(view, TENANT, unseen(SEGMENTS["three"])),
            )
            figures["times_reference"] = round(reference_s / kernel_s)
            figures["block_us"] = round(kernel_s * 1e6, 1)
            figures["compile_ms"] = round(compile_s * 1e3, 2)
            for name, text in SEGMENTS.items():
                answer = count(view, TENANT, text)
                one = compile_text(view, TENANT, text)
                assert answer["matched"] == wanted[name] == sum(n for _, _, n in select(view, TENANT, one)), name
                assert answer["reachable"] + sum(answer["waterfall"].values()) == wanted[name]
                count_s, again_s, select_s = best_of(
                    15,
                    lambda: count(view, TENANT, unseen(text)),  # noqa: B023
                    lambda: count(view, TENANT, text),  # noqa: B023
                    lambda: sum(n for _, _, n in select(view, TENANT, one)),  # noqa: B023
                )
                figures |= {
                    f"{name}_count_ms": round(count_s * 1e3, 2),
                    f"{name}_count_again_ms": round(again_s * 1e3, 2),
                    f"{name}_select_ms": round(select_s * 1e3, 2),
                }
    report("fastmatch", figures, "--json" in argv)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
