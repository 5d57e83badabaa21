"""The command line of the two processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import example_text
from config.arguments import settings_of


def test_the_settings_are_those_of_the_named_file_and_folder(tmp_path: Path):
    file = tmp_path / "volley.toml"
    file.write_text(example_text())
    assert settings_of("dispatcher", "about", ["--config", str(file), "--data", str(tmp_path)]).data == tmp_path


def test_a_wrong_setting_ends_the_process_with_a_sentence_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "volley.toml").write_text("[store]\nsync = 7\n")
    with pytest.raises(SystemExit) as ended:
        settings_of("admin", "about", ["--config", str(tmp_path / "volley.toml")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("admin: ")
