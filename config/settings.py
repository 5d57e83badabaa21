"""Every setting as a frozen dataclass: its unit in its name, its default, its rule.

Touches: nothing. The reason for each default stands beside the key in volley.example.toml, which a
test holds against this file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from config.endpoint import Endpoint
from config.route import Route, check_endpoints
from config.rules import SettingError, between, nearest, one_of

__all__ = ["Api", "Dispatcher", "Endpoint", "Limits", "Log", "Route", "SettingError", "Settings", "Store", "nearest"]

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("console", "json")
SOCKET_NAME = "control.sock"
SOCKET_PATH_OCTETS_MAX = 107  # sun_path of unix(7) is 108 with its NUL


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """[store]: the data folder and how hard it is written to."""

    data: str = "."
    sync: bool = True
    sync_delay_ms: float = 0.0
    commit_gap_ms: float = 3.0
    store_max_octets: int = 0
    alarm_percent: int = 70
    full_percent: int = 90
    log_kept_days: float = 30.0
    ids_kept_days: float = 30.0
    archive_after_days: float = 0.0

    def __post_init__(self) -> None:
        between("sync_delay_ms", self.sync_delay_ms, 0, 1_000, "ms")
        between("commit_gap_ms", self.commit_gap_ms, 0, 1_000, "ms")
        between("store_max_octets", self.store_max_octets, 0, 1 << 40, "octets, the size of the map")
        between("full_percent", self.full_percent, 10, 99, "%")
        between("log_kept_days", self.log_kept_days, 0.01, 3_650, "days")
        between("ids_kept_days", self.ids_kept_days, 0, 3_650, "days, 0: none are kept")
        between("archive_after_days", self.archive_after_days, 0, 36_500, "days, 0: only when asked")
        between("alarm_percent", self.alarm_percent, 1, self.full_percent, "%, at most full_percent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """[api]: where the admin process listens."""

    host: str = "127.0.0.1"
    port: int = 8080

    def __post_init__(self) -> None:
        between("port", self.port, 1, 65_535)

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """[dispatcher]: sending and settling."""

    claim_ahead_max: int = 32_768
    holding_s: float = 0.0
    fold_every_s: float = 1.0
    parts_max: int = 10
    retry_s: float = 1.0
    tries_max: int = 3
    receipt_wait_s: float = 86_400.0
    drain_s: float = 10.0

    def __post_init__(self) -> None:
        between("claim_ahead_max", self.claim_ahead_max, 1, 1 << 20, "parts")
        between("holding_s", self.holding_s, 0, 86_400, "s")
        between("fold_every_s", self.fold_every_s, 0.05, 60, "s")
        between("parts_max", self.parts_max, 1, 255)
        between("retry_s", self.retry_s, 0.05, 3_600, "s")
        between("tries_max", self.tries_max, 1, 100)
        between("receipt_wait_s", self.receipt_wait_s, 0, 30 * 86_400, "s")
        between("drain_s", self.drain_s, 0, 13, "s: SIGTERM promises 15 s for everything")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """[limits]: what a request or an import may at most be."""

    body_octets_max: int = 1 << 20
    import_octets_max: int = 32 << 30
    import_line_octets_max: int = 1 << 16
    expression_characters_max: int = 100_000
    page_rows_max: int = 1_000

    def __post_init__(self) -> None:
        between("body_octets_max", self.body_octets_max, 1_024, 64 << 20, "octets")
        between("import_octets_max", self.import_octets_max, 1, 1 << 40, "octets")
        between("import_line_octets_max", self.import_line_octets_max, 256, 16 << 20, "octets")
        between("expression_characters_max", self.expression_characters_max, 1, 1_000_000)
        between("page_rows_max", self.page_rows_max, 1, 100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """[log]: lines on stderr."""

    level: str = "info"
    format: str = "console"

    def __post_init__(self) -> None:
        one_of("level", self.level, LEVELS)
        one_of("format", self.format, FORMATS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything, with `data` as an absolute folder. `file` is None when there was none to read."""

    data: Path
    file: Path | None = None
    store: Store = field(default_factory=Store)
    api: Api = field(default_factory=Api)
    dispatcher: Dispatcher = field(default_factory=Dispatcher)
    limits: Limits = field(default_factory=Limits)
    log: Log = field(default_factory=Log)
    endpoints: tuple[Endpoint, ...] = ()
    routes: tuple[Route, ...] = ()

    def __post_init__(self) -> None:
        if len(str(self.control_socket).encode()) > SOCKET_PATH_OCTETS_MAX:
            raise SettingError(
                "data",
                str(self.data),
                f"a shorter path: with /{SOCKET_NAME} {SOCKET_PATH_OCTETS_MAX} octets at most, the limit of a socket",
            )
        names = [endpoint.name for endpoint in self.endpoints]
        for name in names:
            if names.count(name) > 1:
                raise SettingError("name", name, "each endpoint needs a name of its own", section="endpoint")

        names = [route.name for route in self.routes]
        for route in self.routes:
            if names.count(route.name) > 1:
                raise SettingError("name", route.name, "each route needs a name of its own", section="route")
            check_endpoints(route, {endpoint.name for endpoint in self.endpoints})

    @property
    def control_socket(self) -> Path:
        return self.data / SOCKET_NAME

    @property
    def holding_s(self) -> float:
        """How long an uncertain message is held: as set, else the greatest response timeout + 60 s (DESIGN 4)."""
        if self.dispatcher.holding_s:
            return self.dispatcher.holding_s
        return max((endpoint.response_timeout_s for endpoint in self.endpoints), default=30.0) + 60.0
