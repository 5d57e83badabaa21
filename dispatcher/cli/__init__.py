"""The `volley` command: one file a verb family. Nobody imports this room."""


def main() -> None:
    """The console script's entry. Ends the process."""
    from dispatcher.cli.app import run  # here: importing a verb's module must not build the whole command

    raise SystemExit(run())
