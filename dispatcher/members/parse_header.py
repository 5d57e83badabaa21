"""Which column of a file is which field, or why the file is refused whole.

Touches: nothing.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dispatcher.members.import_files import COLUMNS_MAX, Job, JobField
from dispatcher.members.parse_mapping import BY_NAME, Rule, fits, near

DELIMITERS = ",;\t|"
LINE_MAX = 65_536  # octets of a header line
KEYS_MAX = 4_096  # different keys of an NDJSON file
PHONE_WORDS = frozenset({"phone", "msisdn", "mobile", "number", "手机", "手机号", "手机号码"})
_LOOKS_LIKE_DATA = re.compile(r"[+0-9][0-9 ()./:-]{3,}")
_POSITION = re.compile(r"c[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Mapped:
    """A column that goes to a field; `bit` is its bit in `given`."""

    title: str
    field: JobField
    column: int
    bit: int
    rule: Rule = BY_NAME


@dataclass(frozen=True, slots=True)
class Header:
    delimiter: str
    columns: int  # of the cells of a row
    mapped: tuple[Mapped, ...]  # the phone column among them
    ignored: tuple[str, ...]
    titles: tuple[str, ...]
    header_line: bool = True  # False: CSV without one, its columns called c1, c2 ...

    def as_json(self, found: dict[str, Any]) -> dict[str, Any]:
        """header.json. `found`: format, compression and charset."""
        mapped = [
            {"title": m.title, "field": m.field.name, "number": m.field.number, "kind": m.field.kind}
            | {"column": m.field.column, "bit": m.bit}
            for m in self.mapped
        ]
        columns = {"header": list(self.titles[:1_000]), "mapping": {m.title: m.field.name for m in self.mapped}}
        stated = {**found, "delimiter": self.delimiter, "header_line": self.header_line, **columns}
        ignored = list(self.ignored[:1_000])
        return {"delimiter": self.delimiter, "columns": mapped, "ignored": ignored, "found": stated}


@dataclass(frozen=True, slots=True)
class FileRefused:
    """The whole file cannot be imported."""

    code: str
    detail: str
    hint: str = ""
    did_you_mean: str | None = None

    def as_json(self) -> dict[str, Any]:
        more = {"hint": self.hint} if self.hint else {}
        return {"code": self.code, "detail": self.detail, **more, "did_you_mean": self.did_you_mean}


CR_ALONE = FileRefused("bad_header", "lines end in CR alone", "save the file with LF or CRLF at the end of lines")


class Titles:
    """How a column's title becomes a field, by the mapping and by the fields' names."""

    def __init__(self, job: Job, rules: dict[str, Rule]) -> None:
        self.region = job.region
        self.rules = {title.strip().casefold(): rule for title, rule in rules.items()}
        self.fields = {f.name: f for f in job.fields}
        labels = {f.label.casefold(): f for f in job.fields if f.label}
        self.names = labels | {f.name.casefold(): f for f in job.fields}
        self.phone = next(f for f in job.fields if f.kind == "phone")

    def field_of(self, title: str) -> tuple[JobField, Rule] | None:
        folded = title.strip().casefold()
        rule = self.rules.get(folded, BY_NAME)
        if rule.ignore:
            return None
        if rule.field:
            return self.fields[rule.field], rule
        field = self.names.get(folded) or (self.phone if folded in PHONE_WORDS else None)
        return (field, rule) if field else None

    def header(self, titles: Sequence[str], delimiter: str = "", header_line: bool = True) -> Header:
        """Not yet checked: see checked()."""
        mapped: list[Mapped] = []
        ignored: list[str] = []
        for column, title in enumerate(titles):
            if (found := self.field_of(title)) is None:
                ignored.append(title)
            else:
                mapped.append(Mapped(title, found[0], column, len(mapped), found[1]))
        return Header(delimiter, len(titles), tuple(mapped), tuple(ignored), tuple(titles), header_line)

    def checked(self, header: Header) -> Header | FileRefused:
        have = {title.strip().casefold() for title in header.titles}
        if absent := [title for title in self.rules if title not in have]:
            guess = near(absent[0], header.titles)
            detail = f"no column {absent[0]!r}; the file has {_list(header.titles)}"
            return FileRefused("mapped_column_absent", detail, did_you_mean=guess)
        if not header.mapped:
            return self._nothing_mapped(header)
        for title, rule in self.rules.items():
            if not rule.ignore and not rule.field and self.field_of(title) is None:
                detail = f"column {title!r} has transforms, but there is no field of this name"
                return FileRefused("unknown_field", detail, "name its field", near(title, self.fields))
        for m in header.mapped:
            if why := fits(m.rule, m.field.kind):
                return FileRefused("invalid_value", f"column {m.title!r}: {why}")
        names = [m.field.name for m in header.mapped]
        if doubled := [name for name in names if names.count(name) > 1]:
            twice = _list(m.title for m in header.mapped if m.field.name == doubled[0])
            return FileRefused("duplicate_column", f"field {doubled[0]!r} has more than one column: {twice}")
        if self.phone.name not in names:
            words = ", ".join(sorted(PHONE_WORDS))
            return FileRefused("no_phone_column", f"no column with the number: name one {words}")
        if len(header.mapped) > COLUMNS_MAX:
            return FileRefused("too_many_columns", f"{len(header.mapped)} columns map to fields, at most {COLUMNS_MAX}")
        return header

    def _nothing_mapped(self, header: Header) -> FileRefused:
        if any(_LOOKS_LIKE_DATA.fullmatch(title) for title in header.titles):
            hint = 'begin the file with the fields\' names, or map its columns by place: {"c1": "phone", ...}'
            return FileRefused("no_header", "the first line looks like data", hint)
        have, known = _list(header.titles), _list(self.fields)
        guess = next((found for title in header.titles[:20] if (found := near(title, self.names))), None)
        detail = f"no column is a field's name: the file has {have}, the tenant {known}"
        return FileRefused("no_known_column", detail, "map its columns to fields", guess)


def read_header(line: bytes, stated: str, titles: Titles) -> Header | FileRefused:
    """The header in a CSV file's first line that is not blank, without its BOM and line end.

    `stated` is the delimiter, or "" to find it out.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        hint = "state its charset, or save the file as CSV in UTF-8"
        return FileRefused("wrong_charset", "the first line is not text in the charset that was found", hint)
    if "\0" in text:
        return FileRefused("wrong_charset", "the first line holds NUL octets", "save the file as CSV in UTF-8")
    if "\r" in text:
        return CR_ALONE
    best: Header | FileRefused = FileRefused("bad_header", "the first line cannot be read")
    for delimiter in stated or DELIMITERS:
        try:
            cells = [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter, strict=True), [])]
        except csv.Error as exc:
            if not isinstance(best, Header):
                best = FileRefused("bad_header", f"the first line cannot be read: {exc}")
            continue
        found = titles.header(cells, delimiter)
        if titles.rules and all(map(_POSITION.fullmatch, titles.rules)) and not {*cells} & {*titles.rules}:
            found = titles.header([f"c{i + 1}" for i in range(len(cells))], delimiter, header_line=False)
        if not isinstance(best, Header) or (len(found.mapped), found.columns) > (len(best.mapped), best.columns):
            best = found
    return best if isinstance(best, FileRefused) else titles.checked(best)


def keys_of(sample: bytes, asked: Iterable[str]) -> list[str]:
    """The keys of the objects in an NDJSON file's first lines, in the order they come, then those of the mapping."""
    keys: dict[str, str] = {}
    for line in sample.split(b"\n"):
        try:
            pairs = json.loads(line, object_pairs_hook=list)
        except (ValueError, RecursionError):
            continue
        if line.strip().startswith(b"{") and len(keys) < KEYS_MAX:
            keys |= {key.strip().casefold(): key for key, _ in pairs if key.strip().casefold() not in keys}
    for title in asked:
        keys.setdefault(title.strip().casefold(), title)
    return list(keys.values())


def _list(names: Iterable[object]) -> str:
    shown = [repr(str(name)[:40]) for name in names]
    return ", ".join(shown[:20]) + (" ..." if len(shown) > 20 else "")
