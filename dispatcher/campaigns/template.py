"""A text with fields: `{name}`, `{points|0}`, `{name|friend:12}`; compiled and checked once, when it is saved.

Touches: nothing.
A field may have a fallback for members of whom the value is unknown, and after the fallback a greatest
length in characters; `{{` and `}}` are the braces themselves. There is no attribute access, index,
conversion, format spec or code: what is not a field of the tenant is refused with its position.
`{coupon}` in a text of a campaign with a coupon pool is the member's own code there.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Protocol

from dispatcher.coupons.code import CODE_CHARACTERS
from dispatcher.errors import CommandRefused
from dispatcher.store.blocks import ColumnKind
from dispatcher.text.alphabet import is_forbidden, normalise

MAX_CHARACTERS = 100 * 153  # what the most parts of a campaign can hold at all
MAX_REFERENCES = 32
MAX_MAX = 1_000
MICROS = 1_000_000  # a unit of money, as the store keeps it
COUPON_NAME = "coupon"
BOOL_WORDS = ("no", "yes")  # by code - 1
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_NAME = re.compile(r"\w+\Z")
_MAX = re.compile(r":([0-9]{1,9})\Z")
_CUTTABLE = ("text", "dict")
_PRINTABLE = ("text", "dict", "int", "date", "month_day", "bool", "money", "phone", "points")


class Field(Protocol):
    """What a template asks of a field; members.fields has the real one."""

    @property
    def number(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def column(self) -> ColumnKind: ...
    @property
    def values(self) -> Sequence[str]: ...
    @property
    def aliases(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Reference:
    """A field's place in a text."""

    field: Field
    fallback: str | None = None  # None: a member without the value is not sent to
    max_characters: int = 0  # 0: whole


class Coupon(str):
    """The place of a member's code: a literal as long and of the same letters, so that whoever renders without the
    pool's key counts exactly and shows nobody's code."""

    __slots__ = ()


