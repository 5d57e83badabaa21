"""python -m dispatcher [--config FILE] [--data DIR]: read the settings, start the loop, say how it ended.

Exit status: 0 stopped as asked, 1 failed, 2 a setting is wrong, 3 another dispatcher has the store,
4 the store is of a later version.
"""

from __future__ import annotations

import sys

from config import Settings
from config.arguments import settings_of
from dispatcher.errors import NewerSchema, StoreError, StoreLocked

EXIT_LOCKED = 3
EXIT_NEWER_SCHEMA = 4


def main(argv: list[str] | None = None) -> int:
    """Everything, from the command line to the exit status."""
    return run(settings_of("dispatcher", "Volley's dispatcher process", argv))


def run(settings: Settings) -> int:
    """Log as set, run until SIGTERM; returns the exit status. `volley dispatcher` calls this too."""
    from dispatcher import logs  # here, so that a wrong setting is told before trio and all rooms are loaded
    from dispatcher.daemon.run import main as live

    logs.configure(settings.log.level, settings.log.format, process="dispatcher")

    try:
        return live(settings)
    except StoreError as exc:
        print(f"dispatcher: {exc}", file=sys.stderr)
        return {StoreLocked: EXIT_LOCKED, NewerSchema: EXIT_NEWER_SCHEMA}.get(type(exc), 1)


if __name__ == "__main__":
    sys.exit(main())
