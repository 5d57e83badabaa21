"""Members of plausible shape from a fixed seed, as a CSV, with what an import of it must answer.

Touches: the file it is told to write. Standard library only: `volley demo` uses it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

FIELDS = ("phone", "name", "sex", "birthday", "region", "tier", "points", "joined")
REGIONS: tuple[str, ...] = (
    "Beijing",
    "Shanghai",
    "Guangzhou",
    "Shenzhen",
    "Chengdu",
    "Hangzhou",
    "Wuhan",
    "Xi'an",
    "Nanjing",
    "Suzhou",
)
REGIONS += ("Tianjin", "Chongqing", "Qingdao", "Xiamen", "Kunming", "Harbin")
TIERS = ("basic", "silver", "gold", "platinum")
TAGS = ("coffee", "tea", "online", "shop", "family", "student", "newsletter", "complaint")
BAD_KINDS = (
    "wrong_number",
    "empty_number",
    "wrong_date",
    "not_in_dictionary",
    "too_few_columns",
    "too_many_columns",
    "broken_utf8",
    "too_long",
)
NAME_MAX = 40  # characters; the `name` field's max_length
_FAMILY = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超霞平刚桂英华玉兰红建国海云"
_LATIN = "Anna Ben Clara David Elena Felix Grace Henry Iris Jonas Karin Leo Maria Nora Oscar Paula Rosa Simon Tina Vik"
_WRONG = ("12ab34", "+86 12", "12", "n/a", "+123456789012345678")
_FIRST_MSISDN = 8_613_000_000_000  # +86 13..., the range below holds each number once
_MSISDNS = 6_999_999_989  # prime, so that a fixed stride visits every number before it repeats
_STRIDE = 4_142_135_623
_CHUNK = 50_000


@dataclass(slots=True)
class Expected:
    """What an import of the file into an empty tenant must count."""

    rows: int = 0
    members: int = 0
    updated: int = 0
    rejected: int = 0
    by_code: dict[str, int] = field(default_factory=dict)


def define_fields(tags: bool = False) -> list[dict[str, object]]:
    """The fields that the file's columns need, as bodies of DefineField."""
    fields: list[dict[str, object]] = [
        {"title": "name", "kind": "text", "max_length": NAME_MAX, "label": "Name", "pii": True},
        {"title": "sex", "kind": "dict", "values": ["f", "m"], "closed": True},
        {"title": "birthday", "kind": "date", "label": "Birthday"},
        {"title": "region", "kind": "dict", "values": list(REGIONS), "closed": True, "label": "Region"},
        {"title": "tier", "kind": "dict", "values": list(TIERS), "closed": True, "label": "Tier"},
        {"title": "joined", "kind": "date", "label": "Joined"},
    ]
    return [*fields, {"title": "tags", "kind": "tags", "values": list(TAGS)}] if tags else fields


def msisdn(index: int, seed: int) -> int:
    """The number of member `index`: scattered over its range, never twice."""
    return _FIRST_MSISDN + (index * _STRIDE + seed * 7_919) % _MSISDNS


def write_csv(path: Path, members: int, seed: int, bad: bool = True, tags: bool = False) -> Expected:
    """A file of `members` rows: with `bad` 0.1 % of them are bad (eight kinds in turn), 0.1 % repeat a number."""
    rng = random.Random(seed)
    expected = Expected(rows=members)
    names, days = _names(rng), _days()
    with open(path, "wb", buffering=1 << 20) as file:
        header = ",".join((*FIELDS, "tags") if tags else FIELDS)
        file.write(header.encode() + b"\r\n")
        made = 0
        for start in range(0, members, _CHUNK):
            count = min(_CHUNK, members - start)
            rows = _rows(rng, made, count, seed, names, days, tags)
            spoiled = _spoil(rng, rows, start, seed, names, tags, expected) if bad else 0
            made += count
            expected.members += count - spoiled
            file.write(b"\r\n".join(rows) + b"\r\n")
    return expected


def _names(rng: random.Random) -> list[bytes]:
    """4,096 names; some of one cell with a comma or a quote in it, as spreadsheets write them."""
    latin = _LATIN.split()
    names = [rng.choice(_FAMILY) + "".join(rng.choices(_GIVEN, k=rng.choice((1, 2, 2)))) for _ in range(3_000)]
    names += [f"{rng.choice(latin)} {rng.choice(latin)}son" for _ in range(1_076)]
    names += [f'"{rng.choice(latin)}son, {rng.choice(latin)}"' for _ in range(15)]
    names += [f'"{rng.choice(latin)} ""{rng.choice(latin)}"" Mayer"' for _ in range(5)]
    return [name.encode() for name in names]


