"""What becomes of a file's columns, as asked for: `{column: field}` or `{column: {field, ...transforms}}`.

Touches: nothing. read_rules() is called when an import is opened, so that a wrong mapping is refused
before a body is read, and again by the parser. The transforms:
    date_format   of a date or month_day: %Y %y %m %b %d and other characters (parse_dates.py)
    region        of a phone: whose national numbers they are, ISO 3166
    values        {what the cell says: what it means}; "" means unknown
    separator     of tags, instead of ";"
    ignore        true: the column is not read
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import phonenumbers

from dispatcher.members.parse_dates import DateForm, read_date_form

VALUES_MAX = 10_000  # entries of one value map
_KINDS_OF = {"date_format": ("date", "month_day"), "region": ("phone",), "separator": ("tags",)}
_KEYS = ("field", "ignore", "date_format", "region", "values", "separator")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One column's part of a mapping. `field` "" = by the column's own name."""

    field: str = ""
    ignore: bool = False
    date_form: DateForm | None = None
    region: str = ""
    values: dict[str, str] = dataclasses.field(default_factory=dict)
    separator: str = ";"


BY_NAME = Rule()


class MappingRefused(Exception):
    """`errors`: maps of pointer, code, detail and did_you_mean, in the order of the mapping."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors[0]["detail"])
        self.errors = errors


def near(name: str, known: Iterable[str]) -> str | None:
    """The name most like a wrong one."""
    choices = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold()[:100], choices, n=1, cutoff=0.5)
    return choices[found[0]] if found else None


def read_rules(mapping: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Rule]:
    """Column -> rule. `kinds`: the tenant's fields and the kind of each. Raises MappingRefused."""
    rules: dict[str, Rule] = {}
    errors: list[dict[str, Any]] = []
    columns: dict[str, str] = {}  # as the file's are compared: without regard to case
    fields: dict[str, str] = {}
    for column, asked in mapping.items():
        pointer = "/mapping/" + column.replace("~", "~0").replace("/", "~1")

        def wrong(code: str, detail: str, known: Iterable[str] = (), at: str = pointer, name: str = "") -> None:
            errors.append({"pointer": at, "code": code, "detail": detail, "did_you_mean": near(name, known)})

        if (first := columns.setdefault(column.strip().casefold(), column)) != column:
            wrong("duplicate_column", f"columns {first!r} and {column!r} are the same, capitals apart")
        body = {"field": asked, "ignore": not asked} if isinstance(asked, str) else asked
        if not isinstance(body, Mapping):
            wrong("invalid_value", f"column {column!r}: the name of a field, or a map of {', '.join(_KEYS)}")
            continue
        before = len(errors)
        for key in body:
            if key not in _KEYS:
                wrong("unknown_key", f"column {column!r}: {key!r} is none of {', '.join(_KEYS)}", _KEYS, name=str(key))
        name: Any = body.get("field", "")
        if not isinstance(name, str) or not isinstance(body.get("ignore", False), bool):
            wrong("invalid_value", f"column {column!r}: field is a name, ignore true or false")
        elif name and name not in kinds:
            guess = near(name, kinds)
            more = f"; did you mean {guess!r}?" if guess else ""
            wrong("unknown_field", f"column {column!r}: there is no field {name!r}{more}", kinds, name=name)
        elif name and (first := fields.setdefault(name, column)) != column:
            wrong("duplicate_column", f"columns {first!r} and {column!r} both go to field {name!r}")
        if len(errors) == before:
            try:
                rules[column] = _rule(body, kinds.get(str(name), ""))
            except ValueError as exc:
                key, detail = exc.args
                wrong("invalid_value", f"column {column!r}, {key}: {detail}", at=f"{pointer}/{key}")
    if errors:
        raise MappingRefused(errors)
    return rules


def fits(rule: Rule, kind: str) -> str | None:
    """Why a rule's transforms cannot be those of a field of this kind; None when they can."""
    given = {"date_format": rule.date_form is not None, "region": bool(rule.region), "separator": rule.separator != ";"}
    for key, kinds in _KINDS_OF.items():
        if given[key] and kind not in kinds:
            return f"{key} is for {' and '.join(kinds)} fields, this one is {kind}"
    if kind == "date" and rule.date_form is not None and not rule.date_form.has_year:
        return "the date_format has no year: %Y or %y"
    return None


def _rule(body: Mapping[str, Any], kind: str) -> Rule:
    """Raises ValueError(key, what is wrong)."""
    form, region, values = body.get("date_format", ""), body.get("region", ""), body.get("values", {})
    separator = body.get("separator", ";")
    if not isinstance(form, str) or len(form) > 40:
        raise ValueError("date_format", "a text of at most 40 characters")
    if region and (not isinstance(region, str) or region not in phonenumbers.SUPPORTED_REGIONS):
        raise ValueError("region", f"{region!r} is no ISO 3166 region with a numbering plan, such as CN or DE")
    if not isinstance(values, Mapping) or len(values) > VALUES_MAX:
        raise ValueError("values", f"a map of at most {VALUES_MAX} texts")
    if any(not isinstance(text, str) or len(text) > 1_000 for pair in values.items() for text in pair):
        raise ValueError("values", "texts of at most 1,000 characters to texts")
    if any(not cell.strip(" \t") for cell in values):
        raise ValueError("values", "an empty cell is always unknown")
    if not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n' or not separator.isprintable():
        raise ValueError("separator", "one printable character, no quote")
    rule = Rule(
        field=str(body.get("field", "")),
        ignore=bool(body.get("ignore", False)),
        date_form=read_date_form(form) if form else None,
        region=region,
        values={cell.strip(" \t"): meaning.strip(" \t") for cell, meaning in values.items()},
        separator=separator,
    )
    if kind and (why := fits(rule, kind)):
        raise ValueError(why.partition(" ")[0] if why.partition(" ")[0] in _KEYS else "date_format", why)
    return rule
