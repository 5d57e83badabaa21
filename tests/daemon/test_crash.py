"""The crash points: each has its place in the code, and none does anything in a process that is not told to die."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dispatcher.daemon
from dispatcher.daemon import crash
from tests import test_kill
from tests.soak.plan import ELSEWHERE, KINDS

DYING = "from dispatcher.daemon.crash import crash_point as c; c('in_fold'); c('before_commit'); "
DYING += "c('in_fold', lambda: False); print('lives', flush=True); c('in_fold'); print('lives on')"


def test_without_the_variable_a_crash_point_is_an_empty_function():
    assert crash.crash_point is crash._pass
    assert crash._pass.__code__.co_names == ()


def test_every_named_point_has_its_place():
    folder = Path(dispatcher.daemon.__file__).parent
    calls = [call for file in folder.glob("*.py") for call in re.findall(r"crash_point\((.*)", file.read_text())]
    found = {name for call in calls for name in re.findall(r'"(\w+)"', call)}
    assert found == crash.NAMES


def test_every_named_point_kills_in_this_suite_and_in_a_soak():
    of_suite = {str(kill).partition(":")[0] for scenario in test_kill.ALL.values() for kill in scenario.kills}
    beside = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py") if file != Path(__file__))
    assert [name for name in crash.NAMES - of_suite if f"{name}:" not in beside] == []
    for name in crash.NAMES - ELSEWHERE:
        scenario = KINDS[name][1](random.Random(1))
        assert any(str(kill).startswith(f"{name}:") for kill in scenario.kills)


@pytest.mark.parametrize(
    ("setting", "said", "status"), [("in_fold:2", "lives\n", -9), ("in_fold:3", "lives\nlives on\n", 0)]
)
def test_the_process_dies_at_the_nth_passing_and_not_before(setting: str, said: str, status: int):
    told = {"VOLLEY_CRASH_AT": setting}
    done = subprocess.run([sys.executable, "-c", DYING], env=told, stdout=subprocess.PIPE, text=True)
    assert (done.stdout, done.returncode) == (said, status)
