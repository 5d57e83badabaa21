"""Shapes of the segments' requests and answers, and how a rule and an instant come out of them.

Touches: nothing but types, the settings' bound on a rule's length and the clock.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import AwareDatetime, Field

from admin.answers import Answer, Body, instant_ms
from dispatcher.errors import CommandRefused
from dispatcher.members.field_stats import BINS, TOP, TOP_MAX
from dispatcher.records.states import Purpose
from dispatcher.segments.answers.histogram import BINS_MAX
from dispatcher.segments.answers.overlap import LEAST, MOST
from dispatcher.segments.answers.sample import MOST as SAMPLE_MOST
from dispatcher.segments.number_list import NUMBERS_MAX
from dispatcher.segments.tree import from_json

Expr = Annotated[str, Field(min_length=1, max_length=1_000_000, description='e.g. tier = "gold" and points >= 100')]
Tree = Annotated[dict[str, Any], Field(description="the same rule as a JSON tree, in place of `expr`")]
Title = Annotated[str, Field(min_length=1, max_length=200)]
Description = Annotated[str, Field(max_length=2_000)]
Instant = Annotated[AwareDatetime | None, Field(description="as it was then: RFC 3339 with zone; null is now")]
AsOf = Annotated[AwareDatetime | None, Query(description="as it was then: RFC 3339 with zone; now without it")]


class RuleBody(Body):
    """A rule as text or as a tree: one of the two."""

    expr: Expr | None = None
    tree: Tree | None = None


class AskBody(RuleBody):
    as_of: Instant = None


class ExplainBody(AskBody):
    purpose: Purpose = Purpose.MARKETING


class CountBody(ExplainBody):
    explain: bool = Field(False, description="also what each condition read and cost")
    with_tree: bool = Field(False, description="also the rule as a JSON tree")


class HistogramBody(AskBody):
    field: Annotated[str, Field(min_length=1, max_length=100)]
    bins: Annotated[int, Field(ge=1, le=BINS_MAX)] = BINS
    top: Annotated[int, Field(ge=1, le=TOP_MAX)] = TOP


class OverlapBody(Body):
    exprs: Annotated[list[Expr], Field(min_length=LEAST, max_length=MOST)]
    as_of: Instant = None


class SampleBody(AskBody):
    n: Annotated[int, Field(ge=1, le=SAMPLE_MOST)] = 10
    seed: Annotated[str, Field(max_length=100)] = ""


class SegmentBody(RuleBody):
    title: Title
    description: Description | None = None


class SnapshotBody(Body):
    title: Title
    description: Description | None = None
    as_of: Instant = None


class SnapshotRuleBody(RuleBody, SnapshotBody):
    pass


class NumbersBody(Body):
    title: Title
    description: Description | None = None
    numbers: Annotated[
        list[Annotated[str, Field(max_length=40)]],
        Field(min_length=1, max_length=NUMBERS_MAX, description="E.164, or national in the tenant's region"),
    ]


class SegmentPatch(RuleBody):
    title: Title | None = None
    description: Description | None = None


class CountAnswer(Answer):
    matched: int
    reachable: int
    waterfall: dict[str, int] = Field(description="why the rest cannot be reached for this purpose")
    unknown: int = Field(description="members of whom a field that the expression names is unknown")
    ms: float
    as_of: str


class SegmentAnswer(Answer):
    id: str
    title: str
    expr: str
    version: int


class ListedAnswer(SegmentAnswer):
    left_out: list[dict[str, Any]] = Field(
        description="{index, code, detail}: no_valid_number, duplicate_number or not_a_member; the first 1,000"
    )


class VersionAnswer(Answer):
    version: int
    title: str
    expr: str


class DayAnswer(Answer):
    day: str
    matched: int | None = Field(description="null where the rule could not be counted; `refused` says why")
    reachable: int | None


def rule_text(request: Request, body: RuleBody) -> str:
    """The rule that a body carries. Raises CommandRefused 422 for none, both, or one that is too long."""
    if (body.expr is None) == (body.tree is None):
        detail = "send either expr or tree"
        errors = [{"pointer": "/expr", "code": "missing" if body.expr is None else "ambiguous", "detail": detail}]
        raise CommandRefused(422, "invalid", detail, errors=errors)
    return held(request, str(from_json(body.tree)) if body.expr is None else body.expr)


def held(request: Request, text: str) -> str:
    """A rule's text that is not longer than the settings allow. Raises CommandRefused 422."""
    most: int = request.app.state.settings.limits.expression_characters_max
    if len(text) > most:
        raise CommandRefused(422, "segment_too_long", f"at most {most} characters; this has {len(text)}")
    return text


def as_of_ms(request: Request, asked: datetime | None) -> int:
    """The instant asked for, else now. Raises CommandRefused 422 as instant_ms does."""
    if asked is None:
        now_ms: int = request.app.state.clock.epoch_ms()
        return now_ms
    return instant_ms(asked, "as_of")
