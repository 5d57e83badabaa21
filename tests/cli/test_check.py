import os
import socket

import config
from dispatcher.cli import check
from dispatcher.cli.bench import benches


def test_doctor_says_of_each_thing_whether_it_is_fit(volley, data):
    rows = {row["name"]: row for row in volley("doctor", "--data", data, "--json").rows}
    assert {"kernels", "python", "fdatasync", "disk", "clock", "api port", "endpoint"} <= set(rows)
    assert rows["data folder"]["ok"]
    assert rows["store"]["ok"]
    assert [file.name for file in data.glob(".doctor*")] == []


def test_doctor_tells_a_port_that_something_else_has(data):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = config.load(data=data, env={"VOLLEY_API_PORT": str(port)})
        findings = {finding.name: finding for finding in check.ports(settings)}
    assert findings["api port"].ok is False


def test_doctor_tells_a_clock_behind_the_store(data):
    os.utime(data / "store" / "data.mdb", (4_000_000_000, 4_000_000_000))
    (finding,) = check.clock(config.load(data=data, env={}))
    assert finding.ok is False


def test_doctor_tells_a_folder_without_a_store(volley, tmp_path):
    said = volley("doctor", "--data", tmp_path)
    assert said.status == 1
    assert "volley init" in said.out


def test_benches_are_listed_by_their_first_line(volley):
    said = volley("bench")
    assert said.status == 0
    for name, purpose in benches().items():
        assert purpose
        assert f"{name} " in said.out


def test_an_unknown_bench_is_told_with_the_known_ones(volley):
    said = volley("bench", "nothing")
    assert said.status == 2
    assert "there are:" in said.err


def test_doctor_tells_a_store_near_its_limit_and_one_that_takes_no_new_work(data):
    for percent, ok in (("100000", None), ("27000", False)):
        settings = config.load(
            data=data, env={"VOLLEY_STORE_STORE_MAX_OCTETS": percent, "VOLLEY_STORE_ALARM_PERCENT": "1"}
        )
        found = {finding.name: finding for finding in check.disk(settings)}
        assert found["disk"].ok is ok and "store_max_octets" in found["disk"].said
        assert found["readers"].ok
