"""Values of a block counted: by code, by bin, by plane, and how many different ones. Typed names of the kernel.

Touches: nothing. An array is BlockView.array(field) or what BlockView.text(field) answers; a bitmap has a bit a slot
as planes have (select() gives such), None means every slot. Each call lets go of the GIL.
"""

from __future__ import annotations

from array import array

from dispatcher.store.blocks import WIDTH, Octets
from dispatcher.store.columns import ColumnKind

try:
    from dispatcher.members import _tally as kernel
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernel members/_tally is not built: run `make build`") from exc

Distinct = kernel.Distinct

__all__ = ["Distinct", "nice_bins", "ones", "span", "tally_bins", "tally_codes", "tally_planes"]

_WIDTHS = [digit * 10**power for power in range(19) for digit in (1, 2, 5)]
CODES = {ColumnKind.U8: 1 << 8, ColumnKind.U16: 1 << 16}


def tally_codes(values: Octets, kind: ColumnKind, slots: int, bitmap: Octets | None, out: array[int]) -> None:
    """out[code] += 1 for each chosen slot of a U8 or U16 column, code 0 (unknown) too. `out` is array("Q")."""
    _check(values, slots * WIDTH[kind], bitmap, slots)
    if len(out) < CODES[kind]:
        raise ValueError(f"{len(out)} counts for codes of {8 * WIDTH[kind]} bits")
    kernel.tally_codes(values, kind, slots, bitmap, out)


def span(values: Octets, kind: ColumnKind, slots: int, bitmap: Octets | None) -> tuple[int, int, int]:
    """(known, least, greatest) of the chosen slots of a column of numbers; (0, 0, 0) when all are unknown."""
    _check(values, slots * WIDTH[kind], bitmap, slots)
    return kernel.span(values, kind, slots, bitmap)


def tally_bins(
    values: Octets, kind: ColumnKind, slots: int, bitmap: Octets | None, low: int, width: int, out: array[int]
) -> int:
    """out[(value - low) // width] += 1 for each known chosen value, what lies outside in the first or last bin.

    Returns how many were known.
    """
    _check(values, slots * WIDTH[kind], bitmap, slots)
    if width < 1 or not out:
        raise ValueError(f"{len(out)} bins of width {width}")
    return kernel.tally_bins(values, kind, slots, bitmap, low, width, out)


def tally_planes(
    values: Octets, slots: int, bitmap: Octets | None, out: array[int], at: int = 0, seen: bytearray | None = None
) -> None:
    """out[at + p] += chosen slots whose plane p is set, p 0..7; their bits go into `seen` too."""
    _check(values, slots, bitmap, slots)
    if len(out) < at + 8 or (seen is not None and len(seen) < slots // 8):
        raise ValueError(f"{len(out)} counts for planes from {at} on")
    kernel.tally_planes(values, slots, bitmap, out, at, seen)


def ones(bitmap: Octets, slots: int) -> int:
    """Bits set among the first `slots`."""
    _check(b"", 0, bitmap, slots)
    return kernel.ones(bitmap, slots)


def nice_bins(least: int, greatest: int, at_most: int) -> tuple[int, int, int]:
    """(low, width, bins) that hold least..greatest: width 1, 2 or 5 times a power of ten, edges multiples of it.

    At most max(at_most, 4) bins: zero is an edge, and 64 bits are four times the widest.
    """
    low, width = least, 1
    for width in _WIDTHS:
        low = max(least // width * width, -(1 << 63))
        if (greatest - low) // width < max(at_most, 4):
            break
    return low, width, (greatest - low) // width + 1


def _check(values: Octets, octets: int, bitmap: Octets | None, slots: int) -> None:
    if len(values) < octets or slots % 64 or (bitmap is not None and len(bitmap) < slots // 8):
        raise ValueError(f"{len(values)} octets and a bitmap of {len(bitmap or b'')} for {slots} slots")
