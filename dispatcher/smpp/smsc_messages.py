"""The simulator about messages it took: query_sm, cancel_sm, replace_sm from its state; submit_multi and data_sm.

Touches: the kernel's kept messages, of the account whose connection asks. Rests on: SMPP v3.4 issue 1.2, 4.5, 4.7
and 4.8 to 4.10: source_addr must be the one that the message came with; what is final can be asked for but not changed.
Weak spot: the kernel keeps the latest 65,536 messages; a replaced text is counted, its receipt still shows the first.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from dispatcher.smpp import _smsc as kernel
from dispatcher.smpp import _smsc_shared as shared
from dispatcher.smpp import codec
from dispatcher.smpp.consts import (
    ESME_RINVBNDSTS,
    ESME_RINVDLNAME,
    ESME_RINVDSTADR,
    ESME_RINVMSGID,
    ESME_ROK,
    RESPONSE,
    CommandId,
)
from dispatcher.smpp.pdu import Pdu, UnsuccessSme

ESME_RCANCELFAIL, ESME_RREPLACEFAIL, ESME_RQUERYFAIL = 0x11, 0x13, 0x67
COMMANDS = frozenset(
    (CommandId.QUERY_SM, CommandId.CANCEL_SM, CommandId.REPLACE_SM, CommandId.SUBMIT_MULTI, CommandId.DATA_SM)
)
LONG = "9000"  # what a `long` id begins with (smsc_text.h)


class Messages:
    """What one connection may ask."""

    def __init__(
        self, smsc: shared.Smsc, connection: kernel.Connection, form: str, now: Callable[[], tuple[int, int]]
    ) -> None:
        self._smsc, self._connection, self._form, self._now = smsc, connection, form, now

    def answer(self, asked: Pdu) -> bytes:
        """The response to one of COMMANDS."""
        if self._connection.account is None:
            return _refused(asked, ESME_RINVBNDSTS)
        if asked.command_id == CommandId.QUERY_SM:
            return self._query(asked)
        if asked.command_id == CommandId.SUBMIT_MULTI:
            return self._submit_multi(asked)
        if asked.command_id == CommandId.DATA_SM:
            status, message_id = self._accept(asked, {}, 0)
            return _refused(asked, status) if status else _done(asked, message_id=self._text_of(message_id))
        return self._change(asked)

    def _query(self, asked: Pdu) -> bytes:
        found = self._find(asked)
        if found is None:
            return _refused(asked, ESME_RQUERYFAIL)
        _, (_, _, _, final_ms, state) = found
        return _done(
            asked, message_id=asked.fields["message_id"], final_date=_time(final_ms), message_state=state, error_code=0
        )

    def _change(self, asked: Pdu) -> bytes:
        """cancel_sm or replace_sm."""
        cancels = asked.command_id == CommandId.CANCEL_SM
        failed = ESME_RCANCELFAIL if cancels else ESME_RREPLACEFAIL
        account = self._connection.account
        assert account is not None
        if cancels and not asked.fields["message_id"]:
            source, destination = (_octets(asked, name) for name in ("source_addr", "destination_addr"))
            ids = self._smsc.ids_between(account, source, destination, self._now()[1])
            for id in ids:
                self._smsc.delete(id)
            return _done(asked) if ids else _refused(asked, failed)
        found = self._find(asked)
        if found is None:
            return _refused(asked, ESME_RINVMSGID)
        id, (_, destination, _, final_ms, _) = found
        if final_ms is not None or (cancels and _octets(asked, "destination_addr") not in (b"", destination)):
            return _refused(asked, failed)
        if cancels:
            self._smsc.delete(id)
        else:
            self._smsc.replace()
        return _done(asked)

    def _submit_multi(self, asked: Pdu) -> bytes:
        """Each destination as a submit_sm of its own, all under one message_id."""
        destinations: Any = asked.fields["dest_address"]
        failed: list[UnsuccessSme] = []
        message_id = 0
        for one in destinations:
            status = ESME_RINVDLNAME
            if one.dl_name is None:
                address = {name: getattr(one, name) for name in ("dest_addr_ton", "dest_addr_npi", "destination_addr")}
                status, message_id = self._accept(asked, address, message_id)
            if status != ESME_ROK:
                failed.append(
                    UnsuccessSme(
                        dest_addr_ton=one.dest_addr_ton,
                        dest_addr_npi=one.dest_addr_npi,
                        destination_addr=one.destination_addr,
                        error_status_code=status,
                    )
                )
        if not message_id:
            return _refused(asked, failed[0].error_status_code if failed else ESME_RINVMSGID)
        return _done(asked, message_id=self._text_of(message_id), unsuccess_sme=tuple(failed))

    def _accept(self, asked: Pdu, address: dict[str, Any], message_id: int) -> tuple[int, int]:
        """What was asked for as a submit_sm, to `address` where it is one of several: (command_status, message_id)."""
        fields = {name: value for name, value in asked.fields.items() if name != "dest_address"} | address
        try:
            submit = codec.encode_pdu(Pdu(command_id=CommandId.SUBMIT_SM, fields=fields, tlvs=asked.tlvs))
        except ValueError:  # an address that is longer than a submit_sm's may be
            return ESME_RINVDSTADR, message_id
        return self._connection.accept(submit, message_id, *self._now())

    def _find(self, asked: Pdu) -> tuple[int, tuple[bytes, bytes, int, int | None, int]] | None:
        account = self._connection.account
        id = self._id_of(str(asked.fields["message_id"]))
        if id is None or account is None:
            return None
        found = self._smsc.message(account, id, self._now()[1])
        return None if found is None or found[0] != _octets(asked, "source_addr") else (id, found)

    def _id_of(self, text: str) -> int | None:
        """The number that an id is written from (smsc_text.h); None for what is none of ours."""
        if self._form == "long":
            text = text.removeprefix(LONG)
        try:
            id = int(text, 16 if self._form.startswith("hex") else 10)
        except ValueError:
            return None
        return id if 0 < id < 1 << 64 else None

    def _text_of(self, id: int) -> str:
        return {
            "decimal": f"{id}",
            "hex": f"{id:x}",
            "hex-upper": f"{id:X}",
            "padded": f"{id:020}",
            "hex-padded": f"{id:020X}",
            "long": f"{LONG}{id:020}",
        }[self._form]


def _octets(asked: Pdu, name: str) -> bytes:
    return str(asked.fields[name]).encode("latin-1")


def _done(asked: Pdu, **fields: Any) -> bytes:
    answer = Pdu(command_id=RESPONSE | asked.command_id, sequence_number=asked.sequence_number, fields=fields)
    return codec.encode_pdu(answer)


def _refused(asked: Pdu, status: int) -> bytes:
    return codec.error_response(asked.command_id, status, asked.sequence_number)


def _time(ms: int | None) -> str:
    """An absolute time in UTC (7.1.1); nothing while it is not final."""
    if ms is None:
        return ""
    at = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    return f"{at:%y%m%d%H%M%S}{at.microsecond // 100_000}00+"
