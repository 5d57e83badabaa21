"""Which charset a text is in, and the text as UTF-8, block by block.

Touches: the reader below it. Octets that are none in the charset become one 0xFF each, which is no UTF-8:
so they reject the rows that they stand in, as broken UTF-8 does, and no others.
Weak spot: the charset is judged from the first SAMPLE octets. A file whose sample is plain ASCII is taken
for UTF-8; where that is wrong its rows are rejected as broken, and stating the charset is the way out.
"""

from __future__ import annotations

import codecs
import re

from dispatcher.members.parse_body import Reader

SAMPLE = 1 << 18
UTF8_BOM = b"\xef\xbb\xbf"
# what a charset may be called -> (how it is stated, Python's codec). Latin-1 is read as windows-1252, as browsers do
# (WHATWG Encoding): the two differ where Latin-1 has control characters. GB18030 holds GBK and GB2312.
_FAMILIES = {
    ("utf-8", "utf_8"): ("utf8", "utf-8-sig", "ascii", "us-ascii"),
    ("utf-16", "utf_16"): ("utf16",),
    ("utf-16-le", "utf_16_le"): ("utf-16le", "utf16le"),
    ("utf-16-be", "utf_16_be"): ("utf-16be", "utf16be"),
    ("gb18030", "gb18030"): ("gbk", "gb2312", "cp936"),
    ("latin-1", "cp1252"): ("latin1", "iso-8859-1", "iso8859-1", "windows-1252", "cp1252"),
    ("windows-1250", "cp1250"): ("cp1250",),
    ("windows-1251", "cp1251"): ("cp1251",),
    ("windows-1253", "cp1253"): ("cp1253",),
    ("windows-1254", "cp1254"): ("cp1254",),
    ("koi8-r", "koi8_r"): (),
    ("iso-8859-2", "iso8859_2"): (),
    ("iso-8859-15", "iso8859_15"): (),
    ("big5", "big5hkscs"): ("big5-hkscs",),
    ("shift_jis", "cp932"): ("shift-jis", "sjis", "cp932"),
    ("euc-kr", "cp949"): ("cp949",),
}
CHARSETS = {alias: pair for pair, aliases in _FAMILIES.items() for alias in (pair[0], *aliases)}
_DOUBTFUL = ("gb18030", "cp1252", "cp1251", "cp1250", "koi8_r", "big5", "cp932", "cp949", "cp1253", "cp1254")
_NORMALIZED = {"big5": "big5hkscs"}
_JUDGED = 1 << 14  # octets given to charset_normalizer: it needs no more, and takes its time
_HIGH = re.compile(rb"[\x80-\xff]+")
_LIKE_UTF8 = re.compile(  # surrogates and characters past the last too: wrong, and in UTF-8 all the same
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_BROKEN = "volley_broken_as_ff"


def stated(name: str) -> str | None:
    """How a charset that was asked for is stated; None for one that is not read."""
    found = CHARSETS.get(name.strip().lower().replace("_", "-")) or CHARSETS.get(name.strip().lower())
    return found[0] if found else None


def find_charset(sample: bytes, asked: str = "") -> str:
    """The charset of a text that begins with `sample` (SAMPLE octets, or all); what was asked for where it was."""
    wide = _wide(sample)
    if asked:
        name = stated(asked)
        assert name is not None, "checked when the import was opened"
        return (wide or "utf-16-le") if name == "utf-16" else name
    return wide or _by_its_octets(sample)


def bom_octets(text: bytes) -> int:
    """Of the mark at the beginning of a text in UTF-8."""
    return len(UTF8_BOM) if text.startswith(UTF8_BOM) else 0


def _wide(sample: bytes) -> str | None:
    """UTF-16 by its mark, or by the NUL beside nearly each of the first ASCII characters."""
    if sample.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if sample.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    start = sample[: min(len(sample), 1_024) & ~1]
    low, high = start[::2].count(0), start[1::2].count(0)
    if 2 * max(low, high) < len(start) // 2 or min(low, high) > len(start) // 40 or not start:
        return None
    return "utf-16-be" if low > high else "utf-16-le"


def _by_its_octets(sample: bytes) -> str:
    cut = len(sample) >= SAMPLE
    runs = _HIGH.findall(sample[:-4] if cut else sample)
    if not runs:
        return "utf-8"
    broken = sum(len(_LIKE_UTF8.sub(b"", run)) for run in runs)
    whole = sum(len(_LIKE_UTF8.findall(run)) for run in runs)
    if broken == 0 or whole >= 10 * broken:
        return "utf-8"
    octets = sum(map(len, runs))
    if not any(0xC0 <= c < 0xFF and c not in b"\xd7\xf7" for run in runs for c in run):
        return "utf-8"  # no letter in any of the others either
    pairs = [run[i : i + 2] for run in runs if len(run) % 2 == 0 for i in range(0, len(run), 2)]
    common = sum(0xB0 <= pair[0] <= 0xD7 and pair[1] >= 0xA1 for pair in pairs)  # GB 2312's level 1
    if 2 * len(pairs) >= 0.9 * octets and common >= 0.7 * len(pairs):
        return "gb18030"
    alone = sum(len(run) == 1 for run in runs)
    if alone >= 0.8 * len(runs):
        return "latin-1"
    return _judged(sample)


def _judged(sample: bytes) -> str:
    """The doubtful: the lines that are not ASCII, before charset_normalizer."""
    lines = b"\n".join(line for line in sample.split(b"\n") if not line.isascii())[:_JUDGED]
    import charset_normalizer  # 30 ms, which most files need not wait for

    best = charset_normalizer.from_bytes(lines, cp_isolation=list(_DOUBTFUL), threshold=0.5).best()
    codec = best.encoding if best else ""
    codec = _NORMALIZED.get(codec, codec)
    return next((name for (name, known) in _FAMILIES if known == codec), "utf-8")


class Transcoded:
    """A reader's text in UTF-8."""

    def __init__(self, reader: Reader, charset: str) -> None:
        self._reader = reader
        self._decoder = codecs.getincrementaldecoder(CHARSETS[charset][1])(errors=_BROKEN)
        self._raw = memoryview(bytearray(1 << 16))
        self._text = memoryview(b"")
        self._over = False

    def readinto(self, into: memoryview) -> int:
        while not self._text:
            if self._over:
                return 0
            count = self._reader.readinto(self._raw)
            self._over = count == 0
            text = self._decoder.decode(bytes(self._raw[:count]), final=self._over)
            self._text = memoryview(text.encode("utf-8", "surrogateescape"))
        count = min(len(into), len(self._text))
        into[:count] = self._text[:count]
        self._text = self._text[count:]
        return count


def _as_ff(exc: UnicodeError) -> tuple[str, int]:
    """What cannot be decoded, as what `surrogateescape` writes as 0xFF."""
    assert isinstance(exc, UnicodeDecodeError)
    return "\udcff" * (exc.end - exc.start), exc.end


codecs.register_error(_BROKEN, _as_ff)