COUPON = Coupon("X" * CODE_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Template:
    """Literals and references in order. `text` is what was written, normalised to NFC."""

    text: str
    pieces: tuple[str | Reference, ...]

    @classmethod
    def compile(cls, text: str, fields: Mapping[str, Field], *, pool: bool = False) -> Template:
        """pool: `{coupon}` is the member's code, whatever the fields. Raises CommandRefused 422: `unknown_field` with
        did_you_mean, or `template_syntax`; both with position."""
        text = normalise(text)
        if not 1 <= len(text) <= MAX_CHARACTERS:
            raise _refused("template_syntax", f"a text has 1 to {MAX_CHARACTERS} characters, this one {len(text)}", 0)
        for position, character in enumerate(text):
            if is_forbidden(character):
                raise _refused("template_syntax", f"the character U+{ord(character):04X} cannot be sent", position)
        pieces: list[str | Reference] = []
        literal, at = "", 0
        while at < len(text):
            character = text[at]
            if character in "{}" and text[at : at + 2] == 2 * character:
                literal += character
                at += 2
            elif character == "{":
                end = text.find("}", at)
                if end < 0:
                    raise _refused("template_syntax", "this { is never closed; a brace itself is written {{", at)
                if literal:
                    pieces.append(literal)
                inside = text[at + 1 : end]
                pieces.append((pool and _coupon(inside, at + 1)) or _reference(inside, at + 1, fields))
                literal, at = "", end + 1
            elif character == "}":
                raise _refused("template_syntax", "this } closes nothing; a brace itself is written }}", at)
            else:
                literal += character
                at += 1
        if literal:
            pieces.append(literal)
        if sum(isinstance(piece, Reference) for piece in pieces) > MAX_REFERENCES:
            raise _refused("template_syntax", f"a text has at most {MAX_REFERENCES} fields", 0)
        return cls(text, tuple(pieces))

    @property
    def references(self) -> list[Reference]:
        return [piece for piece in self.pieces if isinstance(piece, Reference)]

    @property
    def literals(self) -> str:
        """What everybody gets, a code's letters counted among it."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))

    @property
    def has_coupon(self) -> bool:
        return any(isinstance(piece, Coupon) for piece in self.pieces)

    @property
    def columns(self) -> list[tuple[int, int, ColumnKind]]:
        """The columns that the text reads, each once: what open_block must be asked for."""
        return list(dict.fromkeys((ref.field.number, 0, ref.field.column) for ref in self.references))

    def render_one(self, values: Mapping[str, Any]) -> str | None:
        """The text for one member; None when a value is unknown and has no fallback. For values see value_text."""
        texts = [piece if isinstance(piece, str) else _text_of(piece, values) for piece in self.pieces]
        return None if None in texts else "".join(text for text in texts if text is not None)

    def sample(self, values: Mapping[str, Any]) -> str:
        """As render_one; a field without value or fallback stays visible as `{name}`."""
        shown = ""
        for piece in self.pieces:
            text = piece if isinstance(piece, str) else _text_of(piece, values)
            shown += f"{{{piece.field.name}}}" if isinstance(piece, Reference) and text is None else text or ""
        return shown


def value_text(field: Field, value: Any) -> str | None:
    """A value as a text shows it; None when unknown.

    Takes what the store keeps (codes from 1, days since 1970, month x 32 + day, micro-units, 1 no and 2 yes)
    and what Python has for it: str, bool, date, Decimal or float.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return "".join(" " if is_forbidden(character) else character for character in value)
    if isinstance(value, datetime.date):
        return value.isoformat()[:10]
    if isinstance(value, bool):
        return BOOL_WORDS[value]
    if isinstance(value, Decimal | float):
        return _money(Decimal(value))
    match field.kind:
        case "dict" | "bool":
            words = BOOL_WORDS if field.kind == "bool" else field.values
            return words[value - 1] if 1 <= value <= len(words) else None
        case "date":
            day = value + _EPOCH
            known = 1 <= day <= datetime.date.max.toordinal()
            return datetime.date.fromordinal(day).isoformat() if known else None
        case "month_day":
            month, day = divmod(value, 32)
            return f"{month:02}-{day:02}" if 1 <= month <= 12 and day else None
        case "money":
            return _money(Decimal(value) / MICROS)
        case "phone":
            return str(value) if value else None
    return str(value)


def _money(amount: Decimal) -> str:
    cents = amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
    return str(cents if cents else abs(cents))  # never -0.00


def _text_of(ref: Reference, values: Mapping[str, Any]) -> str | None:
    text = value_text(ref.field, values.get(ref.field.name))
    return ref.fallback if text is None else text[: ref.max_characters or None]


def _coupon(inside: str, position: int) -> Coupon | None:
    name, bar, _ = inside.partition("|")
    if name.strip() != COUPON_NAME:
        return None
    if bar:
        detail = f"{{{COUPON_NAME}}} has neither a fallback nor a length: every member has a code"
        raise _refused("template_syntax", f"{detail}, of {CODE_CHARACTERS} characters", position)
    return COUPON


def _reference(inside: str, position: int, fields: Mapping[str, Field]) -> Reference:
    name, bar, rest = inside.partition("|")
    name = name.strip()
    if not _NAME.match(name):
        hint = "; a greatest length stands after a fallback, as in {name|friend:12}" if ":" in name else ""
        raise _refused("template_syntax", f"{{{inside}}} is not a field's name{hint}", position)
    field = fields.get(name)
    if field is None:
        hint = "; codes of a coupon pool need a campaign that names it (coupon_pool)" if name == COUPON_NAME else ""
        raise _refused("unknown_field", f"there is no field {name!r}{hint}", position, _nearest(name, fields))
    if field.kind not in _PRINTABLE:
        raise _refused("template_syntax", f"a text cannot show the field {name!r} of kind {field.kind}", position)
    if not bar:
        return Reference(field)
    if "{" in rest:
        raise _refused("template_syntax", "a fallback cannot hold a field or a brace", position)
    found = _MAX.search(rest)
    if found is None:
        return Reference(field, rest)
    fallback, most = rest[: found.start()], int(found[1])
    if not 1 <= most <= MAX_MAX:
        raise _refused("template_syntax", f"a greatest length is 1 to {MAX_MAX} characters, not {most}", position)
    if field.kind not in _CUTTABLE:
        raise _refused("template_syntax", f"{name!r} is of kind {field.kind}: cut short it would be wrong", position)
    if len(fallback) > most:
        raise _refused("template_syntax", f"the fallback {fallback!r} is longer than {most} characters", position)
    return Reference(field, fallback, most)


def _nearest(name: str, fields: Mapping[str, Field]) -> dict[str, str | None]:
    """What a field of this name is called now, else one spelt like it."""
    shown = [field for field in fields.values() if field.kind in _PRINTABLE]
    renamed = (field.name for field in shown if name in field.aliases)
    names = [field.name for field in shown] if name != COUPON_NAME else []
    alike = difflib.get_close_matches(name.lower(), names, 1, 0.5)
    return {"did_you_mean": next(renamed, None) or next(iter(alike), None)}


def _refused(code: str, detail: str, position: int, near: dict[str, str | None] | None = None) -> CommandRefused:
    extra: dict[str, Any] = {"position": position, **(near or {})}
    if extra.get("did_you_mean"):
        detail += f"; did you mean {extra['did_you_mean']!r}?"
    return CommandRefused(422, code, detail, errors=[{"pointer": "/text", "code": code, "detail": detail}], extra=extra)
