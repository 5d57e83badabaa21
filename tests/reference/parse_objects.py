"""What cutting an NDJSON body into rows means: members/_parse_objects.pyx, one value at a time."""

from __future__ import annotations

import re

FINE, TOO_LONG, NOT_JSON, NESTED, DUPLICATE, SURROGATE, TOO_DEEP, LATE_KEY = 0, 8, 9, 10, 11, 12, 13, 14
DEPTH_MAX = 64
IGNORED, LATE = 0xFFFF, 0xFFFE
SEPARATOR = b"\x1f"

Row = tuple[int, int, list[bytes]]  # line, status, cells (when FINE)
_BLANKS = re.compile(rb"[ \t\r\n]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]+')
_SIMPLE = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b'"': b'"', b"\\": b"\\", b"/": b"/"}
_HEX = re.compile(rb"\\u([0-9a-fA-F]{4})")


class Refused(Exception):
    """`args[0]` is the status."""


def rows_of(body: bytes, columns: dict[bytes, int], lists: bytes, octets_max: int) -> list[Row]:
    """Every row of a whole body that is not blank. A key that `columns` lacks is ignored."""
    rows: list[Row] = []
    for number, line in enumerate(body.split(b"\n"), start=1):
        if _BLANKS.fullmatch(line):
            continue
        octets = len(line) + (number <= body.count(b"\n"))
        try:
            rows.append((number, FINE, _object(line, columns, lists, octets > octets_max)))
        except Refused as exc:
            rows.append((number, exc.args[0], []))
    return rows


def _object(line: bytes, columns: dict[bytes, int], lists: bytes, too_long: bool) -> list[bytes]:
    if too_long:
        raise Refused(TOO_LONG)
    cells: dict[int, bytes] = {}
    at = _expect(line, _blanks(line, 0), b"{")
    at = _blanks(line, at)
    if line[at : at + 1] != b"}":
        while True:
            key, at = _string(line, _blanks(line, at))
            column = columns.get(key, IGNORED)
            if column == LATE:
                raise Refused(LATE_KEY)
            at = _blanks(line, _expect(line, _blanks(line, at), b":"))
            if column == IGNORED:
                at = _skip(line, at, 0)
            elif column in cells:
                raise Refused(DUPLICATE)
            else:
                cells[column], at = _value(line, at, bool(lists[column]))
            at = _blanks(line, at)
            if line[at : at + 1] == b"}":
                break
            at = _expect(line, at, b",")
    if _blanks(line, at + 1) != len(line):
        raise Refused(NOT_JSON)
    return [cells.get(column, b"") for column in range(len(lists))]


def _value(line: bytes, at: int, takes_lists: bool) -> tuple[bytes, int]:
    opened = line[at : at + 1]
    if opened == b"{" or (opened == b"[" and not takes_lists):
        raise Refused(NESTED)
    if opened == b"[":
        return _strings(line, at)
    if opened == b'"':
        return _string(line, at)
    end = _word_or_number(line, at)
    return (b"" if opened == b"n" else line[at:end]), end


def _strings(line: bytes, at: int) -> tuple[bytes, int]:
    at, texts = _blanks(line, at + 1), b""
    if line[at : at + 1] == b"]":
        return texts, at + 1
    while True:
        at = _blanks(line, at)
        if at < len(line) and line[at : at + 1] != b'"':
            raise Refused(NESTED)
        text, at = _string(line, at)
        texts += SEPARATOR + text
        at = _blanks(line, at)
        if line[at : at + 1] == b"]":
            return texts, at + 1
        at = _expect(line, at, b",")


def _string(line: bytes, at: int) -> tuple[bytes, int]:
    at, text = _expect(line, at, b'"'), b""
    while True:
        if found := _PLAIN.match(line, at):
            text, at = text + found[0], found.end()
        if line[at : at + 1] == b'"':
            return text, at + 1
        if line[at : at + 1] != b"\\":
            raise Refused(NOT_JSON)
        if (simple := _SIMPLE.get(line[at + 1 : at + 2])) is not None:
            text, at = text + simple, at + 2
            continue
        found = _HEX.match(line, at)
        if found is None:
            raise Refused(NOT_JSON)
        unit, at = int(found[1], 16), at + 6
        if 0xDC00 <= unit <= 0xDFFF:
            raise Refused(SURROGATE)
        if 0xD800 <= unit <= 0xDBFF:
            found = _HEX.match(line, at)
            low = int(found[1], 16) if found else 0
            if not 0xDC00 <= low <= 0xDFFF:
                raise Refused(SURROGATE)
            unit, at = 0x10000 + (unit - 0xD800) * 1_024 + low - 0xDC00, at + 6
        text += chr(unit).encode()


def _skip(line: bytes, at: int, depth: int) -> int:
    at = _blanks(line, at)
    opened = line[at : at + 1]
    if opened == b'"':
        return _string(line, at)[1]
    if opened not in (b"{", b"["):
        return _word_or_number(line, at)
    if depth == DEPTH_MAX:
        raise Refused(TOO_DEEP)
    closes = b"}" if opened == b"{" else b"]"
    at = _blanks(line, at + 1)
    if line[at : at + 1] == closes:
        return at + 1
    while True:
        if opened == b"{":
            at = _string(line, _blanks(line, at))[1]
            at = _expect(line, _blanks(line, at), b":")
        at = _blanks(line, _skip(line, at, depth + 1))
        if line[at : at + 1] == closes:
            return at + 1
        at = _expect(line, at, b",")


def _word_or_number(line: bytes, at: int) -> int:
    for word in (b"true", b"false", b"null"):
        if line.startswith(word, at):
            return at + len(word)
    found = _NUMBER.match(line, at)
    # "01" and "1." end where a number may end; what follows is then no delimiter, or here: no longer number
    if found is None or line[found.end() : found.end() + 1] in (b"0", b".", b"e", b"E") or _digit(line, found.end()):
        raise Refused(NOT_JSON)
    return found.end()


def _digit(line: bytes, at: int) -> bool:
    return line[at : at + 1].isdigit()


def _blanks(line: bytes, at: int) -> int:
    found = _BLANKS.match(line, at)
    assert found is not None
    return found.end()


def _expect(line: bytes, at: int, octet: bytes) -> int:
    if line[at : at + 1] != octet:
        raise Refused(NOT_JSON)
    return at + 1
