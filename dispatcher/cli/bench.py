"""volley bench: runs a module of bench/; each checks its answer and prints figures, then JSON lines."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path

import click

import bench

NOT_BENCHES = ("harness",)
# of `all`: after the kernels, the longest at the end
LAST = ("store", "import", "smsc", "rate", "latency", "memory", "dispatch", "peers", "campaign", "end_to_end")
AGAIN = ("end_to_end", "--sync-delay-ms", "5")  # and once more as on a slower disk


@click.command("bench", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench_command(name: str | None, arguments: tuple[str, ...]) -> int:
    """Run bench NAME with ARGUMENTS, or `all` of them; without NAME list them."""
    known = benches()
    if name is None:
        for each, purpose in known.items():
            click.echo(f"{each:16} {purpose}")
        return 0
    if name != "all" and name not in known:
        raise click.UsageError(f"no bench {name!r}; there are: {', '.join(known)}")
    if name != "all":
        return _run(name, arguments)
    status = 0
    for each, given in runs_of_all(known, arguments):
        click.echo(" ".join(("--", each, *given)))
        try:
            status = max(status, _run(each, given))
        except click.ClickException as exc:  # the others can still be measured
            exc.show()
            status = 1
    return status


def runs_of_all(known: Iterable[str], arguments: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """(bench, its arguments) in the order of `all`."""
    order = sorted(known, key=lambda each: (LAST.index(each) if each in LAST else -1, each))
    return [*((each, arguments) for each in order), (AGAIN[0], (*AGAIN[1:], *arguments))]


def _run(name: str, arguments: tuple[str, ...]) -> int:
    try:
        module = importlib.import_module(f"bench.{_module(name)}")
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in ("tests", "numpy"):
            raise
        raise click.ClickException(f"{name} needs {exc.name}: run `make bench` in a checkout") from exc
    status: int = module.main(list(arguments))
    return status


def benches() -> dict[str, str]:
    """Name -> first line of its docstring, without importing any."""
    found = {}
    for module in pkgutil.iter_modules(bench.__path__):
        if module.ispkg or module.name.startswith("_") or module.name in NOT_BENCHES:
            continue
        source = (Path(bench.__path__[0]) / f"{module.name}.py").read_text("utf-8")
        tree = ast.parse(source)
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            found[module.name.removeprefix("bench_")] = (ast.get_docstring(tree) or "").split("\n")[0]
    return found


def _module(name: str) -> str:
    prefixed = f"bench_{name}"
    return prefixed if (Path(bench.__path__[0]) / f"{prefixed}.py").exists() else name
