"""The FastAPI application: rooms' routes, problems, limits, and what lives as long as the process.

Touches: settings, and the objects it hands to routes through `app.state`: reads, link, clock. A route
asks or commands; it decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

import dispatcher
from admin import problems
from admin.counting import Counting
from admin.limits import Limits
from admin.link import Link
from admin.misses import Misses
from admin.reads import Reads
from admin.rehearsing import Rehearsals
from admin.routes import ROUTERS, takes_stream
from config.settings import Settings
from dispatcher.clock import Clock, SystemClock
from dispatcher.segments.parse import parse
from dispatcher.store import Store

REPLACEMENT_LOOK_S = 2.0


def create_app(settings: Settings, *, opener: Callable[[], Store] | None = None, clock: Clock | None = None) -> FastAPI:
    """The application over `settings.data`.

    opener: another way to the store, for a process that has it open already (LMDB files are opened once a process).
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(_look_for_replacement(app.state.reads))
        await asyncio.to_thread(parse, "everyone")  # builds the grammar, which the first count would wait 30 ms for
        await asyncio.to_thread(app.state.reads.warm_up)
        app.state.rehearsals.open()
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
            await app.state.rehearsals.close()
            await app.state.link.close()
            app.state.reads.close()

    app = FastAPI(
        title="Volley",
        version=dispatcher.__version__,
        summary="Members, segments, campaigns and their outcomes of an SMS dispatch server",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # both pages load scripts from elsewhere; the document itself is enough for any tool
        redoc_url=None,
        lifespan=lifespan,
        responses=problems.RESPONSES,
        generate_unique_id_function=_operation,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.clock = clock or SystemClock()
    app.state.reads = Reads(settings.data, opener)
    app.state.link = Link(settings.control_socket)
    app.state.rehearsals = Rehearsals(settings, app.state.clock)
    app.state.uploads = 0
    app.state.watching = 0  # streams of events that are open
    app.state.ported = None  # a file of ported numbers that is being loaded
    app.state.pieces = set()  # imports of which a piece is arriving
    app.state.counting = Counting()
    app.state.misses = Misses()
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Limits, streams=takes_stream, body_octets_max=settings.limits.body_octets_max)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


async def _look_for_replacement(reads: Reads) -> None:
    while True:
        await asyncio.sleep(REPLACEMENT_LOOK_S)
        reads.look_for_replacement()


def _operation(route: APIRoute) -> str:
    return route.name


def _openapi(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 with the shape of problems, which no route names as its own answer."""
    if app.openapi_schema is None:
        schema = FastAPI.openapi(app)
        problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schema["components"]["schemas"] |= problem.pop("$defs") | {"Problem": problem}
        app.openapi_schema = schema
    return app.openapi_schema
