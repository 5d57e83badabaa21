"""The kernels' stubs name what the kernels have: all of it, and nothing else."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

STUBS = sorted(Path("dispatcher").rglob("_*.pyi"))


def stubbed(path: Path) -> set[str]:
    """`name`, or `Class.name`, of everything that a stub declares."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        for name in _names(node):
            found.add(name)
            if isinstance(node, ast.ClassDef):
                found |= {f"{node.name}.{inner}" for item in node.body for inner in _names(item) if inner != "__init__"}
    return found


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    return [node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []


@pytest.mark.parametrize("path", STUBS, ids=str)
def test_a_stub_names_what_is_there(path):
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    for name in stubbed(path):
        owner, _, attribute = name.partition(".")
        assert hasattr(module, owner), name
        assert not attribute or hasattr(getattr(module, owner), attribute), name


@pytest.mark.parametrize("kernel", ["smpp/_book", "smpp/_pump", "smpp/_settled", "store/_fold", "store/_ledger"])
def test_a_stub_names_all_of_its_kernel(kernel):
    path = Path("dispatcher", f"{kernel}.pyi")
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    has = {name for name in vars(module) if not name.startswith("_")}
    classes = {name: getattr(module, name) for name in has if isinstance(getattr(module, name), type)}
    has |= {f"{owner}.{name}" for owner, kind in classes.items() for name in dir(kind) if not name.startswith("_")}
    assert has == stubbed(path)
