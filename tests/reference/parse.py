"""What cutting a CSV body into rows means: members/_parse_rows.pyx, one octet at a time."""

from __future__ import annotations

FINE, TOO_FEW, TOO_MANY, UNCLOSED, AFTER_QUOTE, NUL = 0, 1, 2, 3, 4, 5
LINES_IN_QUOTES = 50
OCTETS_IN_QUOTES = 65_536

Row = tuple[int, int, list[bytes]]  # first line, status, cells (when FINE)


def rows_of(body: bytes, delimiter: bytes, columns: int, line: int = 1) -> list[Row]:
    """Every row of a whole body that is not blank."""
    rows: list[Row] = []
    at = 0
    while at < len(body):
        ends = [end for end in (b"\n", b"\r\n") if body.startswith(end, at)]
        if ends:
            at, line = at + len(ends[0]), line + 1
            continue
        past, lines, status, cells = _row(body, at, delimiter)
        if status == FINE and len(cells) != columns:
            status = TOO_FEW if len(cells) < columns else TOO_MANY
        rows.append((line, status, cells if status == FINE else []))
        at, line = past, line + lines
    return rows


def _row(body: bytes, at: int, delimiter: bytes) -> tuple[int, int, int, list[bytes]]:
    """(where the next row begins, lines used, status, cells)"""
    cells: list[bytes] = []
    lines, status = 1, FINE
    while True:
        if body.startswith(b'"', at):
            close, text = _quoted(body, at)
            if close < 0:
                return _next_line(body, at), lines, UNCLOSED, []
            if b"\0" in text:
                status = NUL
            lines += text.count(b"\n")
            cells.append(text.replace(b'""', b'"'))
            at = close + 1
            if body.startswith(b"\r\n", at) or body[at:] == b"\r":
                at += 1
            if at < len(body) and body[at : at + 1] not in (delimiter, b"\n"):
                return _next_line(body, at), lines, AFTER_QUOTE, []
        else:
            end = at
            while end < len(body) and body[end : end + 1] not in (delimiter, b"\n"):
                end += 1
            text = body[at:end]
            if b"\0" in text:
                status = NUL
            if (end == len(body) or body[end : end + 1] == b"\n") and text.endswith(b"\r"):
                text = text[:-1]
            cells.append(text)
            at = end
        if at >= len(body):
            return at, lines, status, cells
        at += 1
        if body[at - 1 : at] == b"\n":
            return at, lines, status, cells


def _quoted(body: bytes, at: int) -> tuple[int, bytes]:
    """Where the quote that opens at `at` is closed, and the octets between; -1 when it never is."""
    p, lines = at + 1, 0
    while p < min(len(body), at + OCTETS_IN_QUOTES):
        if body.startswith(b'""', p):
            p += 2
        elif body.startswith(b'"', p):
            return p, body[at + 1 : p]
        else:
            lines += body[p] == 0x0A
            p += 1
            if lines > LINES_IN_QUOTES:
                break
    return -1, b""


def _next_line(body: bytes, at: int) -> int:
    return body.find(b"\n", at) + 1 or len(body)
