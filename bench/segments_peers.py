"""DuckDB and Polars over the same arrays, in memory and on as many threads: what they count, and which ids they find.

Touches: memory. Both are of the `bench` extra; POLARS_MAX_THREADS is read when Polars is first imported.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np


class DuckDB:
    name = "duckdb"

    def __init__(self, threads: int) -> None:
        import duckdb

        self._made = False
        self._db: Any = duckdb.connect(":memory:")
        self._db.execute(f"set threads = {threads}")
        self._db.execute("set preserve_insertion_order = true")

    def add(self, part: dict[str, np.ndarray]) -> None:
        self._db.register("part", part)
        self._db.execute("insert into m select * from part" if self._made else "create table m as select * from part")
        self._made = True
        self._db.unregister("part")

    def close(self) -> None:
        self._db.close()

    def count(self, sql: str) -> int:
        return int(self._db.execute(f"select count(*) from m where {sql}").fetchone()[0])

    def ids(self, sql: str) -> Any:
        return self._db.execute(f"select id from m where {sql}").fetchnumpy()["id"]


class Polars:
    name = "polars"

    def __init__(self, threads: int) -> None:
        os.environ["POLARS_MAX_THREADS"] = str(threads)
        import polars

        self._pl: Any = polars
        self._parts: list[Any] = []
        self._frame: Any = None
        self._where: dict[str, Any] = {}
        if polars.thread_pool_size() != threads:
            raise SystemExit(f"polars runs on {polars.thread_pool_size()} threads, not {threads}")

    def add(self, part: dict[str, np.ndarray]) -> None:
        self._parts.append(self._pl.DataFrame({name: array.copy() for name, array in part.items()}))

    def _plan(self, sql: str) -> Any:
        """The condition as an expression of Polars, made once: its parser is not what is measured."""
        if self._frame is None:
            self._frame = self._pl.concat(self._parts, rechunk=True)
            self._parts = []
        if sql not in self._where:
            self._where[sql] = expression(self._pl, sql)
        return self._where[sql]

    def count(self, sql: str) -> int:
        where = self._plan(sql)
        return int(self._frame.lazy().filter(where).select(self._pl.len()).collect().item())

    def ids(self, sql: str) -> Any:
        where = self._plan(sql)
        return self._frame.lazy().filter(where).select("id").collect()["id"].to_numpy()


def expression(pl: Any, sql: str) -> Any:
    """Polars' own SQL dialect has no bit operators on unsigned columns: tags are said in its expressions."""
    clause, _, rest = sql.partition("tags & ")
    if not rest:
        return pl.sql_expr(sql)
    mask, _, compare = rest.partition("::UBIGINT ")
    tags = pl.col("tags") & pl.lit(int(mask), dtype=pl.UInt64)
    bits = (tags != 0) if compare.startswith("!=") else (tags == 0)
    return pl.sql_expr(clause.rstrip().removesuffix("and")) & bits
