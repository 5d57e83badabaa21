"""Identities: sizes, order and text form.

A u64 id is epoch milliseconds << 16 | counter, so ids sort by creation and carry no machine. Bit 63
marks a batch of single messages (replies) instead of a campaign. Public text is a prefix and 13
Crockford base-32 characters, e.g. `cmp_01J...`; a member is `mem_` + shard u16 + member_no u32 + check u8.
"""

from __future__ import annotations

import binascii

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE = {c: i for i, c in enumerate(ALPHABET)} | {"O": 0, "I": 1, "L": 1}

BATCH_BIT = 1 << 63


def _text(number: int, characters: int) -> str:
    return "".join(ALPHABET[number >> 5 * i & 31] for i in range(characters - 1, -1, -1))


def _number(text: str) -> int:
    number = 0
    for character in text.upper():
        number = number << 5 | _VALUE[character]
    return number


def new_id(epoch_ms: int, counter: int) -> int:
    """A u64 id; `counter` is taken modulo 65,536 (meta table `ids`)."""
    return epoch_ms << 16 | counter & 0xFFFF


def public_id(prefix: str, number: int) -> str:
    return f"{prefix}_{_text(number, 13)}"


def parse_public_id(prefix: str, text: str) -> int | None:
    """The number behind a public id, or None when it is not one of that prefix."""
    head, _, tail = text.partition("_")
    if head != prefix or len(tail) != 13:
        return None
    try:
        number = _number(tail)
    except KeyError:
        return None
    return number if number < 1 << 64 else None


def public_member_id(member_no: int, shard: int = 0) -> str:
    body = shard << 32 | member_no
    check = binascii.crc32(body.to_bytes(6, "big")) & 0xFF
    return f"mem_{_text(body << 8 | check, 12)}"


def parse_member_id(text: str) -> int | None:
    """The member_no of a public member id of shard 0; None when malformed or its check is wrong."""
    head, _, tail = text.partition("_")
    if head != "mem" or len(tail) != 12:
        return None
    try:
        number = _number(tail)
    except KeyError:
        return None
    body = number >> 8
    if body >> 48 or binascii.crc32((body & (1 << 48) - 1).to_bytes(6, "big")) & 0xFF != number & 0xFF:
        return None
    return body & 0xFFFFFFFF


def reply_batch(tenant: int) -> int:
    """The batch id under which a tenant's replies (confirmations, POINTS answers) are kept."""
    return BATCH_BIT | tenant
