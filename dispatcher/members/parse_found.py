"""What a body is: its compression by its first octets, its format by its content and its name, its charset.

Touches: the body, through the readers that it puts on top of each other.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from dispatcher.members.import_files import Job
from dispatcher.members.parse_body import Peeked, Spooled
from dispatcher.members.parse_charset import SAMPLE, find_charset
from dispatcher.members.parse_chunk import Chunk
from dispatcher.members.parse_header import FileRefused, Header, Titles
from dispatcher.members.parse_text import TextSource
from dispatcher.members.parse_unpack import MAGIC, Unpacked

FORMATS = ("csv", "ndjson", "parquet")
PARQUET = b"PAR1"
_ENDINGS = {"csv": "csv", "tsv": "csv", "txt": "csv", "ndjson": "ndjson", "jsonl": "ndjson", "parquet": "parquet"}
_FOREIGN = {  # magic -> what it is, what to do
    b"\xd0\xcf\x11\xe0": ("an old Excel file", "save the sheet as CSV in UTF-8"),
    b"BZh": ("bzip2", "unpack it first, or use gzip or zstd"),
    b"\xfd7zXZ": ("xz", "unpack it first, or use gzip or zstd"),
    b"7z\xbc\xaf": ("a 7-Zip archive", "unpack it first"),
    b"Rar!": ("a RAR archive", "unpack it first"),
    b"%PDF": ("a PDF", "save the table as CSV in UTF-8"),
    b"PARE": ("an encrypted Parquet file", "write it without encryption"),
    b"Obj\x01": ("Avro", "write it as Parquet, NDJSON or CSV"),
    b"ORC": ("ORC", "write it as Parquet, NDJSON or CSV"),
    b"SQLite f": ("an SQLite database", "write the table as CSV in UTF-8"),
}
_PEEK = 1_024


class Source(Protocol):
    """A body of one format, as its rows."""

    line: int

    @property
    def position(self) -> int: ...
    @property
    def octet(self) -> int: ...
    @property
    def later(self) -> list[str]: ...
    def header(self) -> Header | FileRefused: ...
    def go_to(self, position: int, line: int) -> None: ...
    def next_chunk(self, most: int) -> Chunk | None: ...


def open_source(
    spooled: Spooled, folder: Path, job: Job, titles: Titles
) -> tuple[Source | FileRefused, dict[str, Any]]:
    """The source, and what was found out: format, compression, charset. Waits for as much as that takes."""
    body = Peeked(spooled)
    compression = job.compression or next((name for m, name in MAGIC.items() if body.peek(4).startswith(m)), "none")
    text = body if compression == "none" else Peeked(Unpacked(body, compression))
    start = text.peek(8 if job.format else _PEEK)
    found: dict[str, Any] = {"format": job.format or "csv", "compression": compression, "charset": ""}
    refused = _foreign(start, text)
    if job.format not in ("", "parquet") and start.startswith(PARQUET):
        refused = FileRefused("wrong_format", f"the file is Parquet, not {job.format} as stated")
    elif packed := next((name for magic, name in MAGIC.items() if start.startswith(magic)), ""):
        again = "" if compression == "none" else " once more"
        refused = FileRefused(
            "wrong_format", f"the file is packed with {packed}{again}", "unpack it, or state no other"
        )
    if refused:
        return refused, found
    if (job.format or ("parquet" if start.startswith(PARQUET) else "")) == "parquet":
        from dispatcher.members.parse_parquet import ParquetSource

        found["format"] = "parquet"
        return ParquetSource(spooled, text, compression, folder, titles), found
    sample = text.peek(SAMPLE) if not job.charset else start
    found["charset"] = charset = find_charset(sample, job.charset)
    named = _by_name(job.filename)
    first = sample[:_PEEK].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")[:1]
    if not job.format and named == "parquet":
        return FileRefused("wrong_format", "the file is called Parquet and does not begin as one"), found
    if not job.format and first == b"[" and named != "csv":
        return FileRefused("wrong_format", "the file is one JSON list", "write one object a line (NDJSON)"), found
    if not job.format and (named == "ndjson" or (first == b"{" and named != "csv")):
        found["format"] = "ndjson"
    return TextSource(spooled, text, job, titles, found["format"], charset), found


def _by_name(filename: str) -> str:
    """The format that a file's ending speaks of, those of compression left away."""
    stem, ending = os.path.splitext(filename.lower())
    if ending in (".gz", ".gzip", ".zst", ".zstd"):
        ending = os.path.splitext(stem)[1]
    return _ENDINGS.get(ending[1:], "")


def _foreign(start: bytes, text: Peeked) -> FileRefused | None:
    """What is none of our formats, whatever it was said to be."""
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        if any(name in text.peek(_PEEK) for name in (b"[Content_Types].xml", b"xl/", b"_rels/")):
            hint = "save the sheet as CSV in UTF-8"
            return FileRefused("wrong_format", "the file is an Excel workbook (xlsx) or another office document", hint)
        return FileRefused("wrong_format", "the file is a zip archive", "unpack it first")
    if start[257:262] == b"ustar":
        return FileRefused("wrong_format", "the file is a tar archive", "unpack it first")
    for magic, (name, hint) in _FOREIGN.items():
        if start.startswith(magic):
            return FileRefused("wrong_format", f"the file is {name}", hint)
    return None
