"""The process that parse.py runs in: bounded, and without what it loads for nothing.

    python -m dispatcher.members.parse_process FOLDER

An import of a million rows is done in a second, of which a tenth would go to modules that few files need.
"""

from __future__ import annotations

import importlib.util
import sys


def main(argv: list[str]) -> int:
    sys.modules["numpy"] = None  # type: ignore[assignment]  # pyarrow would load it, threads and all: 0.15 s
    _load_later("phonenumbers")
    from dispatcher.members import parse

    parse.bound_memory()
    return parse.main(argv)


def _load_later(name: str) -> None:
    """A module that is loaded where it is first used (importlib's own recipe)."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None, name
    spec.loader = importlib.util.LazyLoader(spec.loader)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
