"""The command line's end of the control socket, against a dispatcher that speaks real frames."""

import socket
import struct
import threading
from collections.abc import Callable

import pytest

import config
from dispatcher.cli import talk
from dispatcher.cli.talk import NoAnswer, send
from dispatcher.control.commands import CreateTenant, Envelope
from dispatcher.control.frames import Frames, frame
from dispatcher.errors import CommandRefused, StoreLocked
from dispatcher.store import open_store
from dispatcher.tenants.tenant import list_tenants

COMMAND = CreateTenant(title="Shop")
ENVELOPE = Envelope(tenant=0, actor="cli", at_ms=1_790_000_000_000)


@pytest.fixture
def settings(tmp_path):
    with open_store(tmp_path, write=True, create=True, sync=False):
        pass
    return config.load(data=tmp_path, env={"VOLLEY_STORE_SYNC": "false"})


@pytest.fixture
def dispatcher(settings):
    """dispatcher(answer): takes one connection and writes what `answer` makes of the first frame."""
    threads: list[threading.Thread] = []

    def listen(answer: Callable[[dict], bytes]) -> list[dict]:
        heard: list[dict] = []
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(settings.control_socket))
        listener.listen()

        def once() -> None:
            with listener, listener.accept()[0] as connection:
                frames = Frames()
                while not heard:
                    heard.extend(frames.receive(connection.recv(65_536)))
                octets = answer(heard[0])
                for at in range(len(octets)):  # in the smallest pieces there are
                    connection.sendall(octets[at : at + 1])
                if not octets:
                    connection.recv(1)

        threads.append(threading.Thread(target=once))
        threads[-1].start()
        return heard

    yield listen
    for thread in threads:
        thread.join(10)


def test_a_running_dispatcher_does_it(settings, dispatcher):
    heard = dispatcher(lambda asked: frame({"id": asked["id"], "ok": True, "reply": {"id": "ten_1"}}))
    assert send(settings, COMMAND, ENVELOPE) == {"id": "ten_1"}
    assert (heard[0]["command"], heard[0]["actor"], heard[0]["body"]["title"]) == ("tenant.create", "cli", "Shop")


@pytest.mark.parametrize("nested", [True, False])
def test_what_it_refuses_is_refused_here_with_all_its_fields(settings, dispatcher, nested):
    problem = {"status": 409, "code": "state_conflict", "detail": "no", "errors": [{"code": "x"}], "extra": {"a": 1}}
    dispatcher(lambda _: frame({"id": 1, "refused": problem} if nested else {"id": 1, "ok": False, **problem}))
    with pytest.raises(CommandRefused) as refused:
        send(settings, COMMAND, ENVELOPE)
    assert {name: getattr(refused.value, name) for name in problem} == problem


@pytest.mark.parametrize(
    "octets", [frame({"id": 1, "reply": {}})[:-1], struct.pack(">I", 1 << 31), frame({})[:4] + b"\xc1"]
)
def test_an_answer_that_breaks_off_leaves_it_unknown(settings, dispatcher, octets):
    dispatcher(lambda _: octets)
    with pytest.raises(NoAnswer, match="unknown"):
        send(settings, COMMAND, ENVELOPE)


def test_a_mute_dispatcher_leaves_it_unknown(settings, dispatcher):
    dispatcher(lambda _: b"")
    with pytest.raises(NoAnswer, match=r"within 0\.1 s"):
        send(settings, COMMAND, ENVELOPE, answer_s=0.1)


@pytest.mark.parametrize("stale", [False, True])
def test_with_no_dispatcher_it_is_done_here(settings, stale):
    if stale:  # what kill -9 leaves behind: a socket nobody listens on
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(settings.control_socket))
        left.close()
    assert send(settings, COMMAND, ENVELOPE)["id"] == "ten_0000000000001"
    with open_store(settings.data) as store, store.snapshot() as view:
        assert [tenant.title for tenant in list_tenants(view)] == ["Shop"]


def test_a_store_that_stays_locked_is_told(settings, monkeypatch):
    monkeypatch.setattr(talk, "STARTING_S", 0.1)
    with open_store(settings.data, write=True), pytest.raises(StoreLocked):
        send(settings, COMMAND, ENVELOPE)


def test_a_dispatcher_that_is_just_starting_is_waited_for(settings, dispatcher):
    store = open_store(settings.data, write=True)  # has the lock, does not listen yet
    listening = threading.Timer(0.2, dispatcher, [lambda _: frame({"id": 1, "reply": {"id": "ten_7"}})])
    listening.start()
    try:
        assert send(settings, COMMAND, ENVELOPE) == {"id": "ten_7"}
    finally:
        listening.join()
        store.close()
