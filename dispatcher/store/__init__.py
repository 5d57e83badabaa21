"""ROOM store: LMDB; layouts, snapshots, one transaction function."""

from dispatcher.store.environment import Store, open_store
from dispatcher.store.snapshot import Snapshot

__all__ = ["Snapshot", "Store", "open_store"]
