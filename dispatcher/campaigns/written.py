"""What may be written in a campaign: each part's rule, its texts compiled, its segment in canonical form.

Touches: the row in memory; the tenant's fields, segments and coupon pools through a view; time is an argument.
Rests on: template.py, arm_rules.py, schedule.py, wording.py and text/options.py, each for its part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dispatcher.campaigns import arm_rules, wording
from dispatcher.campaigns import schedule as schedules
from dispatcher.campaigns.coupon_pool import pool_number
from dispatcher.campaigns.template import Template
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import fields_of
from dispatcher.records.changes import View
from dispatcher.records.states import Purpose
from dispatcher.segments.plan import compile_text as compile_segment
from dispatcher.segments.runs import VALIDITY_S_MAX
from dispatcher.tenants.edit import CAPS_MAX, SIGNATURE_RULE, is_cap, is_signature
from dispatcher.tenants.tenant import SENDER_OCTETS_MAX, Tenant
from dispatcher.text import options
from dispatcher.text.options import Options
from dispatcher.text.parts import fits_somewhere

TITLE_CHARACTERS = 200
PARTS_MAX = 100  # what a template may hold (template.py); a claim record has 7 bits for it (outcome_log.h)
VALIDITY_S = (60, VALIDITY_S_MAX)


def check(view: View, tenant: Tenant, row: dict[str, Any], at_ms: int) -> None:
    """Hold every part of a draft but its schedule against its rule; set `canonical`. Raises CommandRefused 422."""
    wrong = [problem_of(name, "invalid", rule) for name, rule, holds in _RULES if not holds(row[name])]
    if wrong:
        detail = "; ".join(f"{problem['pointer'][1:]}: {problem['detail']}" for problem in wrong)
        raise CommandRefused(422, "invalid_campaign", detail, errors=wrong)
    row["options"] = options.checked(row["options"], at_ms)
    row["receipts"] = Options.of(row["options"]).receipts(row["receipts"])
    row["canonical"] = _canonical(view, tenant.number, row["expr"], at_ms)
    row["coupon_pool"] = pool_number(view, tenant.number, row["coupon_pool"])
    recompose(tenant, row)
    if row["text"]:  # a draft may still be without one; preview may not
        row["text"] = compile_of(view, tenant.number, row, row["text"]).text
    fields = fields_of(view, tenant.number)
    arm_rules.check(row, fields, lambda text: compile_of(view, tenant.number, row, text).text)
    if not row["text"] and row["arms"] and all(arm["text"] for arm in row["arms"]):
        row["text"] = row["arms"][0]["text"]  # nobody gets it as long as there are arms: what a test shows a phone


def _canonical(view: View, tenant: int, expr: str, at_ms: int) -> str:
    try:
        return compile_segment(view, tenant, expr, as_of_ms=at_ms).text
    except CommandRefused as exc:
        exc.errors = exc.errors or [problem_of("expr", exc.code, exc.detail)]  # a form has more fields than this one
        raise


def recompose(tenant: Tenant, row: dict[str, Any]) -> None:
    """Its texts say what the tenant's market asks for."""
    row["text"] = wording.composed(tenant, row, row["text"])
    if isinstance(row["arms"], list):
        arms = [one for one in row["arms"] if isinstance(one, dict) and isinstance(one.get("text"), str)]
        if len(arms) == len(row["arms"]):
            row["arms"] = [{**one, "text": wording.composed(tenant, row, one["text"])} for one in arms]


def plan(tenant: Tenant, row: dict[str, Any], at_ms: int) -> None:
    """Hold the schedule against the clock, where it is new. Raises CommandRefused 422."""
    row["schedule"] = schedules.checked(row["schedule"], tenant.zone, at_ms)
    row["zone"] = tenant.zone


def compile_of(view: View, tenant: int, row: dict[str, Any], text: str) -> Template:
    """One of a campaign's texts, as compile_text."""
    return compile_text(view, tenant, text, row["max_parts"], pool=row["coupon_pool"] is not None)


def compile_text(view: View, tenant: int, text: str, max_parts: int, *, pool: bool = False) -> Template:
    """The template, fields checked. Raises CommandRefused 422: unknown_field; text_too_long by its literals alone."""
    template = Template.compile(text, fields_of(view, tenant), pool=pool)
    if not fits_somewhere(template.literals, max_parts):
        detail = f"without its fields the text already needs more than {max_parts} part{'s' * (max_parts > 1)}"
        problem = problem_of("text", "text_too_long", detail)
        raise CommandRefused(422, "text_too_long", detail, errors=[problem], extra={"max_parts": max_parts})
    return template


def _is_text(value: Any, characters: int | None = None) -> bool:
    """Text that can be stored, so without lone surrogates."""
    if not isinstance(value, str) or (characters is not None and len(value) > characters):
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_sender(value: Any) -> bool:
    return _is_text(value, SENDER_OCTETS_MAX) and value.isascii() and value.isprintable() and value == value.strip()


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


# part of a draft, its rule in words, its test
_RULES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("title", f"text of at most {TITLE_CHARACTERS} characters", lambda v: _is_text(v, TITLE_CHARACTERS)),
    ("purpose", f"one of {', '.join(Purpose)}", lambda v: v in list(Purpose)),
    ("expr", "text", _is_text),
    ("text", "text", _is_text),
    ("sender", f"at most {SENDER_OCTETS_MAX} printable ASCII characters, no blanks around", _is_sender),
    ("max_parts", f"a whole number from 1 to {PARTS_MAX}", lambda v: _is_whole(v, 1, PARTS_MAX)),
    ("validity_s", f"seconds, {VALIDITY_S[0]} to {VALIDITY_S[1]}", lambda v: _is_whole(v, *VALIDITY_S)),
    ("receipts", "true or false", lambda v: isinstance(v, bool)),
    ("signature", SIGNATURE_RULE, is_signature),
    ("budget_micros", "micro-units from 0, or null", lambda v: v is None or _is_whole(v, 0, 1 << 53)),
    ("caps", f"a list of at most {CAPS_MAX} of {{max, within_s}}", lambda v: _are_caps(v)),
    ("rate", "parts a second, 0 to 1,000,000", lambda v: _is_whole(v, 0, 1_000_000)),
)


def _are_caps(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > CAPS_MAX:
        return False
    return all(isinstance(one, dict) and is_cap({**one, "group": "marketing"}) for one in value)


def problem_of(name: str, code: str, detail: str) -> dict[str, str]:
    return {"pointer": f"/{name}", "code": code, "detail": detail}
