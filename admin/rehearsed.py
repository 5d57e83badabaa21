"""What is kept of rehearsals on disk, so that a restart of the API forgets neither an answer nor what was under way.

    DIR/rehearsed/ten_...cmp_....json    {job, options}: written when it begins and when it is over

Touches: that folder. Texts are left out: whoever is erased is not to live on in a sample. A file that cannot be written
or read costs the memory of that rehearsal and nothing else.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FOLDER = "rehearsed"
_TEXTS = ("samples", "longest", "dearer")


class Rehearsed:
    """The files of one data folder."""

    def __init__(self, data: Path) -> None:
        self.folder = data / FOLDER

    def put(self, name: str, job: dict[str, Any], options: Sequence[str]) -> None:
        path = self.folder / f"{name}.json"
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(json.dumps({"job": _without_texts(job), "options": list(options)}), "utf-8")
            part.replace(path)

    def drop(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self.folder / f"{name}.json").unlink()

    def all(self) -> Iterator[tuple[dict[str, Any], list[str]]]:
        """(job, options), the oldest first."""
        found = []
        for path in self.folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                kept = json.loads(path.read_text("utf-8"))
                found.append((int(kept["job"]["started_ms"]), dict(kept["job"]), [str(one) for one in kept["options"]]))
        for _, job, options in sorted(found, key=lambda one: one[0]):
            yield job, options


def _without_texts(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: [] if name in _TEXTS else _without_texts(one) for name, one in value.items() if name != "text"}
