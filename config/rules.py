"""What a setting's rule may say, and the error that names key, value and rule when it is broken.

Touches: nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


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


def between(key: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        raise SettingError(key, value, f"{low:,} to {high:,} {unit}".rstrip())


def one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingError(key, value, "one of " + ", ".join(known), nearest=nearest(value, known))


def octets(key: str, value: str, low: int, high: int) -> None:
    if not low <= len(value.encode()) <= high or not value.isascii() or "\0" in value:
        raise SettingError(key, value, f"{low} to {high} ASCII octets, one more with its NUL")


def place(key: str, value: str) -> tuple[str, int]:
    """(host, port) of `host:port` or `[v6 address]:port`."""
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise SettingError(key, value, "host:port, an IPv6 address in [brackets]")
    return host.removeprefix("[").removesuffix("]"), int(port)
