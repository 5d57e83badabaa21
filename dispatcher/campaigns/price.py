"""What a billed part costs by the number's longest prefix and its route's endpoint, and what a block's recipients are
billed.

Touches: rows of `prices`, a block's columns, through a View. Money is whole micro-units of the tenant's currency.
The longest prefix counts; of the same a tenant's own price goes before the operator's, and of one's that of the
endpoint before that of all.

    prices: tenant:2 (0 = operator) prefix, or endpoint's name, a colon and the prefix -> {micros, at_ms, no, was}
    micros: None where the price was taken away; no: the change's number, over all tenants; was: [no, micros] before it

A campaign pays the prices that its start's token bound, whatever changes meanwhile: its quote keeps the number of the
last change that it knew. Rows of earlier versions have neither `no` nor `was`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatcher.campaigns.render import PartCounts, Renderer
from dispatcher.control.commands import Envelope, SetPrices
from dispatcher.errors import CommandRefused
from dispatcher.fastmatch import BITMAP_OCTETS, Program, match_block
from dispatcher.members.guards import held_back
from dispatcher.members.prefixes import Ranges, ranges_by
from dispatcher.records.changes import Changes, View
from dispatcher.records.states import Decision
from dispatcher.routes.nominal import NOWHERE, Nominal
from dispatcher.segments.column_tests import InRanges
from dispatcher.segments.program import Columns, assemble
from dispatcher.store.columns import BlockView, Column, ColumnKind
from dispatcher.store.layout import BLOCK, FIELD_MSISDN, TENANT, TENANT_U64
from dispatcher.store.values import pack, unpack
from dispatcher.text.coding import Encoder

MSISDN: Column = (FIELD_MSISDN, 0, ColumnKind.U64)
OPERATOR = 0
PREFIX_DIGITS_MAX = 15
MICROS_MAX = 1_000_000_000  # 1,000 units a part: more is a slip of the pen
AT_ONCE = 5_000
CHANGES_KEPT = 100  # of one prefix: a campaign that is older than these pays the oldest of them
_CHANGES = b"prices"
_PREFIX = re.compile(r"([\w.-]{1,64}:)?\d{0,15}", re.ASCII)


class PriceList:
    """A tenant's prices in one View, as they are or were. Without any, nothing has a price and nothing costs."""

    def __init__(self, view: View, tenant: int, as_of: int | None = None) -> None:
        """as_of: the `version` of an earlier list; None: of now."""
        operator, own = _rows(view, OPERATOR, as_of), _rows(view, tenant, as_of)
        self.rows = {**operator, **own}
        self.version = _version(view, tenant) if as_of is None else as_of
        self._of = _by_endpoint(operator, own)
        self._span = _span(view, tenant) if self.rows else (0, 0)
        self._classes = {endpoint: self._classed(micros) for endpoint, micros in self._of.items()}

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def digest(self) -> str:
        """Another one when a price changed."""
        return hashlib.sha256(repr(sorted(self.rows.items())).encode()).hexdigest()[:16]

    @property
    def endpoints(self) -> set[str]:
        """Those that have prices of their own."""
        return set(self._of) - {""}

    def micros(self, endpoint: str = "") -> Mapping[str, int]:
        """Prefix -> price by an endpoint; "": by any that has no prices of its own."""
        return self._of.get(endpoint, self._of[""])

    def of(self, number: int, endpoint: str = "") -> int | None:
        """The price of a part to a number; None: it has none."""
        digits, micros = str(number), self.micros(endpoint)
        for end in range(len(digits), -1, -1):
            if (price := micros.get(digits[:end])) is not None:
                return price
        return None

    def _classed(self, micros: Mapping[str, int]) -> list[tuple[int, Program | None]]:
        """Every price with the program that finds its numbers; None: the tenant's are all of it."""
        low, high = self._span
        of_price = {price: _clipped(ranges, low, high) for price, ranges in ranges_by(micros).items()}
        of_price = {price: ranges for price, ranges in of_price.items() if ranges}
        whole = next((price for price, ranges in of_price.items() if ranges == [(low, high)]), None)
        if whole is not None:
            return [(whole, None)]
        return [(price, _program(ranges)) for price, ranges in of_price.items()]

    def split(self, block: BlockView, bits: int, endpoint: str = "") -> Iterator[tuple[int | None, int]]:
        """(price, those of `bits` whose part costs so much by this endpoint)."""
        for price, program in self._classes.get(endpoint, self._classes[""]):
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


