"""`python -m tests.mutants [NAME ...]`: break one line, run the tests that should notice, say whether they did.

Touches: a copy of the checkout in a temporary folder, kernels of it built anew where a mutant is in one. Rests on:
PITFALLS 5 (mutation of our own code). The tests are run once unbroken first: a red one proves nothing.
Exit status: 0 every mutant was noticed, 1 one was not, 2 the table no longer fits the code.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.table import MUTANTS, Mutant

HOUSE = Path(__file__).resolve().parents[2]
TEST_S = 420.0  # a mutant that hangs its tests is noticed too
BUILD_S = 300.0
NOTICED, SURVIVED, UNFIT = "noticed", "SURVIVED", "DOES NOT FIT"
PYTEST = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-W", "ignore"]


def main(names: Sequence[str]) -> int:
    """Try the named mutants, or all; a line each, then the table's sum as one JSON object."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    if unknown := set(names) - {mutant.name for mutant in MUTANTS}:
        print(f"no such mutant: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="volley-mutants-") as folder:
        copy = Path(folder) / "house"
        _copy(copy)
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        print(f"{len(chosen)} mutants; first their {len(tests)} tests unbroken", flush=True)
        status, output = _tests(copy, tests)
        if status != 0:
            print(output, file=sys.stderr)
            return 2
        found = {mutant.name: _try(copy, mutant) for mutant in chosen}
    survivors = [name for name, verdict in found.items() if verdict == SURVIVED]
    unfit = [name for name, verdict in found.items() if verdict == UNFIT]
    noticed = sum(verdict == NOTICED for verdict in found.values())
    print(json.dumps({"mutants": len(found), "noticed": noticed, "survived": survivors, "unfit": unfit}))
    return 2 if unfit else int(bool(survivors))


def _try(copy: Path, mutant: Mutant) -> str:
    began = time.monotonic()
    place = copy / mutant.file
    text = place.read_text()
    verdict, said = UNFIT, f"{text.count(mutant.old)} places"
    if text.count(mutant.old) == 1:
        place.write_text(text.replace(mutant.old, mutant.new))
        try:
            verdict, said = _verdict(copy, mutant)
        finally:
            place.write_text(text)
            if mutant.kernels:
                _restore(copy, mutant.kernels)
    print(f"{verdict:<12}  {mutant.name:<28} {mutant.breaks}  ({time.monotonic() - began:.0f} s; {said})", flush=True)
    return verdict


def _verdict(copy: Path, mutant: Mutant) -> tuple[str, str]:
    if mutant.kernels and (error := _build(copy, mutant.kernels)):
        return UNFIT, f"does not compile: {error}"
    status, output = _tests(copy, mutant.tests)
    if status == 0:
        return SURVIVED, ", ".join(mutant.tests)
    if status not in (1, None):  # 2 to 5: pytest itself, a wrong name of a test
        return UNFIT, output.strip().rpartition("\n")[2]
    failed = [line.partition(" ")[2].partition(" - ")[0] for line in output.splitlines() if line.startswith("FAILED ")]
    return NOTICED, failed[0].rpartition("::")[2] if failed else "it hung or ended the process"


def _copy(copy: Path) -> None:
    """What git knows and the built kernels; never this folder's own changes afterwards."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=HOUSE, stdout=subprocess.PIPE, check=True).stdout
    names = [Path(os.fsdecode(name)) for name in listed.split(b"\0") if name]
    for name in names + [so.relative_to(HOUSE) for so in (HOUSE / "dispatcher").rglob("*.so")]:
        if (HOUSE / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HOUSE / name, copy / name)


def _build(copy: Path, kernels: Sequence[str]) -> str:
    """The last line of the compiler's complaint, or nothing."""
    argv = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"]
    told = {**os.environ, "VOLLEY_ONLY": " ".join(kernels)}
    done = subprocess.run(argv, cwd=copy, env=told, capture_output=True, text=True, timeout=BUILD_S)
    return (done.stderr.strip().splitlines() or ["?"])[-1] if done.returncode else ""


def _restore(copy: Path, kernels: Sequence[str]) -> None:
    for kernel in kernels:
        for so in (HOUSE / "dispatcher").glob(f"{kernel}.*.so"):
            shutil.copy2(so, copy / so.relative_to(HOUSE))


def _tests(copy: Path, tests: Sequence[str]) -> tuple[int | None, str]:
    """(pytest's exit status, None when it hung; what it said)."""
    with subprocess.Popen(
        [*PYTEST, *tests], cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=TEST_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return None, ""
    return (1 if process.returncode < 0 else process.returncode), output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
