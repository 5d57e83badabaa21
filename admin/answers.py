"""Shapes that every room's routes share: a page of a list, its parameters, times.

Touches: nothing but types. An answer's model names the members that programs may rely on and lets more
through (`extra`): rooms may add to their JSON without a change here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from admin.reads import Reads
from dispatcher.clock import YEARS
from dispatcher.errors import CommandRefused

PAGE_ROWS = 50
INT64_MAX = (1 << 63) - 1
T = TypeVar("T")


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class Body(BaseModel):
    """A request's body: a name that is not known is an error and not ignored."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[T]):
    data: list[T]
    next: str | None = Field(None, description="`after` of the next page; null: this was the last")


def _limit(request: Request, limit: Annotated[int, Query(ge=1, le=100_000)] = PAGE_ROWS) -> int:
    most = request.app.state.settings.limits.page_rows_max
    if limit > most:
        raise CommandRefused(422, "invalid", f"limit: at most {most} rows a page")
    return limit


def _reads(request: Request) -> Reads:
    reads: Reads = request.app.state.reads
    return reads


Limit = Annotated[int, Depends(_limit)]
After = Annotated[str | None, Query(max_length=100, description="`next` of the page before")]
Reading = Annotated[Reads, Depends(_reads)]

# a value as JSON has it, within what a command can carry: 64-bit integers, finite numbers
Whole = Annotated[int, Field(ge=-INT64_MAX - 1, le=INT64_MAX)]
Word = Annotated[str, Field(max_length=4_096)]
Value = bool | Whole | Annotated[float, Field(allow_inf_nan=False)] | Word | list[Word] | None


def page(rows: Sequence[Any], limit: int, cursor: str | None) -> dict[str, Any]:
    """Rows of a read that was asked for `limit` + 1, cut to `limit`; `cursor` is that of the last row shown."""
    return {"data": rows[:limit], "next": cursor if len(rows) > limit else None}


def instant_ms(asked: datetime, name: str) -> int:
    """An instant that a parameter or member of this name asks about. Raises CommandRefused 422 beyond YEARS."""
    if not YEARS[0] <= asked.year <= YEARS[1]:
        detail = f"{name} {asked.isoformat()}: a year from {YEARS[0]} to {YEARS[1]}"
        errors = [{"pointer": f"/{name}", "code": "wrong_value", "detail": detail}]
        raise CommandRefused(422, "invalid_value", detail, errors=errors)
    return round(asked.timestamp() * 1_000)
