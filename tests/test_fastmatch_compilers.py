"""The matching loops answer rightly whoever compiles them: gcc, clang, and for aarch64 under an emulator.

A compiler that is not installed is skipped: `apt install clang gcc-aarch64-linux-gnu qemu-user-static` brings them.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMPILERS = {
    "gcc": (["gcc"], []),
    "clang": (["clang"], []),
    "aarch64": (["aarch64-linux-gnu-gcc", "-static"], ["qemu-aarch64-static"]),
}
ABSENT = 77  # what the program answers where the machine has not the instructions


@pytest.mark.parametrize("name", COMPILERS)
def test_the_loops_of_every_instruction_set_answer_rightly(name: str, tmp_path: Path) -> None:
    compiler, emulator = COMPILERS[name]
    for program in (compiler[0], *emulator):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    built = tmp_path / "loops"
    folders = ["-I", str(ROOT / "dispatcher"), "-I", str(ROOT / "dispatcher/records")]
    source = str(ROOT / "tests/reference/fastmatch_loops.c")
    flags = ["-O3", "-fno-strict-aliasing", "-Wall", "-Werror", "-Wno-unused-function"]
    subprocess.run([*compiler, *flags, *folders, source, "-o", str(built)], check=True)
    for isa in ("plain", "avx2", "avx512"):
        found = subprocess.run([*emulator, str(built), isa], capture_output=True, text=True, check=False)
        if found.returncode != ABSENT or isa == "plain":
            assert found.returncode == 0, found.stdout + found.stderr
