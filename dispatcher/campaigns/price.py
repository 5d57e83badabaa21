"""What a billed part costs by the number's longest prefix, and what a block's recipients are billed.

Touches: rows of `prices`, a block's columns, through a View. Money is whole micro-units of the tenant's currency.
A tenant's own price of a prefix goes before the operator's of the same; the longest prefix of both counts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatcher.campaigns.render import PartCounts, Renderer
from dispatcher.control.commands import Envelope, SetPrices
from dispatcher.errors import CommandRefused
from dispatcher.fastmatch import BITMAP_OCTETS, Program, match_block
from dispatcher.members.prefixes import Ranges, ranges_by
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import Decision
from dispatcher.segments.column_tests import InRanges
from dispatcher.segments.program import Columns, assemble
from dispatcher.store.columns import BlockView, Column, ColumnKind
from dispatcher.store.layout import BLOCK, FIELD_MSISDN, TENANT, TENANT_U64
from dispatcher.store.values import pack, unpack

MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
OPERATOR = 0
PREFIX_DIGITS_MAX = 15
MICROS_MAX = 1_000_000_000  # 1,000 units a part: more is a slip of the pen
AT_ONCE = 5_000


class PriceList:
    """A tenant's prices as they are in one View. Without any, nothing has a price and nothing costs."""

    def __init__(self, view: View, tenant: int) -> None:
        self.micros = {**_rows(view, OPERATOR), **_rows(view, tenant)}
        self._classes: list[tuple[int, Program | None]] = []
        if self.micros:
            low, high = _span(view, tenant)
            of_price = {price: _clipped(ranges, low, high) for price, ranges in ranges_by(self.micros).items()}
            of_price = {price: ranges for price, ranges in of_price.items() if ranges}
            whole = [price for price, ranges in of_price.items() if ranges == [(low, high)]]
            self._classes = [(price, _program(ranges)) for price, ranges in of_price.items()]
            if whole:  # every number that the tenant has costs the same
                self._classes = [(whole[0], None)]

    def __bool__(self) -> bool:
        return bool(self.micros)

    @property
    def digest(self) -> str:
        """Another one when a price changed."""
        return hashlib.sha256(repr(sorted(self.micros.items())).encode()).hexdigest()[:16]

    def of(self, number: int) -> int | None:
        """The price of a part to a number; None: it has none."""
        digits = str(number)
        for end in range(len(digits), -1, -1):
            if (price := self.micros.get(digits[:end])) is not None:
                return price
        return None

    def split(self, block: BlockView, bits: int) -> Iterator[tuple[int | None, int]]:
        """(price, those of `bits` whose part costs so much)."""
        for price, program in self._classes:
            if not bits:
                return
            mine = bits
            if program is not None:
                out = bytearray(BITMAP_OCTETS)
                match_block(program, [block.array(*MSISDN[:2])], block.slots, out)
                mine &= int.from_bytes(out, "little")
            if mine:
                yield price, mine
                bits &= ~mine
        if bits:  # without a price, without a number
            yield None, bits


def price_of(view: View, tenant: int, number: int) -> int | None:
    """The price of a part to one number, without reading the whole list; None: it has none."""
    digits = str(number)
    for end in range(len(digits), -1, -1):
        for of in (tenant, OPERATOR):
            row = view.get("prices", TENANT.pack(of) + digits[:end].encode())
            if row is not None:
                return int(unpack(row)["micros"])
    return None


def _span(view: View, tenant: int) -> tuple[int, int]:
    """The least and the greatest number of the tenant's members; what lies outside is nobody's."""
    ends = []
    for reverse in (False, True):
        key = next((key for key, _ in view.range("phones", TENANT.pack(tenant), reverse=reverse)), None)
        ends.append(TENANT_U64.unpack(key)[1] if key else 1)
    return ends[0], ends[1]


def _clipped(ranges: Ranges, low: int, high: int) -> Ranges:
    return [(max(low, first), min(high, last)) for first, last in ranges if first <= high and last >= low]


