import io
import json
import logging

import pytest
import structlog

from dispatcher import logs


@pytest.fixture
def lines():
    """Configure for one test and put back what pytest had."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()

    def configured(format: str, level: str = "info") -> io.StringIO:
        logs.configure(level, format, process="test", stream=stream)
        return stream

    yield configured
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_a_json_line_has_level_time_process_and_fields(lines):
    stream = lines("json")
    structlog.get_logger().info("bound", endpoint="main", binds=4)
    said = json.loads(stream.getvalue())
    assert (said["event"], said["level"], said["process"], said["binds"]) == ("bound", "info", "test", 4)
    assert said["timestamp"].endswith("Z")


@pytest.mark.parametrize("format", ["json", "console"])
def test_text_from_outside_never_ends_a_line_or_reaches_the_terminal(lines, format):
    stream = lines(format)
    structlog.get_logger().info("inbound", text="a\r\nforged line\x1b[2J\x9b1m", octets=b"\n", more={"k\n": ["\x00"]})
    logging.getLogger("uvicorn").warning("path %s", "/\r\nforged")
    said = stream.getvalue()
    assert said.count("\n") == 2
    assert not {"\r", "\x1b", "\x9b", "\x00"} & set(said)


@pytest.mark.parametrize("format", ["json", "console"])
def test_secrets_are_never_written(lines, format):
    stream = lines(format)
    structlog.get_logger().info("bind", password="pa55", headers={"Authorization": "Bearer vk_1"})
    assert "pa55" not in stream.getvalue()
    assert "vk_1" not in stream.getvalue()


def test_lines_of_an_exception_are_indented_so_that_none_looks_like_a_new_one(lines):
    stream = lines("console")
    try:
        raise ValueError("x\n2026-01-01 forged\x1b[1m")
    except ValueError:
        structlog.get_logger().exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert "failed" in first
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in stream.getvalue()


def test_lines_below_the_level_are_not_written(lines):
    stream = lines("json", "warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("other").info("quiet too")
    structlog.get_logger().warning("heard")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["heard"]
