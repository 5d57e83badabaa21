"""Structured lines on stderr for every process: one setting of structlog, which stdlib loggers share.

Touches: stderr and the logging module. May use structlog; the rim (daemon, admin, cli) calls it once.
Rests on: PITFALLS 4, logs: what a peer or a person sent never ends a line or moves a terminal's cursor
(control characters are escaped), and secrets are never written.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

SECRETS = frozenset({"password", "secret", "authorization", "token", "api_key"})
# C0, DEL, C1 and the two separators that some viewers take for line ends
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure(level: str = "info", format: str = "console", *, process: str, stream: TextIO | None = None) -> None:
    """Set up logging for this process: `format` console or json, `process` on every line."""
    out = sys.stderr if stream is None else stream
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _named(process),
        safe,
    ]
    render: structlog.typing.Processor
    if format == "json":
        render = structlog.processors.JSONRenderer()
    else:
        render = structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=0)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def safe(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escapes control characters in every text and hides secrets. Non-text values are shown as their repr."""
    for key, value in event.items():
        if key in ("_record", "_from_structlog"):
            continue
        if key == "exception":
            event[key] = "\n".join("    " + escaped(line) for line in str(value).split("\n"))
        else:
            event[key] = "***" if key.lower() in SECRETS and value else _safe_value(value)
    return event


def escaped(text: str) -> str:
    """`text` on one line: CR, LF, ESC and their kind as \\xNN."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _safe_value(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {escaped(str(k)): "***" if str(k).lower() in SECRETS and v else _safe_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_safe_value(item) for item in value]
    return escaped(value if isinstance(value, str) else repr(value))


def _named(process: str) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    return add