def _rows(view: View, tenant: int) -> dict[str, int]:
    return {
        key[TENANT.size :].decode(): unpack(row)["micros"] for key, row in view.range("prices", TENANT.pack(tenant))
    }


def _program(ranges: Ranges) -> Program:
    columns = Columns()
    columns.position(MSISDN)
    return assemble(InRanges(MSISDN, tuple(ranges)), columns)


@dataclass(slots=True)
class Bill:
    """What recipients would be sent and billed. Blocks add up with +=."""

    counts: PartCounts = field(default_factory=PartCounts)
    micros: int = 0
    by_price: Counter[int] = field(default_factory=Counter)  # price of a part -> billed parts
    no_price: int = 0  # recipients whose number has none

    @property
    def billed(self) -> int:
        return sum(parts * n for parts, n in self.counts.billed.items())

    @property
    def sent(self) -> int:
        return self.counts.decisions[Decision.SENT]

    def __iadd__(self, other: Bill) -> Bill:
        self.counts += other.counts
        self.micros += other.micros
        self.by_price.update(other.by_price)
        self.no_price += other.no_price
        return self


class Meter:
    """Bills recipients of a block: their parts as rendering would make them, at the prices of their numbers."""

    def __init__(self, renderers: Sequence[Renderer], prices: PriceList | None) -> None:
        """renderers: one an arm. prices: None where only parts are asked for."""
        self.renderers, self.prices = renderers, prices
        self.columns = list(dict.fromkeys(column for one in renderers for column in one.columns))

    def bill(self, columns: BlockView, block: int, bits: int, arm: int = 0) -> Bill:
        """Of those in `bits`, all of one arm."""
        renderer = self.renderers[arm]
        if not self.prices:
            return Bill(renderer.count_parts(columns, block * BLOCK, _octets(bits)))
        total = Bill()
        for price, mine in self.prices.split(columns, bits):
            counts = renderer.count_parts(columns, block * BLOCK, _octets(mine))
            one = Bill(counts)
            if price is None:
                one.no_price = one.sent
            else:
                one.micros = price * one.billed
                one.by_price[price] = one.billed
            total += one
        return total


def _octets(bits: int) -> bytes:
    return bits.to_bytes(BITMAP_OCTETS, "little")


def set_prices(view: View, command: SetPrices, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Prices of a part by prefix ("" is every other number): of the envelope's tenant, or (0) of all that have none of
    their own. None takes a price away. All or none. Raises CommandRefused 422."""
    errors = []
    for prefix, micros in command.prices.items():
        if len(prefix) > PREFIX_DIGITS_MAX or (prefix and not (prefix.isascii() and prefix.isdigit())):
            detail = f"prefix {prefix[:40]!r}: up to {PREFIX_DIGITS_MAX} digits without the plus, or empty"
            errors.append({"pointer": f"/prices/{prefix}", "code": "invalid_value", "detail": detail})
        elif micros is not None and (isinstance(micros, bool) or not 0 <= micros <= MICROS_MAX):
            detail = f"price of {prefix!r}: micro-units, 0 to {MICROS_MAX:,}, or null"
            errors.append({"pointer": f"/prices/{prefix}", "code": "invalid_value", "detail": detail})
    if not 1 <= len(command.prices) <= AT_ONCE:
        errors.append({"pointer": "/prices", "code": "invalid_value", "detail": f"prices: 1 to {AT_ONCE:,} at once"})
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    changes = Changes()
    for prefix, micros in command.prices.items():
        key = TENANT.pack(envelope.tenant) + prefix.encode()
        if micros is None:
            changes.delete("prices", key)
        else:
            changes.put("prices", key, pack({"micros": micros, "at_ms": envelope.at_ms}))
    return changes, {"prices": {**_rows(view, envelope.tenant), **command.prices}}


def prices_json(view: View, tenant: int) -> dict[str, Any]:
    """A tenant's own prices, and the operator's that hold beside them."""
    return {"own": _rows(view, tenant) if tenant else {}, "operator": _rows(view, OPERATOR)}
