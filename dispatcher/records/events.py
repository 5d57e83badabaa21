"""What comes back from the SMSC, as rooms see it: no PDU, no bind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The content of a deliver_sm or data_sm: a receipt when esm_class says so, else a message from a phone."""

    source_addr: str
    destination_addr: str
    esm_class: int = 0
    data_coding: int = 0
    octets: bytes = b""
    tlvs: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def is_receipt(self) -> bool:
        """Only esm_class says so; text like one in a plain deliver_sm was typed by a phone (SMPP_FACTS 5)."""
        return self.esm_class & 0x3C in (0x04, 0x20)

    @property
    def is_acknowledgement(self) -> bool:
        """A phone or its owner acknowledges one of ours, or ends a conversation: no message of its own."""
        return self.esm_class & 0x3C in (0x08, 0x10, 0x18)

    @property
    def udhi(self) -> bool:
        return bool(self.esm_class & 0x40)
