"""msgpack values: maps with a version, so that yesterday's rows can be told apart."""

from __future__ import annotations

from typing import Any

import msgpack


def pack(value: dict[str, Any], version: int = 1) -> bytes:
    """One row. Integers must fit 64 bits; anything msgpack cannot hold raises TypeError (ours, a bug)."""
    return bytes(msgpack.packb({"v": version, **value}, use_bin_type=True))


def unpack(octets: bytes | memoryview) -> dict[str, Any]:
    value = msgpack.unpackb(octets, raw=False, strict_map_key=False)
    value.pop("v", None)
    return value  # type: ignore[no-any-return]
