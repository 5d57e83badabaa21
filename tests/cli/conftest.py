"""A data folder as `volley init` makes it, and a way to call the command as a shell does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cli.app import run


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def volley(capfd, monkeypatch) -> Callable[..., Said]:
    """volley("tenant", "list") -> what it said; VOLLEY_* of the test's own environment do not count."""
    for name in ("VOLLEY_CONFIG", "VOLLEY_DATA"):
        monkeypatch.delenv(name, raising=False)

    def call(*argv: str | Path) -> Said:
        capfd.readouterr()
        status = run([str(word) for word in argv])
        out, err = capfd.readouterr()
        return Said(status, out, err)

    return call


@pytest.fixture
def data(tmp_path, volley) -> Path:
    folder = tmp_path / "data"
    assert volley("init", folder).status == 0
    return folder
