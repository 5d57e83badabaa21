"""`make fuzz [SECONDS=n]`: every target for so long; coverage-guided, under the sanitizers where the target is compiled.

    python -m tests.fuzz [--seconds N] [--seed N] [--target pump|smsc|ledger|codec] [--mutations N]
The compiled targets run in a process of their own, whose last input is on disk before it is tried: when the process dies,
that is the finding, in build/fuzz/found-*. The codec is Python: atheris guides it where it can be installed, else it gets
random mutations. --mutations N: so many to each target, with the usual kernels and no guide (PITFALLS F8).
Exit status 1 when anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz import build

ATHERIS = "atheris==3.0.0"
LAST_OCTETS = 1 << 16


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="in all")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--target", choices=("pump", "smsc", "ledger", "codec"))
    parser.add_argument("--mutations", type=int, default=0)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return _guided(options.target, options.seconds, options.seed)
    names = [options.target] if options.target else ["pump", "smsc", "ledger", "codec"]
    print(f"seed {options.seed}", flush=True)
    if options.mutations:
        return _unguided(names, options.mutations, options.seed)
    build.build()
    found = 0
    for name in names:
        seconds = options.seconds / len(names)
        found |= _codec(seconds, options.seed) if name == "codec" else compiled(name, seconds, options.seed)
    return found


def compiled(name: str, seconds: float, seed: int) -> int:
    """A compiled target in a process of its own. 1 and the input kept when it dies."""
    last = build.OUT / f"last-{name}"
    last.write_bytes(bytes(LAST_OCTETS))
    argv = [sys.executable, "-m", "tests.fuzz", "--inside", "--target", name]
    argv += ["--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(argv, env=build.environment(), cwd=build.ROOT, stderr=subprocess.PIPE, text=True)
    if not done.returncode:
        return 0
    octets = last.read_bytes()
    octets = octets[4 : 4 + int.from_bytes(octets[:4], "big")]
    kept = build.OUT / f"found-{name}-{hashlib.sha256(octets).hexdigest()[:12]}"
    kept.write_bytes(octets)
    print(f"FOUND in {name}, exit status {done.returncode}: {kept}\n{done.stderr[-4000:]}", flush=True)
    return 1


def _guided(name: str, seconds: float, seed: int) -> int:
    """Inside: try, keep what reaches an edge that nothing reached before, try more of that."""
    build.use()
    import ctypes
    import random

    from tests.fuzz import corpus, targets

    coverage = ctypes.CDLL(str(build.COVERAGE))
    last = _mapped(build.OUT / f"last-{name}")
    target, draw = targets.TARGETS[name](), random.Random(seed)
    assert str(build.OUT) in sys.modules["dispatcher.smpp._pump"].__file__, "not the kernels with sanitizers"
    inputs: list[bytes] = []
    seeds = list(target.seeds())  # type: ignore[attr-defined]
    tried, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        recent = inputs[-64:] if draw.random() < 0.3 else inputs
        octets = seeds[tried] if tried < len(seeds) else corpus.mutation(draw, recent)
        last[: 4 + len(octets)] = len(octets).to_bytes(4, "big") + octets
        coverage.coverage_begin()
        if "VOLLEY_FUZZ_BREAK" in os.environ:
            coverage.coverage_break()
        target(octets)
        if coverage.coverage_fresh() or tried < len(seeds):
            inputs.append(octets)
        tried += 1
    rate = tried / seconds
    print(
        f"{name}: {tried:,} inputs, {rate:,.0f}/s, {coverage.coverage_edges():,} edges, {len(inputs)} kept", flush=True
    )
    return 0


def _mapped(path: Path) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(fd, LAST_OCTETS)
    finally:
        os.close(fd)


def _unguided(names: list[str], count: int, seed: int) -> int:
    from tests.fuzz.targets import mutate

    for name in names:
        began = time.monotonic()
        mutate(name, count, seed)
        print(f"{name}: {count:,} mutations, {count / (time.monotonic() - began):,.0f}/s", flush=True)
    return 0


def _codec(seconds: float, seed: int) -> int:
    """By atheris in an environment of its own, which sees this one's packages; without it by mutation."""
    python = build.OUT / "atheris" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    argv = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ATHERIS]
    if subprocess.run(argv, capture_output=True).returncode:
        from tests.fuzz.targets import mutate

        began = tried = 0
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            tried += mutate("codec", 1_000, seed + tried)
        print(f"codec: {tried:,} inputs by mutation, {ATHERIS} cannot be installed", flush=True)
        return 0
    packages = [path for path in sys.path if path.endswith("site-packages")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(build.ROOT), *packages])}
    seeds = build.OUT / "codec-seeds"
    argv = [str(python), str(Path(__file__).with_name("codec_atheris.py")), str(seeds)]
    argv += [f"-max_total_time={max(1, round(seconds))}", f"-seed={seed & 0x7FFFFFFF}", "-max_len=4096"]
    argv += [f"-artifact_prefix={build.OUT}/found-codec-"]
    done = subprocess.run(argv, env=env, cwd=build.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    told = [line for line in done.stdout.splitlines() if "DONE" in line or "cov:" in line]
    print(f"codec: {told[-1].strip() if told else 'no answer'}", flush=True)
    if done.returncode:
        print(f"FOUND in codec:\n{done.stdout[-4000:]}", flush=True)
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
