"""The ids of batches: what stands in a campaign's place for messages born alone.

Seven batches a tenant: answers; confirmations of an opt-out; messages of POST /v1/messages, one batch a purpose.

id  bit 63: a batch  bits 34..36: the purpose of messages  bit 33: messages  bit 32: confirmations  bits 0..15: tenant
"""

from __future__ import annotations

from dispatcher.records.keys import BATCH_BIT, public_id
from dispatcher.records.states import Purpose

CONFIRMATIONS_BIT = 1 << 32
MESSAGES_BIT = 1 << 33
_PURPOSE_AT = 34
PURPOSE_BITS = 3  # of a message's public number, below its position


def batch_of(tenant: int, *, confirmations: bool = False) -> int:
    return BATCH_BIT | (CONFIRMATIONS_BIT if confirmations else 0) | tenant


def message_batch(tenant: int, purpose: Purpose) -> int:
    """The batch of a tenant's messages of a purpose."""
    return BATCH_BIT | MESSAGES_BIT | purpose.number << _PURPOSE_AT | tenant


def batches_of(tenant: int) -> list[int]:
    """Every batch that a tenant may have, ascending."""
    alone = [batch_of(tenant), batch_of(tenant, confirmations=True)]
    return sorted([*alone, *(message_batch(tenant, purpose) for purpose in Purpose)])


def is_batch(campaign: int) -> bool:
    """The id is a batch of single messages, not a campaign."""
    return bool(campaign & BATCH_BIT)


def is_message_batch(batch: int) -> bool:
    """Messages ask for receipts; answers and confirmations do not."""
    return bool(batch & BATCH_BIT and batch & MESSAGES_BIT)


def tenant_of_batch(batch: int) -> int:
    return batch & 0xFFFF


def purpose_of_batch(batch: int) -> Purpose:
    if batch & MESSAGES_BIT:
        return list(Purpose)[batch >> _PURPOSE_AT & 7]
    return Purpose.SERVICE


def message_id(position: int, purpose: Purpose) -> str:
    """Of a message of the API, public; sorts by creation within a tenant."""
    return public_id("msg", position << PURPOSE_BITS | purpose.number)