def _days() -> list[bytes]:
    """16,384 dates from 1980-01-01 on, 28 days a month, as the file writes them."""
    return [b"%04d-%02d-%02d" % (1980 + i // 336, i // 28 % 12 + 1, i % 28 + 1) for i in range(16_384)]


def _rows(
    rng: random.Random, first: int, count: int, seed: int, names: list[bytes], days: list[bytes], tags: bool
) -> list[bytes]:
    """Good rows. One random u64 a row is cut into the choices of its columns."""
    draws = memoryview(rng.randbytes(8 * count)).cast("Q")
    base, stride, most = seed * 7_919, _STRIDE, _MSISDNS
    numbers = [_FIRST_MSISDN + (i * stride + base) % most for i in range(first, first + count)]
    regions, tiers = [r.encode() for r in REGIONS], [TIERS[i].encode() for i in (0, 0, 0, 0, 1, 1, 2, 3)]
    sexes = [b"f", b"m", b"f", b"m", b"f", b"m", b"f", b""]
    last = [days[i] for i in range(len(days))]
    form = b"+%d,%b,%b,%b,%b,%b,%d,%b"
    rows = [
        form
        % (
            number,
            names[draw & 4095],
            sexes[draw >> 12 & 7],
            days[draw >> 15 & 8191],  # 1980 to 2004
            regions[draw >> 28 & 15],
            tiers[draw >> 32 & 7],
            draw >> 35 & 4095,
            last[12_096 + (draw >> 47 & 2047)],  # 2016 to 2022
        )
        for number, draw in zip(numbers, draws, strict=True)
    ]
    if tags:
        sets = [";".join(tag for bit, tag in enumerate(TAGS) if i >> bit & 1).encode() for i in range(256)]
        some = [sets[i & i >> 4 & 15 | (i & 16)] for i in range(64)]
        rows = [row + b"," + some[draw >> 58] for row, draw in zip(rows, draws, strict=True)]
    return rows


def _spoil(
    rng: random.Random, rows: list[bytes], start: int, seed: int, names: list[bytes], tags: bool, expected: Expected
) -> int:
    """Make one row in a thousand bad and one repeat an earlier good number; returns how many rows make no member."""
    thousands = range(0, len(rows), 1_000)
    places = [at + rng.randrange(min(1_000, len(rows) - at) // 2) for at in thousands if len(rows) - at >= 2]
    for at in places:
        kind = BAD_KINDS[(expected.rejected) % len(BAD_KINDS)]
        cells = rows[at].split(b",") if b'"' not in rows[at] else _plain(rows[at], names)
        match kind:
            case "wrong_number":
                cells[0] = rng.choice(_WRONG).encode()
            case "empty_number":
                cells[0] = b""
            case "wrong_date":
                cells[3] = rng.choice((b"1990-02-30", b"31/12/1990", b"soon"))
            case "not_in_dictionary":
                cells[4] = b"Atlantis"
            case "too_few_columns":
                del cells[-2:]
            case "too_many_columns":
                cells += [b"extra", b"more"]
            case "broken_utf8":
                cells[1] = b"\xe5\xbc\xff" + cells[1]
            case "too_long":
                cells[1] = b"".join(repeat(b"long", NAME_MAX // 4)) + cells[1]
        rows[at] = b",".join(cells)
        expected.rejected += 1
        expected.by_code[kind] = expected.by_code.get(kind, 0) + 1
    repeats = [at for at in (place + 500 for place in places) if at < len(rows) and at - 499 >= 0]
    bad = set(places)
    for at in repeats:
        of = next(i for i in range(at - 1, -1, -1) if i not in bad and i not in repeats)
        rows[at] = rows[of].partition(b",")[0] + b"," + rows[at].partition(b",")[2]
        expected.updated += 1
    return len(places) + len(repeats)


def _plain(row: bytes, names: list[bytes]) -> list[bytes]:
    """The cells of a row whose name is quoted, with a plain name."""
    head, _, rest = row.partition(b",")
    return [head, names[0], *rest[rest.rindex(b'"') + 2 :].split(b",")]
