"""The kernels that decode what strangers send, once more: with address and undefined-behaviour sanitizers and coverage.

Touches: build/fuzz, and runs the C compiler over the C that `make build` left in build/. Only what changed is compiled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "fuzz"
KERNELS = (
    "smpp/_journal", "smpp/_index", "smpp/_pace", "smpp/_book", "smpp/_sender", "smpp/_pump", "smpp/_settled", "smpp/_smsc_shared",
    "smpp/_smsc",
    "store/_ledger", "store/_chunks", "store/_fold",
)  # fmt: skip
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize=alignment", "-fsanitize-coverage=trace-pc")
FLAGS = ("-O0", "-g1", "-shared", "-fPIC", "-w", "-fno-strict-aliasing", "-fno-omit-frame-pointer")
COVERAGE = OUT / "coverage.so"


class CannotBuild(Exception):
    """No compiler of the kind, or it fails; the text says what is missing."""


def build() -> None:
    """Raises CannotBuild."""
    if not (compiler := shutil.which("gcc")):
        raise CannotBuild("gcc is missing: apt install gcc")
    OUT.mkdir(parents=True, exist_ok=True)
    _run(compiler, "-O2", "-shared", "-fPIC", "-o", str(COVERAGE), str(Path(__file__).with_name("coverage.c")))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done in [pool.submit(_kernel, compiler, name) for name in KERNELS]:
            done.result()


def _kernel(compiler: str, name: str) -> None:
    kernel = ROOT / "build" / "dispatcher" / f"{name}.c"
    if not kernel.exists():
        raise CannotBuild(f"{kernel} is missing: run `make build`")
    target = OUT / "dispatcher" / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    newest = max(path.stat().st_mtime for path in (kernel, Path(__file__), *(ROOT / "dispatcher").rglob("*.h")))
    if target.exists() and target.stat().st_mtime > newest:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    folders = [
        sysconfig.get_path("include"),
        *(str(ROOT / "dispatcher" / each) for each in ("records", "smpp", "store")),
    ]
    made = target.with_suffix(".new")
    _run(compiler, *FLAGS, *SANITIZERS, *(f"-I{each}" for each in folders), "-o", str(made), str(kernel))
    made.replace(target)


def environment() -> dict[str, str]:
    """What a process needs that loads these kernels."""
    asan, ubsan = (_library(name) for name in ("libasan.so", "libubsan.so"))
    return os.environ | {
        "LD_PRELOAD": f"{asan} {ubsan} {COVERAGE}",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:max_allocation_size_mb=512",
        "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # so that reading past a bytes object is seen
        "PYTHONPATH": str(ROOT),
    }


def use() -> None:
    """In such a process: take these kernels instead of the usual ones."""
    import dispatcher.smpp
    import dispatcher.store

    dispatcher.smpp.__path__.insert(0, str(OUT / "dispatcher" / "smpp"))
    sys.modules["dispatcher.store"].__path__.insert(0, str(OUT / "dispatcher" / "store"))


def _library(name: str) -> str:
    found = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        raise CannotBuild(f"{name} is missing: apt install the sanitizers of gcc")
    return found


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise CannotBuild(f"{' '.join(argv[:1])} fails: {done.stderr.strip()[-500:]}")
