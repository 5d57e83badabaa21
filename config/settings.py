"""Every setting as a frozen dataclass: its unit in its name, its default, its rule.

Touches: nothing. The reason for each default stands beside the key in volley.example.toml, which a
test holds against this file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("console", "json")
RECEIPT_IDS = ("same", "hex_decimal", "decimal_hex")
ALPHABETS = ("gsm",)
SOCKET_NAME = "control.sock"
SOCKET_PATH_OCTETS_MAX = 107  # sun_path of unix(7) is 108 with its NUL


class SettingError(Exception):
    """The operator's: a key, a value or a file that cannot be used. The text names all that is known."""

    def __init__(
        self, key: str, value: Any, rule: str, *, section: str = "", file: str = "", nearest: str | None = None
    ) -> None:
        self.key = key
        self.value = value
        self.rule = rule
        self.section = section
        self.file = file
        self.nearest = nearest
        super().__init__(key, value, rule)

    def at(self, *, section: str = "", file: str = "") -> SettingError:
        """The same error, with the place that whoever read the value knows."""
        return SettingError(
            self.key,
            self.value,
            self.rule,
            section=self.section or section,
            file=self.file or file,
            nearest=self.nearest,
        )

    def __str__(self) -> str:
        place = f"{self.file}: " if self.file else ""
        section = f"[{self.section}] " if self.section else ""
        shown = "***" if self.key == "password" else repr(self.value)
        value = "" if self.value is None else f" = {shown}"
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{place}{section}{self.key}{value}: {self.rule}{hint}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that was probably meant, or None."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


def _between(key: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        raise SettingError(key, value, f"{low:,} to {high:,} {unit}".rstrip())


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingError(key, value, "one of " + ", ".join(known), nearest=nearest(value, known))


def _octets(key: str, value: str, low: int, high: int) -> None:
    if not low <= len(value.encode()) <= high or not value.isascii() or "\0" in value:
        raise SettingError(key, value, f"{low} to {high} ASCII octets, one more with its NUL")


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

    def __post_init__(self) -> None:
        _between("sync_delay_ms", self.sync_delay_ms, 0, 1_000, "ms")
        _between("commit_gap_ms", self.commit_gap_ms, 0, 1_000, "ms")
        _between("store_max_octets", self.store_max_octets, 0, 1 << 40, "octets, the size of the map")
        _between("full_percent", self.full_percent, 10, 99, "%")
        _between("log_kept_days", self.log_kept_days, 0.01, 3_650, "days")
        _between("alarm_percent", self.alarm_percent, 1, self.full_percent, "%, at most full_percent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """[api]: where the admin process listens."""

    host: str = "127.0.0.1"
    port: int = 8080

    def __post_init__(self) -> None:
        _between("port", self.port, 1, 65_535)

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
        _between("claim_ahead_max", self.claim_ahead_max, 1, 1 << 20, "parts")
        _between("holding_s", self.holding_s, 0, 86_400, "s")
        _between("fold_every_s", self.fold_every_s, 0.05, 60, "s")
        _between("parts_max", self.parts_max, 1, 255)
        _between("retry_s", self.retry_s, 0.05, 3_600, "s")
        _between("tries_max", self.tries_max, 1, 100)
        _between("receipt_wait_s", self.receipt_wait_s, 0, 30 * 86_400, "s")
        _between("drain_s", self.drain_s, 0, 13, "s: SIGTERM promises 15 s for everything")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """[limits]: what a request or an import may at most be."""

    body_octets_max: int = 1 << 20
    import_octets_max: int = 32 << 30
    import_line_octets_max: int = 1 << 16
    expression_characters_max: int = 100_000
    page_rows_max: int = 1_000

    def __post_init__(self) -> None:
        _between("body_octets_max", self.body_octets_max, 1_024, 64 << 20, "octets")
        _between("import_octets_max", self.import_octets_max, 1, 1 << 40, "octets")
        _between("import_line_octets_max", self.import_line_octets_max, 256, 16 << 20, "octets")
        _between("expression_characters_max", self.expression_characters_max, 1, 1_000_000)
        _between("page_rows_max", self.page_rows_max, 1, 100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """[log]: lines on stderr."""

    level: str = "info"
    format: str = "console"

    def __post_init__(self) -> None:
        _one_of("level", self.level, LEVELS)
        _one_of("format", self.format, FORMATS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """[[endpoint]]: one SMSC account. Read once at start; a reload replaces it whole."""

    name: str
    host: str
    system_id: str
    password: str = field(default="", repr=False)
    port: int = 2775
    system_type: str = ""
    binds: int = 4
    window: int = 100  # requests unanswered on one bind
    rate: int = 0  # parts a second of the whole account, 0 = no limit
    response_timeout_s: float = 30.0
    enquire_link_s: float = 30.0
    bind_timeout_s: float = 10.0
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 60.0
    source_addr: str = ""
    source_ton: int = 1
    source_npi: int = 1
    dest_ton: int = 1
    dest_npi: int = 1
    receipt_ids: str = "same"
    default_alphabet: str = "gsm"

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 32 or not self.name.replace("-", "").replace("_", "").isalnum():
            raise SettingError("name", self.name, "1 to 32 letters, digits, - or _")
        if not self.host:
            raise SettingError("host", self.host, "a host name or address")
        _between("port", self.port, 1, 65_535)
        _octets("system_id", self.system_id, 1, 15)
        _octets("password", self.password, 0, 8)
        _octets("system_type", self.system_type, 0, 12)
        _octets("source_addr", self.source_addr, 0, 20)
        _between("binds", self.binds, 1, 64)
        _between("window", self.window, 1, 10_000)
        _between("rate", self.rate, 0, 10_000_000, "parts/s, 0 for no limit")
        _between("response_timeout_s", self.response_timeout_s, 0.1, 3_600, "s")
        _between("enquire_link_s", self.enquire_link_s, 0.1, 3_600, "s")
        _between("bind_timeout_s", self.bind_timeout_s, 0.1, 300, "s")
        _between("reconnect_min_s", self.reconnect_min_s, 0.01, 3_600, "s")
        _between("reconnect_max_s", self.reconnect_max_s, self.reconnect_min_s, 86_400, "s, from reconnect_min_s on")
        for key in ("source_ton", "source_npi", "dest_ton", "dest_npi"):
            _between(key, getattr(self, key), 0, 255)
        _one_of("receipt_ids", self.receipt_ids, RECEIPT_IDS)
        _one_of("default_alphabet", self.default_alphabet, ALPHABETS)


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

    @property
    def control_socket(self) -> Path:
        return self.data / SOCKET_NAME

    @property
    def holding_s(self) -> float:
        """How long an uncertain message is held: as set, else the greatest response timeout + 60 s (DESIGN 4)."""
        if self.dispatcher.holding_s:
            return self.dispatcher.holding_s
        return max((endpoint.response_timeout_s for endpoint in self.endpoints), default=30.0) + 60.0
