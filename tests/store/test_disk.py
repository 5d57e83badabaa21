"""What is said of a folder's disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.store.disk import SYNCS, file_system, sync_times_ms


def test_each_write_is_timed_and_nothing_is_left_behind(tmp_path: Path):
    took_ms = sync_times_ms(tmp_path)
    assert len(took_ms) == SYNCS and min(took_ms) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_writes_is_an_error(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        sync_times_ms(tmp_path / "absent")


def test_a_file_system_has_a_name(tmp_path: Path):
    assert file_system(tmp_path)
    assert file_system(Path("/dev/shm")) in ("tmpfs", file_system(Path("/")))
