import importlib
import inspect
import json
from pathlib import Path

import pytest

import bench
from bench.harness import Figure, disk_figures, print_figures
from dispatcher.cli.bench import benches, runs_of_all


def test_all_runs_the_kernels_first_and_the_whole_daemon_last_and_again_on_a_slower_disk():
    runs = runs_of_all(benches(), ("--json",))
    names = [name for name, _ in runs]
    assert set(names) == set(benches())
    assert names[-3] == "campaign"
    assert names.index("text") < names.index("store") < names.index("import") < names.index("smsc")
    assert runs[-2:] == [("end_to_end", ("--json",)), ("end_to_end", ("--sync-delay-ms", "5", "--json"))]


@pytest.mark.parametrize("name", benches())
def test_each_bench_takes_its_arguments_and_answers_a_status(name):
    prefixed = f"{bench.__path__[0]}/bench_{name}.py"
    module = importlib.import_module(f"bench.bench_{name}" if Path(prefixed).exists() else f"bench.{name}")
    assert list(inspect.signature(module.main).parameters) == ["argv"]


def test_a_figure_stands_beside_its_target(capsys):
    print_figures([Figure.of("import", 140_000, "rows/s", least=150_000), Figure.of("count", 4.2, "ms", most=5)], False)
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["import", "140,000", "rows/s", ">=", "150,000", "MISSED"]
    assert second.split() == ["count", "4.2", "ms", "<", "5", "ok"]
    print_figures([Figure("commit", 3, "ms")], True)
    assert capsys.readouterr().out == '{"figure": "commit", "value": 3, "unit": "ms", "target": "", "ok": null}\n'


def test_the_disk_of_a_folder_is_told(tmp_path):
    sync, kind = disk_figures(tmp_path)
    assert sync.value > 0 and isinstance(kind.value, str)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("engagement", ["--recipients", "20000"]),
        ("export", ["--members", "1000"]),
        ("coupons", ["--members", "5000"]),
        ("segments", ["--members", "40000", "--rounds", "1"]),
        ("segments", ["--members", "40000", "--expand"]),
        ("segments", ["--members", "40000", "--http", "--rounds", "1"]),
        ("import", ["--rows", "3000", "--modes", "csv,parquet"]),
    ],
)
def test_benches_of_members_run_small_and_their_checks_hold(name, arguments, capsys):
    """Whether a figure is reached is not asked here; a check that fails ends a bench with 1 or an assertion."""
    status = importlib.import_module(f"bench.bench_{name}").main([*arguments, "--json"])
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown and (status == 0 or any(line.get("ok") is False for line in shown))
    checks = [line for line in shown if str(line.get("figure", "")).startswith("check")]
    assert all(line["ok"] for line in checks) and all(line.get("equal", True) for line in shown)
