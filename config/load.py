"""A TOML file and the environment to Settings; an error names file, key, value and rule.

Touches: one file, read once, and the environment it is given.
"""

from __future__ import annotations

import os
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from config.route import Route
from config.settings import Api, Dispatcher, Endpoint, Limits, Log, SettingError, Settings, Store, nearest

FILE_NAME = "volley.toml"
SECTIONS: dict[str, type] = {"store": Store, "api": Api, "dispatcher": Dispatcher, "limits": Limits, "log": Log}
WORDS: dict[Any, str] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes",
    tuple[str, ...]: 'a list of texts, ["a", "b"]', dict[str, str]: 'a table of texts, { key = "text" }',
}  # fmt: skip
FILES = ("tls_ca", "tls_cert", "tls_key")  # of an endpoint
TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def load(
    path: str | Path | None = None, data: str | Path | None = None, env: Mapping[str, str] | None = None
) -> Settings:
    """Settings from `path`, else from `data`/volley.toml when it is there, else the defaults.

    Without both, VOLLEY_CONFIG and VOLLEY_DATA of `env` (os.environ) count. `data` wins over [store] data,
    which is relative to its file. Then VOLLEY_<SECTION>_<KEY> overrides one key, for every endpoint
    VOLLEY_ENDPOINT_<KEY>, for one VOLLEY_ENDPOINT_<NAME>_<KEY>. Raises SettingError.
    """
    env = os.environ if env is None else env
    if path is None and data is None:
        path, data = env.get("VOLLEY_CONFIG") or None, env.get("VOLLEY_DATA") or None
        if path is None and data is None:
            raise SettingError("data", None, "say where: --config FILE or --data DIR (or VOLLEY_CONFIG, VOLLEY_DATA)")
    if path is None and data is not None and (Path(data) / FILE_NAME).is_file():
        path = Path(data) / FILE_NAME
    file = None if path is None else Path(path).absolute()
    name = str(file) if file else "environment"
    found = _read(file) if file else {}
    endpoints, routes = found.pop("endpoint", []), found.pop("route", [])
    for section, tables in (("endpoint", endpoints), ("route", routes)):
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise SettingError(section, None, f"is a list of tables: write [[{section}]]", file=name)
    for section, value in found.items():
        if section not in SECTIONS:
            raise SettingError(section, None, "no such section", file=name, nearest=nearest(section, _sections()))
        if not isinstance(value, dict):
            raise SettingError(section, value, f"is a section: write [{section}]", file=name)
    sections = {
        section: _build(cls, found.get(section, {}), _overrides(section, cls, env), section, name)
        for section, cls in SECTIONS.items()
    }
    built = tuple(_endpoint(number, table, env, name) for number, table in enumerate(endpoints, 1))
    _no_stray_overrides(built, env)
    ruled = tuple(
        _build(Route, table, {}, f"route {table.get('name', number)}", name) for number, table in enumerate(routes, 1)
    )
    folder = _folder(data, sections["store"].data, file, env)
    if not folder.is_dir():
        raise SettingError("data", str(folder), "no such folder; `volley init DIR` makes one", file=str(file or ""))
    try:
        return Settings(data=folder, file=file, endpoints=built, routes=ruled, **sections)
    except SettingError as exc:
        raise exc.at(file=name) from None


def example_text() -> str:
    """volley.example.toml: every key with its unit, default and reason."""
    return resources.files("config").joinpath("volley.example.toml").read_text("utf-8")


def _sections() -> list[str]:
    return [*SECTIONS, "endpoint", "route"]


