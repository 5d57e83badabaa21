"""One cell of an import: what it means for its field, or why its row is rejected.

Touches: nothing. The kernel reads plain cells; every other one is decided here, and wherever the
kernel answers it answers the same (tests/members/test_parse_cells.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import phonenumbers

from dispatcher.members.import_files import JobField
from dispatcher.members.msisdn import normalise
from dispatcher.members.parse_dates import DateForm

BLANKS = " \t"  # trimmed from both ends of every cell
_EPOCH = date(1970, 1, 1).toordinal()
_DATES = (
    re.compile(r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"),
    re.compile(r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})"),
    re.compile(r"(?P<d>[0-9]{1,2})\.(?P<m>[0-9]{1,2})\.(?P<y>[0-9]{4})"),
)
_MONTH_DAYS = (
    re.compile(r"(?:--)?(?P<m>[0-9]{2})-?(?P<d>[0-9]{2})"),
    re.compile(r"(?P<d>[0-9]{1,2})\.(?P<m>[0-9]{1,2})\."),
)
_INT = re.compile(r"[+-]?[0-9]{1,19}")
_MONEY = re.compile(r"([+-]?)([0-9]{1,13})(?:\.([0-9]{1,6}))?")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")
_BOOLS = {"yes": 2, "y": 2, "1": 2, "true": 2, "no": 1, "n": 1, "0": 1, "false": 1}
# reject code -> what to do about it
HINTS = {
    "bad_json": "write one JSON object a line, in double quotes, without NaN or a comma at the end",
    "broken_charset": "state the file's charset, or save it in UTF-8",
    "broken_utf8": "state the file's charset, or save it in UTF-8",
    "control_character": "remove what is not text from the cell",
    "dictionary_full": "map rare values to one of those that the field has, or raise its max_values",
    "duplicate_key": "keep one of the keys",
    "empty_number": "a row needs a telephone number",
    "header_again": "files joined together repeat their header: nothing to do",
    "late_key": "name the key in the mapping, so that it is a column from the first row on",
    "line_too_long": "a quote may be missing; the limit is imports.row_octets_max",
    "lone_surrogate": "write the whole character",
    "nested_value": "write one text, number or true or false; a list of texts only for tags",
    "not_in_dictionary": "add the value to the field, or map it to one of its values",
    "nul_octet": "the file may be UTF-16: state its charset",
    "text_after_quote": "double a quote that stands inside a quoted cell",
    "too_deep": "write flat objects",
    "too_few_columns": "a delimiter or a quote may be missing",
    "too_long": "shorten the text, or raise the field's max_length",
    "too_many_columns": "quote a cell that holds the delimiter",
    "too_many_keys": "keys must be names of columns, not values",
    "unclosed_quote": "close the quote, or double it where it is a character",
    "wrong_date": "state the column's date_format in the mapping, such as %d.%m.%Y",
    "wrong_number": "write +49..., or state the region of national numbers in the mapping",
    "wrong_value": "map the value, or correct the cell",
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a row cannot be taken; `code` is for programs, `detail` for people."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class NewValue:
    """A word that an open dictionary or tags field does not have yet."""

    word: str


def phone_of(text: str, region: str) -> int | Rejected:
    """A number in E.164 digits."""
    if not text:
        return Rejected("empty_number", "no number")
    plain = _national(text, region) if region else None
    if plain is not None:
        return plain
    number = normalise(text, region)
    if isinstance(number, int):
        return number
    return Rejected("wrong_number", f"not a telephone number: {number.reason.replace('_', ' ')}")


def _national(text: str, region: str) -> int | None:
    """What phonenumbers answers for a plain national number, in a hundredth of its time; None: ask it.

    Rests on: its parse() leaves a number as it is that matches the region's general pattern, begins
    with neither the way out of the country nor a national prefix, and has a possible length.
    """
    rules = national_rules(region)
    if rules is None or len(text) not in rules.lengths or not (text.isascii() and text.isdigit()) or text[0] == "0":
        return None
    if rules.ways_out.match(text) or (rules.prefix and rules.prefix.match(text)) or not rules.whole.fullmatch(text):
        return None
    return int(f"{rules.country}{text}")


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes a national number plain."""

    country: int
    lengths: frozenset[int]
    whole: re.Pattern[str]
    prefix: re.Pattern[str] | None
    ways_out: re.Pattern[str]


@lru_cache(maxsize=16)
def national_rules(region: str) -> Rules | None:
    data = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    if data is None or data.country_code is None or data.general_desc is None:
        return None
    pattern, lengths = data.general_desc.national_number_pattern, data.general_desc.possible_length
    if not pattern or not lengths:
        return None
    # E.164 needs 7 digits with the country's own, and never more than 15
    fits = frozenset(n for n in lengths if 7 <= n + len(str(data.country_code)) <= 15)
    prefix = re.compile(data.national_prefix_for_parsing) if data.national_prefix_for_parsing else None
    return Rules(data.country_code, fits, re.compile(pattern), prefix, re.compile(data.international_prefix or "0"))


