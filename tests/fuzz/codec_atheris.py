"""The full codec under atheris: run by `make fuzz`, in an environment that has it. The first argument is a corpus folder."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dispatcher"]):
    from tests.fuzz.targets import CodecTarget


def main() -> None:
    target = CodecTarget()
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for no, octets in enumerate(target.seeds()):
        (folder / f"seed-{no}").write_bytes(octets)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


main()
