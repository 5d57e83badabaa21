"""A run in phases: which options hold now, and what ends them. Read from TOML, stepped with the time it is given.

Touches: a text and counters. Rests on: smsc_notation for values. A phase begins from the command line's options (and
the file's [options]), never from the phase before it.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dispatcher.smpp.smsc_notation import account_of, options_of
from dispatcher.smpp.smsc_options import DROPS, RUN_OPTIONS, SmscOptions

EXAMPLE = """\
repeat = 1                       # how often the phases are gone through; 0: for ever
[options]                        # as on the command line, - or _; hold in every phase
receipts = 100
receipt-delay-ms = "lognormal:800:0.6"
[[account]]                      # with one or more only these may bind
system_id = "shop"
password = "secret"
binds = 4
tps = 1000                       # parts a second over all its binds
bind_tps = 300                   # and over each
[[phase]]
name = "calm"
seconds = 10                     # or accepted = N, submits = N, binds = N: counted in the phase
[[phase]]
name = "squeezed"
accepted = 5000
tps = 500
status-share = ["1%:0x08"]
congestion = "auto"
[[phase]]
name = "crash"
seconds = 30
close = "rst"                    # fin, rst, unbind, half-open: every connection, as the phase begins
refuse-binds = "all:0x05"
[[phase]]
name = "after"
seconds = 60
stop = true                      # the simulator ends with this phase
"""
ENDS = ("seconds", "submits", "accepted", "binds")
CLOSES = tuple(how for how in DROPS if how != "unbind-late")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One of them; `ends` has what it lasts, any of ENDS, whichever comes first."""

    name: str
    options: SmscOptions
    ends: Mapping[str, float]
    close: str | None = None
    stop: bool = False


@dataclass(slots=True)
class Scenario:
    """Where a run is. `done` has (name, seconds, what was counted) of each phase that ended."""

    phases: tuple[Phase, ...]
    repeat: int = 1
    done: list[tuple[str, float, dict[str, int]]] = field(default_factory=list)
    _entered: int = 0
    _began_ns: int = 0
    _began: Mapping[str, int] = field(default_factory=dict)

    @property
    def phase(self) -> Phase | None:
        """The present one; None before the first step."""
        return self.phases[(self._entered - 1) % len(self.phases)] if self._entered else None

    def step(self, now_ns: int, count: Mapping[str, int]) -> Phase | None:
        """The phase that begins now, or None. `count`: counters since the start, of which ENDS are looked at."""
        phase = self.phase
        if phase is not None and (not self._over(phase, now_ns, count) or self._last()):
            return None
        if phase is not None:
            self._close(phase, now_ns, count)
        self._entered += 1
        self._began_ns, self._began = now_ns, dict(count)
        return self.phase

    def ended(self, now_ns: int, count: Mapping[str, int]) -> bool:
        """Whether the run is over: the present phase is, and says stop."""
        phase = self.phase
        if phase is None or not phase.stop or not self._over(phase, now_ns, count):
            return False
        return self._last() or self.repeat == 1

    def summary(self, now_ns: int, count: Mapping[str, int]) -> list[dict[str, Any]]:
        """Each phase with how long it took and what was counted in it, the present one last."""
        done = list(self.done)
        if self.phase is not None:
            done.append((self.phase.name, (now_ns - self._began_ns) / 1e9, self._counted(count)))
        return [{"name": name, "seconds": round(seconds, 3), **counted} for name, seconds, counted in done]

    def _last(self) -> bool:
        """With no phase behind it: its options hold on."""
        return bool(self.repeat) and self._entered >= self.repeat * len(self.phases)

    def _over(self, phase: Phase, now_ns: int, count: Mapping[str, int]) -> bool:
        reached = {name: count.get(name, 0) - self._began.get(name, 0) for name in ENDS[1:]}
        seconds = (now_ns - self._began_ns) / 1e9
        return any((seconds if name == "seconds" else reached[name]) >= most for name, most in phase.ends.items())

    def _counted(self, count: Mapping[str, int]) -> dict[str, int]:
        return {name: number - self._began.get(name, 0) for name, number in count.items()}

    def _close(self, phase: Phase, now_ns: int, count: Mapping[str, int]) -> None:
        self.done.append((phase.name, (now_ns - self._began_ns) / 1e9, self._counted(count)))


def read_scenario(path: Path, options: SmscOptions) -> tuple[Scenario, SmscOptions]:
    """The phases of a file, and the options of the run with the file's own. ValueError names file, phase and value."""
    try:
        return scenario_of(tomllib.loads(path.read_text("utf-8")), options)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError) as exc:
        raise ValueError(f"{path}: {exc}") from exc


def scenario_of(written: Mapping[str, Any], options: SmscOptions) -> tuple[Scenario, SmscOptions]:
    unknown = written.keys() - {"repeat", "options", "account", "phase"}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: there are repeat, [options], [[account]] and [[phase]]")
    repeat = written.get("repeat", 1)
    if not isinstance(repeat, int) or repeat < 0:
        raise ValueError(f"repeat {repeat!r}: a whole number, 0 for ever")
    base = dataclasses.replace(options, **options_of(written.get("options", {})))
    if "account" in written:
        base = dataclasses.replace(base, accounts=tuple(account_of(account) for account in written["account"]))
    phases = tuple(_phase(number, phase, base) for number, phase in enumerate(written.get("phase", ()), 1))
    if not phases:
        raise ValueError("at least one [[phase]]")
    return Scenario(phases, repeat), base


def _phase(number: int, written: Mapping[str, Any], base: SmscOptions) -> Phase:
    own = {"name", "close", "stop", *ENDS}
    name = str(written.get("name", number))
    try:
        ends = {key: float(written[key]) for key in ENDS if key in written}
        if not all(most > 0 for most in ends.values()):
            raise ValueError(f"{', '.join(ENDS)}: above 0")
        fields = options_of({key: value for key, value in written.items() if key not in own})
        if fields.keys() & RUN_OPTIONS:
            raise ValueError(f"{', '.join(sorted(fields.keys() & RUN_OPTIONS))}: of the whole run, not of a phase")
        close = written.get("close")
        if close not in (None, *CLOSES):
            raise ValueError(f"close {close!r}: {', '.join(CLOSES)}")
        stop = bool(written.get("stop", False))
        return Phase(name=name, options=dataclasses.replace(base, **fields), ends=ends, close=close, stop=stop)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"phase {name}: {exc}") from exc
