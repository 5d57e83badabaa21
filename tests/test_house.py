"""The things beside the code: what a wheel holds, pins, units, alerts, the words of the Makefile."""

from __future__ import annotations

import ast
import configparser
import fnmatch
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("config", "dispatcher", "admin", "bench")
BUILT = {".pyc", ".so", ".c", ".html"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES = [
    file
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*"))
    if file.is_file() and file.suffix not in BUILT and "__pycache__" not in file.parts
]
SOURCES = [file for file in FILES if file.suffix == ".py"]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower(): line.partition("==")[2] for line in lines}


def test_every_folder_of_code_is_a_package_that_a_wheel_holds():
    for file in SOURCES:
        assert (file.parent / "__init__.py").exists(), file


def test_every_other_file_is_package_data():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for file in (f for f in FILES if f.suffix != ".py"):
        package = next(p for p in file.parents if (p / "__init__.py").exists())
        patterns = data["*"] + data.get(".".join(package.relative_to(ROOT).parts), [])
        assert any(fnmatch.fnmatch(str(file.relative_to(package)), pattern) for pattern in patterns), file


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_says_what_it_is_for_and_stays_readable(file):
    text = file.read_text("utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= 450, "one concept a file"


def test_pins_have_versions_and_no_addresses():
    for name in ("requirements.lock", "requirements-dev.lock"):
        for line in (ROOT / name).read_text().splitlines():
            assert re.fullmatch(r"[\w.-]+==[\w.+!-]+", line), line


def test_what_is_needed_is_pinned():
    run, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    needed = PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]
    extras = [wish for extra in PROJECT["project"]["optional-dependencies"].values() for wish in extra]
    for wish, where in [(w, run) for w in needed] + [(w, run | dev) for w in extras]:
        assert re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", wish)[0]).lower() in where, wish


def test_each_unit_is_hardened_and_calls_a_verb_that_exists():
    from dispatcher.cli.app import VERBS

    units = list((ROOT / "config/systemd").glob("*.service"))
    assert {unit.stem for unit in units} == {"volley-dispatcher", "volley-admin"}
    for unit in units:
        parser = configparser.RawConfigParser(strict=False, interpolation=None)
        parser.optionxform = str
        parser.read_string(unit.read_text())
        service = parser["Service"]
        assert service["ExecStart"].split()[1] in VERBS
        assert service["ProtectSystem"] == "strict"
        assert service["NoNewPrivileges"] == "yes"
        assert service["CapabilityBoundingSet"] == ""
        assert int(service["TimeoutStopSec"]) > 15, "the dispatcher has 15 s to drain"


def test_alerts_watch_metrics_that_exist():
    written = set(re.findall(r"\bvolley_\w+", (ROOT / "admin/metrics.py").read_text()))
    known = written | {f"{name}_total" for name in written}
    expressions = re.findall(r"expr: (.*)", (ROOT / "config/prometheus/alerts.yml").read_text())
    assert expressions
    for expression in expressions:
        assert set(re.findall(r"\bvolley_\w+", expression)) <= known, expression


def test_the_makefile_has_the_words_that_were_promised():
    makefile = (ROOT / "Makefile").read_text()
    for word in ("demo", "test", "run", "bench", "lint", "build", "lock", "help"):
        assert re.search(rf"^{word}:", makefile, re.MULTILINE), word
        assert f"make {word}" in makefile or word == "help"


def test_the_licence_is_whole():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