def date_of(text: str) -> int | Rejected:
    """Days since 1970-01-01: YYYY-MM-DD, YYYYMMDD or DD.MM.YYYY."""
    for form in _DATES:
        if found := form.fullmatch(text):
            try:
                return date(int(found["y"]), int(found["m"]), int(found["d"])).toordinal() - _EPOCH
            except ValueError:
                return Rejected("wrong_date", "no such day")
    return Rejected("wrong_date", "write a date as YYYY-MM-DD, YYYYMMDD or DD.MM.YYYY")


def month_day_of(text: str) -> int | Rejected:
    """month x 32 + day: MM-DD, --MM-DD, DD.MM., or a whole date whose year is dropped."""
    for form in _MONTH_DAYS:
        if found := form.fullmatch(text):
            month, day = int(found["m"]), int(found["d"])
            try:
                date(2000, month, day)  # a leap year: 29 February is a day
            except ValueError:
                return Rejected("wrong_date", "no such day")
            return month * 32 + day
    whole = date_of(text)
    if isinstance(whole, Rejected):
        return whole if whole.detail == "no such day" else Rejected("wrong_date", "write a day as MM-DD")
    day_of = date.fromordinal(whole + _EPOCH)
    return day_of.month * 32 + day_of.day


def formed_date_of(text: str, form: DateForm) -> int | Rejected:
    """Days since 1970-01-01 of a date in a stated format."""
    found = _formed(text, form)
    return found if isinstance(found, Rejected) else found.toordinal() - _EPOCH


def formed_month_day_of(text: str, form: DateForm) -> int | Rejected:
    """month x 32 + day of a day in a stated format; its year is dropped."""
    found = _formed(text, form)
    return found if isinstance(found, Rejected) else found.month * 32 + found.day


def _formed(text: str, form: DateForm) -> date | Rejected:
    parts = form.read(text)
    if parts is None:
        return Rejected("wrong_date", f"the date_format of this column is {form.text}")
    try:
        return date(*parts)
    except ValueError:
        return Rejected("wrong_date", "no such day")


def int_of(text: str, width: int) -> int | Rejected:
    """A whole number of `width` octets; the least one stands for unknown and is refused."""
    if not _INT.fullmatch(text):
        return Rejected("wrong_value", "not a whole number")
    most = (1 << 8 * width - 1) - 1
    value = int(text)
    return value if -most <= value <= most else Rejected("wrong_value", f"outside -{most} to {most}")


def points_of(text: str) -> int | Rejected:
    """An opening balance."""
    value = int_of(text, 8)
    return Rejected("wrong_value", "points cannot be negative") if isinstance(value, int) and value < 0 else value


def money_of(text: str) -> int | Rejected:
    """Micro-units of a decimal amount with at most 6 places."""
    found = _MONEY.fullmatch(text)
    if not found:
        return Rejected("wrong_value", "not an amount such as 12.50")
    value = int(found[2]) * 1_000_000 + int((found[3] or "").ljust(6, "0"))
    if value >= 1 << 63:
        return Rejected("wrong_value", "amount too large")
    return -value if found[1] == "-" else value


def bool_of(text: str) -> int | Rejected:
    """1 no, 2 yes."""
    return _BOOLS.get(text.lower()) or Rejected("wrong_value", "write yes, no, y, n, 1, 0, true or false")


def word_of(text: str, field: JobField, codes: dict[str, int], most: int) -> int | NewValue | Rejected:
    """The code of a dictionary's word or a tag; NewValue for one that an open field may take up."""
    code = codes.get(text)
    if code is not None:
        return code
    if field.closed:
        return Rejected("not_in_dictionary", f"not one of the {len(codes)} values of {field.name}")
    if len(codes) >= most:
        return Rejected("dictionary_full", f"{field.name} has {most} values, its most")
    if not 1 <= len(text) <= 100 or text != text.strip() or not text.isprintable():
        return Rejected("wrong_value", "a value has 1 to 100 printable characters")
    return NewValue(text)


def text_of(octets: bytes, max_length: int) -> str | Rejected:
    try:
        text = octets.decode()
    except UnicodeDecodeError as exc:
        return Rejected("broken_utf8", f"octet {exc.start + 1} is not UTF-8")
    if len(text) > max_length:
        return Rejected("too_long", f"{len(text)} characters, at most {max_length}")
    return text


def clean_text_of(octets: bytes, max_length: int) -> str | Rejected:
    """The cell of a text field: no control character but line feed, as in the API."""
    text = text_of(octets, max_length)
    if isinstance(text, str) and any((c < " " and c != "\n") or c == "\x7f" for c in text):
        return Rejected("control_character", "text without control characters")
    return text


def unescaped(text: str) -> str:
    """A cell of an export as it was before a ' was put in front, so that no spreadsheet takes it for a formula."""
    return text[1:] if _ESCAPED.match(text) else text


def shown(octets: bytes, most: int = 100) -> str:
    """A cell or row as a reject shows it: at most `most` characters, what is no UTF-8 as \\xNN."""
    text = bytes(octets[: 4 * most + 4]).decode(errors="backslashreplace").replace("\0", "\\x00")
    return text if len(text) <= most else text[: most - 1] + "…"
