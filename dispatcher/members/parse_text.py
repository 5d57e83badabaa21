"""CSV and NDJSON as chunks of rows: the text is unpacked, put into UTF-8 and cut as it arrives.

Touches: the readers below it.
"""

from __future__ import annotations

import re

from dispatcher.members.import_files import Job
from dispatcher.members.parse_body import Peeked, Spooled, Window
from dispatcher.members.parse_charset import SAMPLE, Transcoded, bom_octets
from dispatcher.members.parse_chunk import LINE_TOO_LONG, CsvChunk, Keys, ObjectChunk, TextChunk
from dispatcher.members.parse_header import (
    CR_ALONE,
    KEYS_MAX,
    LINE_MAX,
    FileRefused,
    Header,
    Titles,
    keys_of,
    read_header,
)

_SEP = re.compile(rb"sep=([\t -~])", re.IGNORECASE)  # a line that Excel writes before the header


class TextSource:
    """One text. header() first, then next_chunk() until None; `position` and `line` say where the next begins."""

    def __init__(self, spooled: Spooled, text: Peeked, job: Job, titles: Titles, format: str, charset: str) -> None:
        self._spooled, self._text, self._job, self._titles = spooled, text, job, titles
        self._format, self._charset = format, charset
        self._plain = charset == "utf-8"
        reader = text if self._plain else Transcoded(text, charset)
        self.window = Window(reader, job.row_octets_max + SAMPLE)
        self.line = 1
        self._chunk: TextChunk | None = None
        self._keys: Keys | None = None

    @property
    def position(self) -> int:
        """Where in the text the next row begins."""
        return self.window.octet

    @property
    def octet(self) -> int:
        """How far the body was read."""
        return self.window.octet if self._is_body else self._spooled.octet

    @property
    def _is_body(self) -> bool:
        """Whether the text is the body itself, octet for octet."""
        return self._plain and self._text.is_over(self._spooled)

    @property
    def later(self) -> list[str]:
        """Keys that were ignored, and are not among the header's."""
        return self._keys.later if self._keys else []

    def header(self) -> Header | FileRefused:
        """How the columns are understood. Leaves the window where the first row begins."""
        window = self.window
        window.fill()
        while window.end < 3 and not window.final:
            window.fill()
        window.at = bom_octets(bytes(window.data[: min(3, window.end)]))
        found = self._object_header() if self._format == "ndjson" else self._csv_header()
        if isinstance(found, FileRefused):
            return found
        if self._format == "ndjson":
            self._keys = Keys(found, self._titles, KEYS_MAX)
            self._chunk = ObjectChunk(found, self._job.row_octets_max, self._charset, self._keys)
        else:
            self._chunk = CsvChunk(found, self._job.row_octets_max, self._charset)
        return found

    def _csv_header(self) -> Header | FileRefused:
        window, delimiter = self.window, self._job.delimiter
        while True:
            past = window.find_line_end()
            if past < 0 and not window.final and window.end - window.at <= LINE_MAX:
                window.fill()
                continue
            if past < 0:
                past = window.end
            text = bytes(window.data[window.at : past]).strip(b"\r\n")
            if not text and past == window.end and window.final:
                return FileRefused("empty_file", "the file is empty")
            if len(text) > LINE_MAX:
                if b"\r" in text:
                    return CR_ALONE
                return FileRefused("bad_header", f"the first line is longer than {LINE_MAX} octets")
            if self.line == 1 and (stated := _SEP.fullmatch(text)):
                delimiter = delimiter or stated[1].decode()
            elif text.strip():
                header = read_header(text, delimiter, self._titles)
                if isinstance(header, Header) and header.header_line:
                    window.at, self.line = past, self.line + 1
                return header
            window.at, self.line = past, self.line + 1

    def _object_header(self) -> Header | FileRefused:
        """From the keys of the first SAMPLE octets."""
        window = self.window
        while window.end < SAMPLE and not window.final:
            window.fill()
        whole = window.final and window.end <= SAMPLE
        sample = bytes(window.data[window.at : min(window.end, SAMPLE)])
        if not sample.strip():
            return FileRefused("empty_file", "the file is empty")
        keys = keys_of(sample if whole else sample[: sample.rfind(b"\n") + 1], self._titles.rules)
        if not keys:
            return FileRefused("bad_header", "none of the first lines is a JSON object", "write one object a line")
        firsts: dict[str, str] = {}  # of the keys that one field may have, the first is its title
        ignored = []
        for key in keys:
            if found := self._titles.field_of(key):
                firsts.setdefault(found[0].name, key)
            else:
                ignored.append(key)
        named = self._titles.header(list(firsts.values()))
        header = Header("", max(1, named.columns), named.mapped, tuple(ignored), tuple(keys))
        return self._titles.checked(header)

    def go_to(self, position: int, line: int) -> None:
        """Go on from a row that began there, in an earlier life of the parser."""
        if self._is_body:
            self._spooled.seek(position)
            self._text.forget()
            self.window.start_at(position)
        else:
            self.window.skip_to(position)
        self.line = line

    def next_chunk(self, most: int) -> TextChunk | None:
        """At most `most` more rows, those that cannot be cut rejected; None at the end."""
        window, chunk = self.window, self._chunk
        assert chunk is not None
        while True:
            start, line = window.at, self.line
            window.at, self.line = chunk.cut(
                window.data, window.at, window.end, window.final, self.line, min(most, chunk.rows_max)
            )
            if window.at != start or self.line != line:
                return chunk
            if window.final:
                return None
            if window.end - window.at > self._job.row_octets_max:
                self._skip_long_line(chunk)
                return chunk
            window.fill()

    def _skip_long_line(self, chunk: TextChunk) -> None:
        """Reject the line that does not fit the window and go on past its end."""
        window = self.window
        chunk.reject_row(self.line, bytes(window.data[window.at : window.at + 400]), *LINE_TOO_LONG)
        while (past := window.find_line_end()) < 0 and not window.final:
            window.at = window.end
            window.fill()
        window.at = past if past >= 0 else window.end
        self.line += 1