def _folder(data: str | Path | None, written: str, file: Path | None, env: Mapping[str, str]) -> Path:
    if data is not None:
        return Path(data).expanduser().absolute()
    assert file is not None  # else load() would have refused already
    base = Path.cwd() if "VOLLEY_STORE_DATA" in env else file.parent
    return Path(os.path.normpath(base / Path(written).expanduser()))


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        raise SettingError("config", str(file), "no such file; `volley init DIR` writes one") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingError("config", str(file), f"cannot be read: {exc}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise SettingError("config", None, f"is not TOML: {exc}", file=str(file)) from exc


def _endpoint(number: int, table: Any, env: Mapping[str, str], file: str) -> Endpoint:
    section = f"endpoint {table.get('name', number)}"
    changed = _overrides("endpoint", Endpoint, env, str(table.get("name", "")))
    built: Endpoint = _build(Endpoint, table, changed, section, file)
    beside = Path(file).parent  # what a relative path of the file means
    files: dict[str, Any] = {key: str(beside / told) for key in FILES if (told := getattr(built, key))}
    return replace(built, **files) if files else built


def _no_stray_overrides(endpoints: tuple[Endpoint, ...], env: Mapping[str, str]) -> None:
    """A variable for an endpoint or key that is not there is a mistake worth a word."""
    names = ["", *(_own(endpoint.name) for endpoint in endpoints)]
    known = {f"VOLLEY_ENDPOINT_{name}{key.upper()}" for name in names for key in _types(Endpoint)}
    for variable in env:
        if variable.startswith("VOLLEY_ENDPOINT_") and variable not in known:
            if not endpoints:  # a data folder whose volley.toml was not put back, say, after a restore
                raise SettingError(variable, None, "there is no [[endpoint]] in volley.toml", file="environment")
            raise SettingError(
                variable, None, "no such key of an endpoint", file="environment", nearest=nearest(variable, known)
            )


def _own(name: str) -> str:
    return name.upper().replace("-", "_") + "_"


@cache
def _types(cls: type) -> dict[str, type]:
    return typing.get_type_hints(cls)


def _build(cls: type, table: dict[str, Any], changed: dict[str, tuple[str, str]], section: str, file: str) -> Any:
    types = _types(cls)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in types:
            raise SettingError(key, value, "no such key", section=section, file=file, nearest=nearest(key, types))
        values[key] = _typed(key, value, types[key], section, file)
    for key, (variable, text) in changed.items():
        values[key] = _parsed(key, text, types[key], variable)
    for item in fields(cls):
        if item.default is MISSING and item.default_factory is MISSING and item.name not in values:
            raise SettingError(item.name, None, "is missing and has no default", section=section, file=file)
    try:
        return cls(**values)
    except SettingError as exc:
        if exc.key in changed:
            raise exc.at(file=changed[exc.key][0]) from None
        raise exc.at(section=section, file=file) from None


def _typed(key: str, value: Any, wanted: type, section: str, file: str) -> Any:
    if wanted is float and type(value) is int:
        return float(value)
    if wanted == tuple[str, ...] and type(value) is list and all(type(each) is str for each in value):
        return tuple(value)
    if wanted == dict[str, str] and type(value) is dict and all(type(each) is str for each in value.values()):
        return value
    if type(value) is not wanted or value != value:
        raise SettingError(key, value, f"must be {WORDS[wanted]}", section=section, file=file)
    return value


def _parsed(key: str, text: str, wanted: type, variable: str) -> Any:
    try:
        value: Any = TRUTH[text.lower()] if wanted is bool else _split(text, wanted)
    except (KeyError, ValueError):
        value = None
    if value is None or value != value:
        raise SettingError(key, text, f"must be {WORDS[wanted]}", file=variable)
    return value


def _split(text: str, wanted: type) -> Any:
    """Of the environment: a list is `a, b`, a table `key = a, other = b`."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    if wanted == tuple[str, ...]:
        return tuple(items)
    if wanted == dict[str, str]:
        return {key.strip(): value.strip() for key, value in (item.split("=", 1) for item in items)}
    return wanted(text)


def _overrides(section: str, cls: type, env: Mapping[str, str], name: str = "") -> dict[str, tuple[str, str]]:
    """key -> (variable, text). An endpoint's own variable (with its name) wins over the one for all."""
    types = _types(cls)
    general = f"VOLLEY_{section.upper()}_"
    found: dict[str, tuple[str, str]] = {}
    for prefix in (general, general + _own(name)) if name else (general,):
        for variable in (v for v in env if v.startswith(prefix)):
            key = variable.removeprefix(prefix).lower()
            if key in types:
                found[key] = (variable, env[variable])
            elif section != "endpoint":
                raise SettingError(key, env[variable], "no such key", file=variable, nearest=nearest(key, types))
    return found