def _by_endpoint(operator: Mapping[str, int], own: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Endpoint's name -> prefix -> price, in the order of who goes before whom."""
    names = {"", *(key.partition(":")[0] for key in (*operator, *own) if ":" in key)}

    def of(prices: Mapping[str, int], name: str) -> dict[str, int]:
        named = {key.partition(":")[2]: micros for key, micros in prices.items() if name and key.startswith(f"{name}:")}
        return {key: micros for key, micros in prices.items() if ":" not in key} | named

    return {name: of(operator, name) | of(own, name) for name in names}


def price_of(view: View, tenant: int, number: int) -> int | None:
    """The price of a part to one number whatever endpoint it goes by, without reading the whole list; where only
    endpoints have one, the dearest. None: it has none."""
    digits = str(number)
    for end in range(len(digits), -1, -1):
        for of in (tenant, OPERATOR):
            row = view.get("prices", TENANT.pack(of) + digits[:end].encode())
            if row is not None and (micros := unpack(row)["micros"]) is not None:
                return int(micros)
    listed = PriceList(view, tenant)
    found = [listed.of(number, endpoint) for endpoint in listed.endpoints]
    return max((price for price in found if price is not None), default=None)


def _span(view: View, tenant: int) -> tuple[int, int]:
    """The least and the greatest number of the tenant's members; what lies outside is nobody's."""
    ends = []
    for reverse in (False, True):
        key = next((key for key, _ in view.range("phones", TENANT.pack(tenant), reverse=reverse)), None)
        ends.append(TENANT_U64.unpack(key)[1] if key else 1)
    return ends[0], ends[1]


def _clipped(ranges: Ranges, low: int, high: int) -> Ranges:
    return [(max(low, first), min(high, last)) for first, last in ranges if first <= high and last >= low]


def has_prices(view: View, tenant: int) -> bool:
    """Whether anything costs: the tenant or the operator has a price."""
    rows = (row for of in (tenant, OPERATOR) for _, row in view.range("prices", TENANT.pack(of)))
    return any(unpack(row)["micros"] is not None for row in rows)


def _rows(view: View, tenant: int, as_of: int | None = None) -> dict[str, int]:
    of = ((key, _as_of(unpack(row), as_of)) for key, row in view.range("prices", TENANT.pack(tenant)))
    return {key[TENANT.size :].decode(): micros for key, micros in of if micros is not None}


def _as_of(row: dict[str, Any], version: int | None) -> int | None:
    """What a row said when `version` was the last change; None: nothing."""
    was: list[tuple[int, int | None]] = [*row.get("was", []), (row.get("no", 0), row["micros"])]
    if version is None:
        return was[-1][1]
    return next((micros for no, micros in reversed(was) if no <= version), was[0][1])


def _version(view: View, tenant: int) -> int:
    """The number of the last change of a tenant's prices and the operator's."""
    rows = (row for of in (OPERATOR, tenant) for _, row in view.range("prices", TENANT.pack(of)))
    return max((unpack(row).get("no", 0) for row in rows), default=0)


def _program(ranges: Ranges) -> Program:
    columns = Columns()
    columns.position(MSISDN)
    return assemble(InRanges(MSISDN, tuple(ranges)), columns)


@dataclass(slots=True)
class ByRoute:
    """What goes by one endpoint."""

    messages: int = 0
    parts: int = 0  # on the wire
    billed: int = 0
    micros: int = 0

    def __iadd__(self, other: ByRoute) -> ByRoute:
        self.messages += other.messages
        self.parts += other.parts
        self.billed += other.billed
        self.micros += other.micros
        return self


@dataclass(slots=True)
class Bill:
    """What recipients would be sent and billed. Blocks add up with +=."""

    counts: PartCounts = field(default_factory=PartCounts)
    micros: int = 0
    by_price: Counter[int] = field(default_factory=Counter)  # price of a part -> billed parts
    no_price: int = 0  # recipients whose number has none
    by_route: dict[str, ByRoute] = field(default_factory=dict)  # endpoint's name ("" is not known) -> what goes by it

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
        for name, one in other.by_route.items():
            mine = self.by_route.setdefault(name, ByRoute())
            mine += one
        return self


class Meter:
    """Bills recipients of a block: their parts as rendering would make them, at the prices of their numbers."""

    def __init__(
        self, renderers: Sequence[Renderer], prices: PriceList | None, routes: Nominal | None = None,
        by_endpoint: Mapping[str, Sequence[Renderer]] | None = None,
    ) -> None:  # fmt: skip
        """renderers: one an arm. prices: None where only parts are asked for. routes: None where there is one only.
        by_endpoint: other renderers, where an endpoint has alphabets of its own."""
        self.renderers, self.prices, self.routes = renderers, prices, routes
        self.by_endpoint = by_endpoint or {}
        columns = dict.fromkeys(column for one in renderers for column in one.columns)
        self.columns = list(columns if prices is None and routes is None else columns | {MSISDN: None})

    @property
    def encoders(self) -> list[Encoder]:
        """Every way in which endpoints take the text, the usual one first."""
        return [of_arms[0].encoder for of_arms in (self.renderers, *self.by_endpoint.values())]

    def renderer(self, arm: int, endpoint: str | None) -> Renderer:
        """Of an arm's text as an endpoint takes it."""
        return self.by_endpoint.get(endpoint or "", self.renderers)[arm]

    def bill(self, columns: BlockView, block: int, bits: int, arm: int = 0) -> Bill:
        """Of those in `bits`, all of one arm."""
        total = Bill()
        for name, price, mine in self.priced(columns, bits):
            if name is NOWHERE:
                for decision, held in held_back(columns, self.renderers[arm].purpose, mine):
                    total.counts.decisions[decision] += held.bit_count()
                    mine &= ~held
                total.counts.decisions[Decision.NO_ROUTE] += mine.bit_count()
                continue
            one = Bill(self.renderer(arm, name).count_parts(columns, block * BLOCK, _octets(mine)))
            if price is not None and one.sent:
                one.micros = price * one.billed
                one.by_price[price] = one.billed
            elif price is None and self.prices:
                one.no_price = one.sent
            if one.sent:
                parts = sum(parts * n for parts, n in one.counts.parts.items())
                one.by_route[name] = ByRoute(one.sent, parts, one.billed, one.micros)
            total += one
        return total

    def priced(self, columns: BlockView, bits: int) -> Iterator[tuple[str | None, int | None, int]]:
        """(endpoint's name, price of a part, those of `bits` that go by it for so much)."""
        shares: Iterable[tuple[str | None, int]] = [("" if self.routes is None else self.routes.only or "", bits)]
        if self.routes is not None and self.routes.only is None and bits:
            shares = self.routes.split(columns.array(*MSISDN[:2]), bytearray(_octets(bits)))
        for name, mine in shares:
            if not self.prices or name is NOWHERE:
                yield name, None, mine
            else:
                yield from ((name, price, some) for price, some in self.prices.split(columns, mine, name))


def _octets(bits: int) -> bytes:
    return bits.to_bytes(BITMAP_OCTETS, "little")


def set_prices(view: View, command: SetPrices, envelope: Envelope) -> tuple[Changes, dict[str, Any]]:
    """Prices of a part by prefix ("" is every other number), or by endpoint and prefix ("main:49", "main:"): of the
    envelope's tenant, or (0) of all that have none of their own. None takes a price away. All or none. Raises
    CommandRefused 422."""
    errors = []
    for prefix, micros in command.prices.items():
        if not _PREFIX.fullmatch(prefix):
            rule = f"up to {PREFIX_DIGITS_MAX} digits without the plus, or empty; an endpoint's name and a colon before"
            detail = f"prefix {prefix[:80]!r}: {rule}"
            errors.append({"pointer": f"/prices/{prefix}", "code": "invalid_value", "detail": detail})
        elif micros is not None and (isinstance(micros, bool) or not 0 <= micros <= MICROS_MAX):
            detail = f"price of {prefix!r}: micro-units, 0 to {MICROS_MAX:,}, or null"
            errors.append({"pointer": f"/prices/{prefix}", "code": "invalid_value", "detail": detail})
    if not 1 <= len(command.prices) <= AT_ONCE:
        errors.append({"pointer": "/prices", "code": "invalid_value", "detail": f"prices: 1 to {AT_ONCE:,} at once"})
    if errors:
        raise CommandRefused(422, "invalid_value", errors[0]["detail"], errors=errors)
    changes, last = Changes(), view.get("meta", _CHANGES)
    no = (unpack(last)["no"] if last else 0) + 1
    changes.put("meta", _CHANGES, pack({"no": no}))
    for prefix, micros in command.prices.items():
        key = TENANT.pack(envelope.tenant) + prefix.encode()
        before = view.get("prices", key)
        was = [[0, None]] if before is None else _history(unpack(before))
        changes.put("prices", key, pack({"micros": micros, "at_ms": envelope.at_ms, "no": no, "was": was}))
    return changes, {"prices": {**_rows(view, envelope.tenant), **command.prices}}


def _history(row: dict[str, Any]) -> list[list[int | None]]:
    """What a row was, and is until now, as [number of the change, micros]; oldest first."""
    return [*row.get("was", []), [row.get("no", 0), row["micros"]]][-CHANGES_KEPT:]


def prices_json(view: View, tenant: int) -> dict[str, Any]:
    """A tenant's own prices, and the operator's that hold beside them."""
    return {"own": _rows(view, tenant) if tenant else {}, "operator": _rows(view, OPERATOR)}
