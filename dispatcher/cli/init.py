"""volley init: a data folder that runs as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from config import Settings, example_text, load
from config.load import FILE_NAME
from dispatcher.cli.common import Call
from dispatcher.control.commands import CreateKey
from dispatcher.store import open_store


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def init_command(folder: Path, as_json: bool) -> None:
    """Make DIR: volley.toml (every key explained), the store, and the operator's first key, shown once."""
    folder = folder.absolute()
    file = folder / FILE_NAME
    for present in (file, folder / "store"):
        if present.exists():
            raise click.ClickException(f"{present} is there already; nothing was changed")
    Settings(data=folder)  # a path too long for the control socket is refused before anything is made
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    try:
        with open_store(folder, write=True, create=True):
            pass
        _write_new(file, example_text())
        call = Call(load(data=folder, env={}), as_json)
        secret, reply = make_key(call, tenant=0, title="operator", scopes=None)
    except BaseException:  # half a folder would refuse the next try
        file.unlink(missing_ok=True)
        shutil.rmtree(folder / "store", ignore_errors=True)
        raise
    url = call.settings.api.url
    call.show(
        {"data": str(folder), "config": str(file), "url": url, "secret": secret, "key_id": reply["id"]},
        f"settings   {file}\n"
        f"store      {folder / 'store'}\n"
        f"key        {secret}   (the operator's; shown this once)\n"
        f"next       volley serve --data {folder}, then {url}/healthz",
    )


def make_key(call: Call, *, tenant: int, title: str, scopes: list[str] | None) -> tuple[str, dict[str, object]]:
    """A new key's secret and the command's reply; only the secret's hash leaves this process. No scopes: all."""
    from dispatcher.tenants import keys

    secret = keys.new_secret()
    command = CreateKey(
        for_tenant=tenant,
        title=title,
        scopes=["*"] if scopes is None else scopes,
        secret_sha256=keys.hash_secret(secret),
    )
    return secret, call.do(command, tenant=0)


def _write_new(file: Path, text: str) -> None:
    """The file whole or not at all, readable by its owner and group: it has a password."""
    fresh = file.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)
