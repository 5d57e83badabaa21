"""Anybody's CSV as a store of ours and as the same arrays for DuckDB and Polars; expressions as SQL over those arrays.

Touches: the file named, read by DuckDB, which also finds out the types; the store it is given.
Texts of at most 65,535 different values become a dictionary; a longer tail is left out and said.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np

from bench.segments_members import TENANT, define_all
from dispatcher.control.commands import DefineField
from dispatcher.members.fields import fields_of
from dispatcher.records.changes import Changes
from dispatcher.segments.column_tests import Always, Complement, Every, InRanges, Some, Test
from dispatcher.store import Store
from dispatcher.store.blocks import UNKNOWN
from dispatcher.store.columns import FLAGS, Column, ColumnKind, slots_of, write_block
from dispatcher.store.layout import BLOCK
from dispatcher.tenants.tenant import put_next_member_no

VALUES_MAX = 65_535
_DTYPES = {ColumnKind.U8: "u1", ColumnKind.U16: "u2", ColumnKind.I32: "i4", ColumnKind.I64: "i8"}


def load(store: Store, path: Path) -> dict[str, np.ndarray]:
    """Every column into blocks; the same arrays by our column's name (see `sql`), and `id`."""
    import duckdb

    found = duckdb.connect().execute("select * from read_csv(?, sample_size = -1)", [str(path)]).fetchnumpy()
    count = len(next(iter(found.values()))) if found else 0
    encoded = {}
    commands: list[DefineField] = []
    for title, values in found.items():
        name = re.sub(r"\W", "_", title.strip()).lstrip("_0123456789")[:39] or "column"
        name += "_" if name in ("points", "phone") else ""
        made = _encode(name, values)
        if made is None:
            click.echo(f"{title}: left out, neither a number, a date nor a text of few values", err=True)
            continue
        commands.append(made[0])
        encoded[name] = made[1]
    define_all(store, commands)
    with store.begin_write() as view:
        changes = Changes()
        put_next_member_no(changes, view, TENANT, count)
        view.apply(changes)
        fields = fields_of(view, TENANT)
    arrays = {"id": np.arange(count, dtype="u4")}
    columns: dict[Column, np.ndarray] = {}
    for name, values in encoded.items():
        of = fields[name]
        array = np.where(values.mask, UNKNOWN[of.column], values.data).astype(_DTYPES[of.column])
        arrays[_name(of.number)] = columns[of.number, 0, of.column] = array
    for block in range(-(-count // BLOCK)):
        slots, used = slots_of(count, block), min(BLOCK, count - block * BLOCK)
        changes = Changes()
        for column, array in columns.items():
            whole = np.full(slots, UNKNOWN[column[2]], array.dtype)
            whole[:used] = array[block * BLOCK : block * BLOCK + used]
            write_block(changes, TENANT, *column[:2], block, column[2], slots, whole.tobytes())
        live = np.zeros((8, slots), bool)
        live[0, :used] = True
        octets = np.packbits(live, axis=1, bitorder="little").tobytes()
        write_block(changes, TENANT, *FLAGS[:2], block, ColumnKind.PLANES, slots, octets)
        store.apply(changes)
    return arrays


def _encode(name: str, values: np.ndarray) -> tuple[DefineField, np.ma.MaskedArray] | None:
    values = np.ma.array(values)
    mask = np.ma.getmaskarray(values)
    plain = values.data
    if plain.dtype.kind == "b":
        return DefineField(title=name, kind="bool"), np.ma.array(np.where(plain, 2, 1), mask=mask)
    if plain.dtype.kind in "iu":
        return DefineField(title=name, kind="int"), np.ma.array(plain.astype("i8"), mask=mask)
    if plain.dtype.kind == "f":
        mask = mask | ~np.isfinite(plain)
        return DefineField(title=name, kind="money"), np.ma.array(
            np.rint(np.where(mask, 0, plain) * 1e6).astype("i8"), mask=mask
        )
    if plain.dtype.kind == "M":
        return DefineField(title=name, kind="date"), np.ma.array(plain.astype("M8[D]").astype("i8"), mask=mask)
    texts = [None if out or not str(text).strip() else str(text)[:100] for text, out in zip(plain, mask, strict=True)]
    words = sorted({text for text in texts if text})
    if len(words) > VALUES_MAX:
        return None
    codes = {word: code for code, word in enumerate(words, 1)}
    array = np.array([codes.get(text, 0) if text else 0 for text in texts], "i8")
    most = max(len(words), 1)
    return DefineField(title=name, kind="dict", values=words, max_values=most), np.ma.array(array, mask=array == 0)


def sql(test: Test) -> str:
    """A compiled test over the arrays of `load`."""
    match test:
        case Always(value):
            return "1 = 1" if value else "1 = 0"
        case InRanges(column, ranges):
            name = _name(column[0])
            return "(" + " or ".join(f"{name} between {low} and {high}" for low, high in ranges) + ")"
        case Complement(part):
            return f"not ({sql(part)})"
        case Every(parts):
            return "(" + " and ".join(map(sql, parts)) + ")"
        case Some(parts):
            return "(" + " or ".join(map(sql, parts)) + ")"
    raise click.ClickException("the peers are asked about numbers, dates, yes or no and dictionaries only")


def _name(number: int) -> str:
    return f"c{number}"
