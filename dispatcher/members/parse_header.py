"""The first line of an import: which delimiter, which column is which field, or why the file is refused.

Touches: nothing.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import Any

from dispatcher.members.import_files import COLUMNS_MAX, Job, JobField

DELIMITERS = ",;\t|"
LINE_MAX = 65_536  # octets of a header line
PHONE_WORDS = frozenset({"phone", "msisdn", "mobile", "number", "手机", "手机号", "手机号码"})
_BOM = b"\xef\xbb\xbf"
_OTHER_CHARSETS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x1f\x8b": "gzip", b"PK": "a zip or Excel file"}
_LOOKS_LIKE_DATA = re.compile(r"[+0-9][0-9 ()./:-]{3,}")


@dataclass(frozen=True, slots=True)
class Mapped:
    """A column that goes to a field; `bit` is its bit in `given`."""

    title: str
    field: JobField
    column: int
    bit: int


@dataclass(frozen=True, slots=True)
class Header:
    delimiter: str
    columns: int  # of the file
    mapped: tuple[Mapped, ...]  # the phone column among them
    ignored: tuple[str, ...]
    titles: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        mapped = [
            {"title": m.title, "field": m.field.name, "number": m.field.number, "kind": m.field.kind}
            | {"column": m.field.column, "bit": m.bit}
            for m in self.mapped
        ]
        return {"delimiter": self.delimiter, "columns": mapped, "ignored": list(self.ignored)}


@dataclass(frozen=True, slots=True)
class FileRefused:
    """The whole file cannot be imported."""

    code: str
    detail: str


def skip_bom(start: bytes) -> int:
    return len(_BOM) if start.startswith(_BOM) else 0


def read_header(line: bytes, job: Job) -> Header | FileRefused:
    """The header in the file's first line that is not blank (without its BOM and line end)."""
    for magic, name in _OTHER_CHARSETS.items():
        if line.startswith(magic):
            return FileRefused("wrong_charset", f"the file is {name}; save it as CSV in UTF-8")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return FileRefused("wrong_charset", "the first line is not UTF-8; save the file as CSV in UTF-8")
    if "\0" in text:
        return FileRefused("wrong_charset", "the first line holds NUL octets; save the file as CSV in UTF-8")
    best = max(
        (_understand(text, delimiter, job) for delimiter in job.delimiter or DELIMITERS),
        key=lambda found: (len(found.mapped), found.columns) if isinstance(found, Header) else (-1, 0),
    )
    return best if isinstance(best, FileRefused) else _checked(best, job)


def _understand(text: str, delimiter: str, job: Job) -> Header | FileRefused:
    try:
        titles = [title.strip() for title in next(csv.reader([text], delimiter=delimiter, strict=True), [])]
    except csv.Error as exc:
        return FileRefused("bad_header", f"the first line cannot be read: {exc}")
    by_name = {f.label.casefold(): f for f in job.fields if f.label} | {f.name.casefold(): f for f in job.fields}
    phone = next(f for f in job.fields if f.kind == "phone")
    named = {title.casefold(): name for title, name in job.mapping.items()}
    fields = {f.name: f for f in job.fields}
    mapped: list[Mapped] = []
    for column, title in enumerate(titles):
        folded = title.casefold()
        if folded in named:
            field = fields.get(named[folded])
        else:
            field = by_name.get(folded) or (phone if folded in PHONE_WORDS else None)
        if field is not None:
            mapped.append(Mapped(title, field, column, len(mapped)))
    taken = {m.column for m in mapped}
    ignored = tuple(title for column, title in enumerate(titles) if column not in taken)
    return Header(delimiter, len(titles), tuple(mapped), ignored, tuple(titles))


def _checked(header: Header, job: Job) -> Header | FileRefused:
    titles = {title.casefold() for title in header.titles}
    if absent := [title for title in job.mapping if title.casefold() not in titles]:
        return FileRefused("mapped_column_absent", f"no column {absent[0]!r}; the file has {_list(header.titles)}")
    if not header.mapped:
        if any(_LOOKS_LIKE_DATA.fullmatch(title) for title in header.titles):
            return FileRefused("no_header", "the first line looks like data; begin the file with the fields' names")
        known = _list(f.name for f in job.fields)
        have = _list(header.titles)
        return FileRefused("no_known_column", f"no column is a field's name: the file has {have}, the tenant {known}")
    names = [m.field.name for m in header.mapped]
    if doubled := [name for name in names if names.count(name) > 1]:
        twice = _list(m.title for m in header.mapped if m.field.name == doubled[0])
        return FileRefused("duplicate_column", f"field {doubled[0]!r} has more than one column: {twice}")
    if not any(m.field.kind == "phone" for m in header.mapped):
        return FileRefused("no_phone_column", f"no column with the number: name one {', '.join(sorted(PHONE_WORDS))}")
    if len(header.mapped) > COLUMNS_MAX:
        return FileRefused("too_many_columns", f"{len(header.mapped)} columns map to fields, at most {COLUMNS_MAX}")
    return header


def _list(names: object) -> str:
    shown = [repr(str(name)[:40]) for name in names]  # type: ignore[attr-defined]
    return ", ".join(shown[:20]) + (" ..." if len(shown) > 20 else "")
