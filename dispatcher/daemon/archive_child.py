"""Write one archive, in a process of its own: python -m dispatcher.daemon.archive_child DATA TENANT CAMPAIGN NOW_MS.

Touches: the store, read-only; the data folder's `archive`. Prints what is to be kept of it, msgpack in base64.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from dispatcher.apps.archive import write
from dispatcher.store import open_store
from dispatcher.store.courtesy import give_way
from dispatcher.store.values import pack


def main(data: str, tenant: str, campaign: str, now_ms: str) -> None:
    give_way()
    with open_store(data) as store:
        written = write(store.snapshot, Path(data), int(tenant), int(campaign), int(now_ms))
    print(base64.b64encode(pack(written)).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
