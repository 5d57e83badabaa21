"""Deterministic simulation: a seed is a run. `make sim SEEDS=1000` for more; a failing seed is the bug report.

VOLLEY_SEEDS=1000 VOLLEY_FIRST_SEED=0 pytest tests/sim/test_seeds.py
"""

from __future__ import annotations

import os
import random

import pytest

from tests.sim.smsc import TEMPERS
from tests.sim.world import World

FIRST, SEEDS = int(os.environ.get("VOLLEY_FIRST_SEED", 0)), int(os.environ.get("VOLLEY_SEEDS", 20))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_whatever_is_cut_delayed_reordered_corrupted_or_killed_the_books_are_right(tmp_path, seed):
    draw = random.Random(seed)
    with World(tmp_path / "data", draw, temper=draw.choice(sorted(TEMPERS)), resends=draw.random() < 0.5) as world:
        for _ in range(draw.randint(100, 900)):
            world.step()
        world.settle()
        world.judge()


def test_a_seed_is_the_same_run_twice(tmp_path):
    runs = []
    for name in ("one", "two"):
        draw = random.Random(3)
        with World(tmp_path / name, draw) as world:
            for _ in range(300):
                world.step()
            world.settle()
            runs.append((world.kills, world.commits, world.ns, sorted(world.smsc.taken.items()), draw.random()))
    assert runs[0] == runs[1]
