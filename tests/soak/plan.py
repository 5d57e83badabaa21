"""What a soak kills, and when: first every kind and every named point once, then without end by weight.

A kind is a scenario of tests/fakes; the seed makes the same ones again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from dispatcher.daemon import crash
from tests.fakes.crash_run import Scenario
from tests.test_kill import random_scenario

# passings of a point in a run of a few thousand messages or rows: the n-th is reached even on a fast disk
PASSINGS = {"in_reconnect": 3, "in_fold": 3, "in_import": 8, "in_undo": 5, "in_move": 3, "in_recovery": 3}
USUAL_PASSINGS = 12
ELSEWHERE = frozenset(
    {"in_log_drop", "in_ids_kept"}
)  # of a minute's housekeeping, in a log that is days old: tests/daemon
OF_IMPORTS = {"in_import": "import", "in_undo": "undo", "in_move": "move"}
SMALL: dict[str, Any] = {"window": 10, "ahead": 64}  # many commits, however slow the disk

Kind = Callable[[random.Random], Scenario]


def at_point(name: str) -> Kind:
    """A kill at any passing of one named point; some of an import's are killed again as it goes on."""

    def made(rng: random.Random) -> Scenario:
        kill = f"{name}:{rng.randint(1, PASSINGS.get(name, USUAL_PASSINGS))}"
        if name in OF_IMPORTS:
            again = ("in_import:1",) if name == "in_import" and rng.random() < 0.5 else ()
            return Scenario(kills=(kill, *again), store=OF_IMPORTS[name])
        kills: tuple[str | float, ...] = (0.4, kill) if name == "in_recovery" else (kill,)
        smsc = "drop" if name == "in_reconnect" else "slow"
        return replace(random_scenario(rng), kills=kills, smsc=smsc, rate=0, **SMALL)

    return made


def at_moments(rng: random.Random, many: int, last: float = 0.95) -> tuple[float, ...]:
    """Ascending shares of the work."""
    return tuple(sorted(round(rng.random() * last, 3) for _ in range(many)))


def beside(what: str) -> Kind:
    """One to three kills while something else goes on. Slow enough that it does."""

    def made(rng: random.Random) -> Scenario:
        kills = at_moments(rng, rng.randint(1, 3))
        return Scenario(kills=kills, beside=what, smsc="slow", rate=rng.choice((0, 4_000)), **SMALL)

    return made


KINDS: dict[str, tuple[float, Kind]] = {  # how often, and one of them
    "random": (4.0, random_scenario),
    "power cut": (0.8, lambda rng: replace(random_scenario(rng), power_cut=True)),
    "pauses": (1.5, beside("pauses")),
    "backups": (0.8, beside("backups")),
    "simulator": (0.5, lambda rng: Scenario(kills=at_moments(rng, rng.randint(0, 2)), smsc="mortal")),
    "both": (1.0, lambda rng: Scenario(kills=at_moments(rng, rng.randint(1, 3)), store="both", smsc="slow", **SMALL)),
    "schema": (0.5, lambda rng: Scenario(kills=at_moments(rng, 3), store="schema")),
    **{name: (0.4, at_point(name)) for name in sorted(crash.NAMES - ELSEWHERE)},
}


def scenarios(rng: random.Random) -> Iterator[tuple[str, Scenario]]:
    """Without end: (kind, scenario)."""
    for name, (_, made) in KINDS.items():
        yield name, made(rng)
    names, weights = list(KINDS), [weight for weight, _ in KINDS.values()]
    while True:
        name = rng.choices(names, weights)[0]
        yield name, KINDS[name][1](rng)
