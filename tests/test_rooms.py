"""Which room may import which: the arrows of LAYOUT, held against the imports of every file.

Read with ast, so nothing is imported here; of kernels the import lines are read as text.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("config", "dispatcher", "admin", "bench")
LOOPS = {"trio", "asyncio", "uvloop", "uvicorn", "anyio"}
STDLIB = set(sys.stdlib_module_names) | {"__future__"} - LOOPS
KERNEL = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", re.MULTILINE)

# room -> rooms it may import besides itself. "A room imports only what stands before it"; control.commands are the
# records that handlers take, so every room that has handlers may read them.
BASE = {"errors", "records"}
DATA = BASE | {"control", "store", "config", "clock"}
ARROWS: dict[str, set[str]] = {
    "config": set(),
    "errors": set(),
    "clock": set(),
    "fastmatch": set(),
    "logs": set(),
    "records": {"errors"},
    "control": BASE,
    "text": BASE | {"config"},
    "store": BASE | {"config"},
    "smpp": BASE | {"config", "clock"},  # the simulator has a clock of its own
    "tenants": DATA | {"fastmatch"},
    "members": DATA | {"fastmatch", "tenants"},
    "routes": DATA | {"tenants"},
    "segments": DATA | {"fastmatch", "tenants", "members"},
    "outbox": DATA | {"tenants", "members", "text"},
    "outcomes": DATA | {"tenants", "members", "text"},
    "coupons": DATA | {"tenants", "members", "segments"},
    "campaigns": DATA | {"fastmatch", "routes", "tenants", "members", "segments", "text", "coupons"},
    "apps": DATA | {"tenants", "members", "segments", "text", "outbox", "outcomes", "coupons", "campaigns"},
}
READ = set(ARROWS) - {"smpp", "outbox"}  # what admin may see
ARROWS |= {
    "daemon": set(ARROWS),
    "admin": READ,
    "cli": {*ARROWS, "daemon", "admin", "bench", "main"},
    "main": {"config", "errors", "logs", "daemon"},  # dispatcher/__main__.py
    "bench": {*ARROWS, "daemon", "admin", "cli"},
}
LIBRARIES: dict[str, set[str]] = {  # of the rooms that are held to few
    "config": set(),
    "errors": set(),
    "clock": set(),
    "fastmatch": set(),
    "logs": {"structlog"},
    "records": set(),
    "control": {"msgpack"},
    "text": set(),
    "store": {"lmdb", "msgpack"},
}
TRIO = (
    "dispatcher/smpp/bind.py",
    "dispatcher/smpp/connect.py",
    "dispatcher/smpp/outbind.py",
    "dispatcher/smpp/pool.py",
    "dispatcher/smpp/pulse.py",
    "dispatcher/smpp/tls.py",
    "dispatcher/smpp/smsc.py",
    "dispatcher/smpp/smsc_peer.py",
    "dispatcher/daemon/",
)
TRIO_TOO = ("dispatcher/cli/", "bench/")  # they start what is in TRIO


def files() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted(p for p in (ROOT / package).rglob("*.py*") if p.suffix in (".py", ".pyx", ".pxd"))


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a module such as ("dispatcher", "store", "layout"); "dispatcher" for its __init__."""
    if parts[0] != "dispatcher":
        return parts[0]
    if len(parts) == 1:
        return "dispatcher"
    return {"__main__": "main", "_fastmatch": "fastmatch"}.get(parts[1], parts[1])


def module_of(file: Path) -> tuple[str, ...]:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def is_module(parts: tuple[str, ...]) -> bool:
    place = ROOT.joinpath(*parts)
    return place.is_dir() or any(place.with_suffix(suffix).exists() for suffix in (".py", ".pyx"))


def imports(file: Path) -> Iterator[tuple[str, ...]]:
    """Every module that `file` imports, at the top or inside a function."""
    text = file.read_text("utf-8")
    if file.suffix != ".py":
        yield from (tuple((a or b).split(".")) for a, b in KERNEL.findall(text))
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (tuple(name.name.split(".")) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            base = tuple((node.module or "").split("."))
            for name in node.names:
                inner = (*base, name.name)
                yield inner if base[0] in PACKAGES and is_module(inner) else base


FILES = list(files())
IDS = [str(file.relative_to(ROOT)) for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_a_file_imports_only_rooms_that_its_room_may(file):
    mine = module_of(file)
    room = room_of(mine)
    if room == "dispatcher":
        assert list(imports(file)) == [], "dispatcher/__init__ imports nothing, so that a kernel can be imported alone"
        return
    assert room in ARROWS, f"a room without arrows: {room}"
    for module in imports(file):
        if module[0] == "tests":
            assert room == "bench", "only a bench holds a kernel against its reference"
        if module[0] not in PACKAGES or module == ("dispatcher",):
            continue
        theirs = room_of(module)
        assert theirs == room or theirs in ARROWS[room], f"{room} imports {'.'.join(module)}"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_a_loop_is_imported_only_where_it_runs(file):
    place = str(file.relative_to(ROOT))
    for module in imports(file):
        if module[0] == "trio":
            assert place.startswith((*TRIO, *TRIO_TOO)), "trio"
        elif module[0] in LOOPS:
            assert place.startswith(("admin/", "bench/")), module[0]


@pytest.mark.parametrize("file", [f for f in FILES if room_of(module_of(f)) in LIBRARIES], ids=str)
def test_a_low_room_uses_few_libraries(file):
    allowed = STDLIB | LIBRARIES[room_of(module_of(file))] | {"libc", "cython", "cpython"} | set(PACKAGES)
    assert {module[0] for module in imports(file)} <= allowed


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_a_kernel_is_imported_only_by_its_own_room(file):
    """Others import the typed names beside it."""
    for module in imports(file):
        private = [part for part in module[1:] if part.startswith("_") and not part.startswith("__")]
        if module[0] in PACKAGES and private and module_of(file)[0] != "bench":
            assert room_of(module) == room_of(module_of(file)), ".".join(module)


def test_one_app_does_not_import_another():
    for file in FILES:
        mine = module_of(file)
        if mine[:2] != ("dispatcher", "apps") or len(mine) < 4:
            continue
        for module in imports(file):
            if module[:2] == ("dispatcher", "apps") and len(module) > 3:
                assert module[2] in (mine[2], "engine"), f"{'.'.join(mine)} imports {'.'.join(module)}"


def test_admin_opens_no_write_transaction():
    for file in (f for f in FILES if f.is_relative_to(ROOT / "admin") and f.suffix == ".py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr != "begin_write", file
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "open_store":
                assert all(keyword.arg != "write" for keyword in node.keywords), file


@pytest.mark.parametrize(
    ("module", "room"),
    [("dispatcher.store.layout", "store"), ("dispatcher._fastmatch", "fastmatch"), ("admin.routes.members", "admin")],
)
def test_a_module_is_told_its_room(module, room):
    assert room_of(tuple(module.split("."))) == room
