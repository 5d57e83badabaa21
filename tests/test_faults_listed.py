"""FAULTS.md names tests that exist, for every fault and rule it is to have."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FAULTS = (TESTS / "FAULTS.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+)::(\w+)`", FAULTS)))
RULES = [
    *(f"F{n}" for n in range(1, 23)), *(f"L{n}" for n in range(1, 19)), *(f"D{n}" for n in range(1, 7)),
    *(f"R{n}" for n in range(1, 13)), *(f"S{n}" for n in range(1, 17)), *(f"T{n}" for n in range(1, 7)),
    *(f"B{n}" for n in range(1, 7)),
]  # fmt: skip


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def file_of(module: str) -> Path:
    found = [TESTS / folder / f"{module}.py" for folder in ("", "daemon") if (TESTS / folder / f"{module}.py").exists()]
    assert found, f"{module} is neither in tests/ nor in tests/daemon/"
    return found[0]


@pytest.mark.parametrize("module", sorted({module for module, _ in NAMED}))
def test_every_test_that_the_table_names_is_there(module: str):
    named = {name for of, name in NAMED if of == module}
    assert named <= names_in(file_of(module)), named - names_in(file_of(module))


def test_every_fault_and_rule_has_a_row_with_a_proof():
    rows = [line.split("|")[1:3] for line in FAULTS.splitlines() if line.startswith("| ")][1:]
    listed = {
        rule for about, proof in rows if "`" in proof or "F" in proof for rule in re.findall(r"\b[A-Z]\d+\b", about)
    }
    assert not set(RULES) - listed, sorted(set(RULES) - listed)
