"""`python -m tests.mutants [--jobs N] [NAME ...]`: break one line, run the tests that should notice, say whether they did.

Touches: copies of the checkout in a temporary folder, one for each that runs at a time; kernels of them built anew
where a mutant is in one. Rests on: PITFALLS 5 (mutation of our own code). The tests are run once unbroken first: a red
one proves nothing. A mutant has the few tests that notice it soonest, and ends with the first that does; its kernel
is built without optimisation, for that takes longer than the tests do.
Exit status: 0 every mutant was noticed, 1 one was not, 2 the table no longer fits the code.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.table import MUTANTS, Mutant

HOUSE = Path(__file__).resolve().parents[2]
TEST_S = 240.0  # a mutant that hangs its tests is noticed too
UNBROKEN_S = 1_200.0
BUILD_S = 300.0
NOTICED, SURVIVED, UNFIT = "noticed", "SURVIVED", "DOES NOT FIT"
PYTEST = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-W", "ignore"]


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one mutant."""

    verdict: str
    said: str
    took_s: float


def main(argv: Sequence[str]) -> int:
    """Try the named mutants, or all; a line each as it ends, then the table's sum as one JSON object."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    parser.add_argument("names", nargs="*", metavar="NAME")
    asked = parser.parse_args(argv)
    chosen = [mutant for mutant in MUTANTS if not asked.names or mutant.name in asked.names]
    if unknown := set(asked.names) - {mutant.name for mutant in MUTANTS}:
        print(f"no such mutant: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="volley-mutants-") as folder:
        copies = [Path(folder) / f"house{number}" for number in range(min(asked.jobs, len(chosen)))]
        for copy in copies:
            _copy(copy)
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        print(f"{len(chosen)} mutants, {len(copies)} at a time; first their tests unbroken", flush=True)
        status, output = _tests(copies[0], ["-n", str(len(copies)), *tests], UNBROKEN_S)
        if status != 0:
            print(output, file=sys.stderr)
            return 2
        print(
            f"{output.strip().rpartition(chr(10))[2]}\n{'verdict':<12}  {'mutant':<34}  {'s':>4}  noticed by",
            flush=True,
        )
        found = _try_all(copies, chosen)
    print(json.dumps(_sum(found, time.monotonic() - began)))
    verdicts = {one.verdict for one in found.values()}
    return 2 if UNFIT in verdicts else int(SURVIVED in verdicts)


def _try_all(copies: Sequence[Path], chosen: Sequence[Mutant]) -> dict[str, Found]:
    """Each in a copy that nobody else uses meanwhile."""
    free = queue.SimpleQueue[Path]()
    for copy in copies:
        free.put(copy)

    def one(mutant: Mutant) -> Found:
        copy = free.get()
        try:
            return _try(copy, mutant)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        return dict(zip((m.name for m in chosen), pool.map(one, chosen), strict=True))


def _try(copy: Path, mutant: Mutant) -> Found:
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
    found = Found(verdict, said, time.monotonic() - began)
    print(f"{verdict:<12}  {mutant.name:<34}  {found.took_s:>4.0f}  {said}", flush=True)
    if verdict != NOTICED:
        print(f"{'':<14}no longer true: {mutant.breaks}", flush=True)
    return found


def _verdict(copy: Path, mutant: Mutant) -> tuple[str, str]:
    if mutant.kernels and (error := _build(copy, mutant.kernels)):
        return UNFIT, f"does not compile: {error}"
    status, output = _tests(copy, ["-x", *mutant.tests], TEST_S)
    if status == 0:
        return SURVIVED, ", ".join(mutant.tests)
    if status == 2 and "during collection" in output:  # they were collected unbroken
        return NOTICED, "the tests can no longer be collected"
    if status not in (1, None):  # 2 to 5: pytest itself, a wrong name of a test
        return UNFIT, output.strip().rpartition("\n")[2]
    failed = [
        line.split(" ", 1)[1].partition(" - ")[0]
        for line in output.splitlines()
        if line.startswith(("FAILED ", "ERROR "))
    ]
    return NOTICED, failed[0].rpartition("::")[2] if failed else "it hung or ended the process"


def _sum(found: dict[str, Found], took_s: float) -> dict[str, object]:
    return {
        "mutants": len(found),
        "noticed": sum(one.verdict == NOTICED for one in found.values()),
        "survived": [name for name, one in found.items() if one.verdict == SURVIVED],
        "unfit": [name for name, one in found.items() if one.verdict == UNFIT],
        "seconds": round(took_s),
        "seconds_a_mutant": round(sum(one.took_s for one in found.values()) / max(1, len(found)), 1),
    }


def _copy(copy: Path) -> None:
    """What git knows or would take, and the built kernels; never this folder's own changes afterwards."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=HOUSE, stdout=subprocess.PIPE, check=True).stdout
    names = [Path(os.fsdecode(name)) for name in listed.split(b"\0") if name]
    for name in names + [so.relative_to(HOUSE) for so in (HOUSE / "dispatcher").rglob("*.so")]:
        if (HOUSE / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HOUSE / name, copy / name)


def _build(copy: Path, kernels: Sequence[str]) -> str:
    """The last line of the compiler's complaint, or nothing."""
    argv = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"]
    told = {**os.environ, "VOLLEY_ONLY": " ".join(kernels), "VOLLEY_OPTIMIZE": "-O0"}
    done = subprocess.run(argv, cwd=copy, env=told, capture_output=True, text=True, timeout=BUILD_S)
    return (done.stderr.strip().splitlines() or ["?"])[-1] if done.returncode else ""


def _restore(copy: Path, kernels: Sequence[str]) -> None:
    for kernel in kernels:
        for so in (HOUSE / "dispatcher").glob(f"{kernel}.*.so"):
            shutil.copy2(so, copy / so.relative_to(HOUSE))


def _tests(copy: Path, arguments: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """(pytest's exit status, None when it hung; what it said)."""
    argv = [*PYTEST, *arguments]
    with subprocess.Popen(
        argv, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return None, ""
    return (1 if process.returncode < 0 else process.returncode), output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
