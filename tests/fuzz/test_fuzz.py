"""The fuzzers for a few seconds each; `make fuzz SECONDS=n` as long as one likes."""

from __future__ import annotations

import os

import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz import build
from tests.fuzz.targets import COMPILED, TARGETS, mutate

SECONDS = float(os.environ.get("VOLLEY_FUZZ_SECONDS", 3))
MUTATIONS = int(os.environ.get("VOLLEY_MUTATIONS", 4_000))  # of PITFALLS F8: 1,000,000


@pytest.mark.parametrize("name", TARGETS)
def test_random_mutations_of_what_peers_send_make_no_trouble(name):
    assert mutate(name, MUTATIONS, seed=int(SECONDS)) == MUTATIONS


@pytest.fixture(scope="module")
def sanitized() -> None:
    try:
        build.build()
        build.environment()
    except build.CannotBuild as exc:
        pytest.skip(f"no kernels with sanitizers: {exc}")


@pytest.mark.usefixtures("sanitized")
@pytest.mark.parametrize("name", COMPILED)
def test_the_kernels_under_sanitizers_stand_what_coverage_finds(name):
    assert fuzz.compiled(name, SECONDS, seed=1) == 0


@pytest.mark.usefixtures("sanitized")
def test_what_the_sanitizers_see_is_told_with_the_input(tmp_path, capsys, monkeypatch):
    """A target that reads one octet behind its buffer."""
    monkeypatch.setenv("VOLLEY_FUZZ_BREAK", "1")
    assert fuzz.compiled("ledger", 1, seed=1) == 1
    told = capsys.readouterr().out
    assert "AddressSanitizer: heap-buffer-overflow" in told
    kept = told.partition("exit status ")[2].partition(": ")[2].partition("\n")[0]
    assert kept.startswith(str(build.OUT / "found-ledger-"))
    os.unlink(kept)
