"""A member's code in a coupon pool and back, compiled: see code.h; names in code.py, meaning in tests/reference/coupons.py."""

from libc.stdint cimport int64_t, uint8_t, uint32_t


cdef extern from "code.h" nogil:
    enum: COUPON_CHARACTERS
    const char *COUPON_ALPHABET
    ctypedef struct coupon_key:
        pass
    coupon_key coupon_key_of(const uint8_t *octets)
    void coupon_code(coupon_key key, uint32_t member_no, uint8_t *w)
    int64_t coupon_member(coupon_key key, const uint8_t *values)

ALPHABET = (<bytes>COUPON_ALPHABET).decode("ascii")
CHARACTERS = COUPON_CHARACTERS
KEY_OCTETS = 16


cdef coupon_key _key_of(bytes key) except *:
    if len(key) != KEY_OCTETS:
        raise ValueError(f"a pool's key has {KEY_OCTETS} octets, not {len(key)}")
    return coupon_key_of(<const uint8_t *><const char *>key)


def code_of(bytes key not None, uint32_t member_no):
    """Twelve characters."""
    cdef uint8_t code[COUPON_CHARACTERS]
    coupon_code(_key_of(key), member_no, code)
    return (<char *>code)[:COUPON_CHARACTERS].decode("ascii")


def member_of(bytes key not None, bytes values not None):
    """member_no of twelve values below 32, or None."""
    if len(values) != COUPON_CHARACTERS or max(values) > 31:
        raise ValueError(f"{values!r} are not {COUPON_CHARACTERS} values below 32")
    cdef int64_t found = coupon_member(_key_of(key), <const uint8_t *><const char *>values)
    return None if found < 0 else found
