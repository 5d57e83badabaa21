import importlib
import subprocess
import sys

import click
import pytest

from dispatcher.cli.app import VERBS


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_is_there_and_describes_itself(name):
    module, _, attribute = VERBS[name].place.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.help


def test_help_lists_every_verb_without_loading_any():
    script = """
import sys
from dispatcher.cli.app import run
assert run(["--help"]) == 0
loaded = [module for module in ("trio", "fastapi", "lark", "phonenumbers", "rich") if module in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(f"\n  {name} " in done.stdout for name in VERBS)


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["nope"], 2, "No such command 'nope'"),
        (["tenant", "create"], 2, "Missing argument 'NAME'"),
        (["tenant", "list", "--wrong"], 2, "No such option"),
        (["tenant", "list"], 2, "--config FILE or --data DIR"),
        (["tenant", "list", "--data", "/nowhere"], 2, "no such folder"),
        (["serve", "--config", "/nowhere/volley.toml"], 2, "no such file"),
        (["key", "list", "--tenant", "cmp_1", "--data", "."], 2, "is not an id that begins with ten_"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_with_status_2(volley, argv, status, words):
    said = volley(*argv)
    assert said.status == status
    assert words in said.err
    assert said.err.startswith("volley: ")
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_folder_without_a_store_is_told_with_the_verb_that_makes_one(volley, tmp_path):
    for verb in (["serve"], ["dispatcher"], ["admin"], ["tenant", "list"]):
        said = volley(*verb, "--data", tmp_path)
        assert said.status == 1
        assert f"volley init {tmp_path}" in said.err


def test_the_version_is_the_packages(volley):
    import dispatcher

    assert volley("--version").out == f"volley, version {dispatcher.__version__}\n"
