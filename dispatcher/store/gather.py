"""Bulk loading's loops under the names that others import: rows of column files into blocks, phone and delta rows.

Touches: the buffers it is given. The kernel's docstrings say what each does; tests/reference/gather.py what it means.
"""

from __future__ import annotations

try:
    from dispatcher.store._gather import (
        assign,
        count_given,
        deltas,
        fixed,
        planes,
        recode,
        repeats,
        seen,
        set_bits,
        sort_rows,
        text,
    )
    from dispatcher.store._phone_rows import PhoneItems, phone_keys
except ImportError as exc:  # pragma: no cover
    raise ImportError("the kernels store/_gather and _phone_rows are not built: run `make build`") from exc

__all__ = [
    "PhoneItems",
    "assign",
    "count_given",
    "deltas",
    "fixed",
    "phone_keys",
    "planes",
    "recode",
    "repeats",
    "seen",
    "set_bits",
    "sort_rows",
    "text",
]
