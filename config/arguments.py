"""The command line of a process: --config FILE, --data DIR; a wrong setting ends it with status 2 and a sentence."""

from __future__ import annotations

import argparse
import sys

from config.load import load
from config.settings import SettingError, Settings

EXIT_SETTING = 2


def settings_of(process: str, about: str, argv: list[str] | None = None) -> Settings:
    """The settings that the command line names. Raises SystemExit."""
    parser = argparse.ArgumentParser(prog=process, description=about)
    parser.add_argument("--config", metavar="FILE", help="settings (VOLLEY_CONFIG)")
    parser.add_argument("--data", metavar="DIR", help="data folder (VOLLEY_DATA)")
    given = parser.parse_args(argv)
    try:
        return load(given.config, given.data)
    except SettingError as exc:
        print(f"{process}: {exc}", file=sys.stderr)
        raise SystemExit(EXIT_SETTING) from None
