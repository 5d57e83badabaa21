"""Binds inside TLS: what is trusted and what is not, and the relay between OpenSSL and the pump."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from dispatcher.errors import CannotConnect
from dispatcher.smpp.smsc_options import SmscOptions
from dispatcher.smpp.tls import check_pin, public_key_of
from tests.fakes.authority import Authority, openssl
from tests.smpp.pools import Rig, with_pool


@pytest.fixture(scope="module")
def carrier(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("carrier"), "carrier")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def serving(signed: tuple[Path, Path], client_ca: Path | None = None, **told) -> SmscOptions:
    return SmscOptions(tls_cert=signed[0], tls_key=signed[1], tls_client_ca=client_ca, **told)


def der(certificate: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


def trusting(authority: Authority, **keys) -> dict:
    return {"tls": True, "tls_ca": str(authority.certificate), "tls_server_name": "smsc.example"} | keys


async def sends_and_hears(rig: Rig) -> None:
    await rig.bound()
    await rig.send(300)
    await rig.until(lambda: rig.book.receipts == 300)
    assert rig.pool.alarms() == [] and rig.book.uncertain == 0


def alarm(code: str, words: str):
    async def test(rig: Rig) -> None:
        await rig.until(lambda: rig.pool.alarms())
        told = rig.pool.alarms()[0]
        assert told["code"] == code and words in told["text"] and told["remedy"], told
        assert rig.pool.bound == 0 and rig.smsc.summary()["binds"] == 0

    return test


def test_a_trusted_certificate_of_the_right_name_is_bound_over_and_all_goes_both_ways(carrier):
    with_pool(sends_and_hears, endpoint=trusting(carrier), options=serving(carrier.sign("smsc.example")))


def test_a_client_certificate_is_shown_where_it_is_asked_for(carrier, stranger):
    options = serving(carrier.sign("smsc.example"), stranger.certificate)
    certificate, key = stranger.sign("us.example")
    shown = {"tls_cert": str(certificate), "tls_key": str(key)}
    with_pool(sends_and_hears, endpoint=trusting(carrier, **shown), options=options)

    async def refused(rig: Rig) -> None:
        await rig.until(lambda: rig.pool.binds[0].last_error)
        await rig.until(lambda: rig.pool.alarms())
        assert rig.smsc.summary()["binds"] == 0

    with_pool(refused, endpoint=trusting(carrier, binds=1), options=options)


def test_a_certificate_of_another_name_or_authority_is_an_alarm_and_no_password_is_said(carrier, stranger):
    named = alarm("certificate", "smsc.example")
    with_pool(named, endpoint=trusting(carrier, binds=1), options=serving(carrier.sign("other.example")))
    unknown = alarm("certificate", "refused")
    with_pool(unknown, endpoint=trusting(stranger, binds=1), options=serving(carrier.sign("smsc.example")))


def test_a_pin_is_the_certificates_or_its_keys_and_counts_alone_without_an_authority(carrier):
    signed = carrier.sign("smsc.example")
    whole = hashlib.sha256(der(signed[0])).hexdigest()
    key = hashlib.sha256(openssl("pkey", "-in", signed[1], "-pubout", "-outform", "DER")).hexdigest()
    for pin in (whole, key.upper(), ":".join(key[i : i + 2] for i in range(0, 64, 2))):
        with_pool(sends_and_hears, endpoint={"tls": True, "tls_pin": pin}, options=serving(signed))
    wrong = {"tls": True, "tls_pin": "0" * 64, "binds": 1}
    with_pool(alarm("certificate", whole), endpoint=wrong, options=serving(signed))


def test_a_pin_beside_an_authority_asks_for_both(carrier, stranger):
    signed = carrier.sign("smsc.example")
    pin = hashlib.sha256(der(signed[0])).hexdigest()
    with_pool(sends_and_hears, endpoint=trusting(carrier, tls_pin=pin), options=serving(signed))
    with_pool(
        alarm("certificate", "refused"), endpoint=trusting(stranger, tls_pin=pin, binds=1), options=serving(signed)
    )


def test_a_plain_peer_on_the_tls_port_and_tls_on_a_plain_one_are_named(carrier):
    with_pool(alarm("tls", "no TLS with"), endpoint=trusting(carrier, binds=1))

    async def plain(rig: Rig) -> None:
        await rig.until(lambda: rig.pool.binds[0].last_error)
        assert rig.smsc.summary()["binds"] == 0

    with_pool(plain, endpoint={"binds": 1}, options=serving(carrier.sign("smsc.example")))


def test_a_handshake_that_hangs_ends_with_the_session_init_timer(carrier):
    async def test(rig: Rig) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

            async def say_nothing(stream: trio.SocketStream) -> None:
                await trio.sleep_forever()

            nursery.start_soon(trio.serve_listeners, say_nothing, listeners)
            port = listeners[0].socket.getsockname()[1]
            rig.pool.replace(replace(rig.pool.endpoint, port=port, tls=True, bind_timeout_s=0.2))
            nursery.start_soon(rig.pool.run)
            await rig.until(lambda: "no TLS handshake in 0.2 s" in rig.pool.binds[0].last_error)
            nursery.cancel_scope.cancel()

    with_pool(test, started=False, endpoint={"binds": 1})


def test_files_that_cannot_be_used_are_an_alarm_that_names_them(carrier, tmp_path):
    missing = trusting(carrier, binds=1) | {"tls_ca": str(tmp_path / "none.pem")}
    with_pool(alarm("file", "none.pem"), endpoint=missing, options=serving(carrier.sign("smsc.example")))


@pytest.mark.parametrize("how", ["fin", "rst", "unbind"])
def test_a_connection_that_ends_inside_tls_is_bound_again_and_accounts_for_all(carrier, how):
    async def test(rig: Rig) -> None:
        await rig.bound()
        rig.claim(500)
        await rig.until(lambda: rig.book.accepted + rig.book.uncertain >= 500)
        assert rig.smsc.summary()["accepted"] >= rig.book.accepted

    signed = carrier.sign("smsc.example")
    with_pool(test, endpoint=trusting(carrier), options=serving(signed, drop_every=100, drop_how=how))


def test_a_slow_reader_behind_tls_holds_us_back_by_what_the_pair_holds(carrier):
    async def test(rig: Rig) -> None:
        await rig.bound()
        rig.claim(4_000)
        await rig.until(lambda: rig.book.submits > 100)
        await trio.sleep(0.3)
        rig.pool.disconnect(rig.bind())
        await rig.until(lambda: rig.bind().state == "disconnected", 2)

    signed = carrier.sign("smsc.example")
    endpoint = trusting(carrier, binds=1, window=4_000)
    with_pool(test, endpoint=endpoint, options=serving(signed, read_rate=2_000.0))


def test_the_public_key_of_a_cut_or_odd_certificate_is_none(carrier):
    whole = der(carrier.certificate)
    assert public_key_of(whole)
    for cut in range(0, len(whole), 7):
        assert public_key_of(whole[:cut]) == b""
    assert public_key_of(b"\xff" * 50) == b"" and public_key_of(b"") == b""
    with pytest.raises(CannotConnect):
        check_pin("ab" * 32, b"\xff" * 50)
