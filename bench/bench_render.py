"""Rendering a broadcast: the kernel against the plain Python reference and smpplib's make_parts, and a preview's count.

The texts are `{name}` and `{points}` of members of whom one in fifty has a name outside GSM 7-bit; what a code costs a
message is the difference of `{coupon}` and as many letters that are the same for all.
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from smpplib import gsm

from bench.harness import best_of, report
from dispatcher.campaigns.render import PartCounts, Renderer, clear_through
from dispatcher.campaigns.template import Template
from dispatcher.records.batch import octets_of, read_rows
from dispatcher.records.states import Purpose
from dispatcher.store.blocks import ColumnKind, text_array
from dispatcher.store.columns import BlockView
from dispatcher.store.layout import BLOCK
from tests.reference import render as reference

BLOCKS = 20  # 326,400 members: a third of a million, as in the demo
CHECKED = 2_000
ALL = b"\xff" * (BLOCK // 8)
KEY = bytes(range(16))
SHORT = "Dear {name|friend}, you have {points|0} points. Come and spend them until Sunday. Reply STOP to end."
CHINESE = "尊敬的{name|客户}，您有{points|0}积分，请在周日前到店使用。退订回T。"  # UCS-2
COUPON = SHORT + " Your code: {coupon}"
LONG = SHORT + " Our shops are open from nine to eight, and on Sunday from ten to four. " * 2


@dataclass(frozen=True)
class PlainField:
    number: int
    name: str
    kind: str
    column: ColumnKind
    values: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


FIELDS = {
    "name": PlainField(16, "name", "text", ColumnKind.TEXT),
    "points": PlainField(3, "points", "points", ColumnKind.I64),
}


def block(seed: int) -> BlockView:
    draw = random.Random(seed)
    names = ["Anna", "Bartholomew", "Chloé", "Dilnoza Karimova", "Eve", "Jean-François", "Max Mustermann"]
    chosen = [("李雷" if draw.random() < 0.02 else draw.choice(names)).encode() for _ in range(BLOCK)]
    array = memoryview(text_array(chosen, BLOCK))
    return BlockView(
        BLOCK,
        {
            (1, 0): memoryview(ALL + bytes(7 * len(ALL))),
            (2, 0): memoryview(
                struct.pack(f"<{BLOCK}Q", *(491700000000 + draw.randrange(10**8) for _ in range(BLOCK)))
            ),
            (3, 0): memoryview(struct.pack(f"<{BLOCK}q", *(draw.randrange(20_000) for _ in range(BLOCK)))),
            (16, 0): (array[: 4 * BLOCK], array[4 : 4 * BLOCK + 4], array[4 * BLOCK + 4 :]),
        },
    )


def render_all(renderer: Renderer, blocks: list[BlockView], max_rows: int) -> int:
    """Every member of every block in batches of `max_rows`; how many parts."""
    made = 0
    for no, one in enumerate(blocks):
        todo = bytearray(ALL)
        while (batch := renderer.render(one, no * BLOCK, todo, ALL, no * BLOCK, max_rows)).count:
            made += batch.count
            clear_through(todo, batch.last_slot)
    return made


def count_all(renderer: Renderer, blocks: list[BlockView]) -> PartCounts:
    total = PartCounts()
    for no, one in enumerate(blocks):
        total += renderer.count_parts(one, no * BLOCK, ALL)
    return total


def check(renderer: Renderer, one: BlockView, coupon_key: bytes | None = None) -> list[str]:
    """The first members' octets against the reference; their texts."""
    batch = renderer.render(one, 0, ALL, ALL, 0, CHECKED, 9)
    ours = [(row._replace(octets_at=0), octets_of(batch, row)) for row in read_rows(batch)]
    todo, everyone = set(range(batch.last_slot + 1)), set(range(BLOCK))
    args = (one, renderer.template, renderer.purpose, renderer.max_parts)
    meant = reference.render(*args, 0, todo, everyone, 0, 9, coupon_key=coupon_key)
    assert ours == [row for rows in meant for row in rows]
    return [reference.message(*args, slot)[1] for slot in sorted(todo)]


def coupon_ns(blocks: list[BlockView]) -> dict[str, float]:
    """Nanoseconds a message of the same text with twelve X and with each member's code."""
    template = Template.compile(COUPON, FIELDS, pool=True)
    without = Renderer(template, Purpose.MARKETING, 10)
    coded = Renderer(template, Purpose.MARKETING, 10, coupon_key=KEY)
    check(coded, blocks[0], KEY)
    without_s, coded_s = best_of(
        5, lambda: render_all(without, blocks, 1_024), lambda: render_all(coded, blocks, 1_024)
    )
    members = BLOCKS * BLOCK
    return {
        "without_coupon_ns": round(without_s / members * 1e9),
        "coupon_ns": round(coded_s / members * 1e9),
        "coupon_costs_ns": round((coded_s - without_s) / members * 1e9),
    }


def main(argv: Sequence[str]) -> int:
    blocks = [block(seed) for seed in range(BLOCKS)]
    figures: dict[str, float] = {}
    for name, text in (("short", SHORT), ("long", LONG), ("chinese", CHINESE)):
        renderer = Renderer(Template.compile(text, FIELDS), Purpose.MARKETING, 10)
        texts = check(renderer, blocks[0])
        n, args = len(texts), (blocks[0], renderer.template, Purpose.MARKETING, 10, 0, set(range(len(texts))))
        counts = count_all(renderer, blocks)
        assert render_all(renderer, blocks, 1_024) == sum(parts * count for parts, count in counts.parts.items())
        render_s, count_s, reference_s, smpplib_s = best_of(
            3,
            lambda: render_all(renderer, blocks, 1_024),  # noqa: B023
            lambda: count_all(renderer, blocks),  # noqa: B023
            lambda: list(reference.render(*args, set(range(BLOCK)), 0, 9)),  # noqa: B023
            lambda: [gsm.make_parts(one) for one in texts],  # noqa: B023
        )
        members = BLOCKS * BLOCK
        figures |= {
            f"{name}_messages_a_second": round(members / render_s),
            f"{name}_times_reference": round(reference_s / n / (render_s / members)),
            f"{name}_times_smpplib": round(smpplib_s / n / (render_s / members)),
            f"{name}_count_{members}_ms": round(count_s * 1e3, 1),
        }
    figures |= coupon_ns(blocks)
    report("render", figures, "--json" in argv)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
