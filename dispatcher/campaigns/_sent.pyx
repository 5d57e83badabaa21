"""Who of a batch is sent to, as a bitmap of slots: what the guards count."""

from libc.stdint cimport uint8_t, uint32_t

from dispatcher.records.layouts cimport part_row


def sent_slots(const uint8_t[::1] rows, uint32_t n, uint32_t first_member_no, uint8_t[::1] out):
    """Set the bit of each slot (member_no - first_member_no) that has a row with decision 1."""
    cdef const part_row *r
    cdef uint32_t i, slot
    if <size_t>rows.shape[0] < n * sizeof(part_row):
        raise ValueError("rows: fewer octets than rows")
    for i in range(n):
        r = <const part_row *>&rows[i * sizeof(part_row)]
        slot = r.slot - first_member_no
        if r.decision == 1 and slot < 8 * <size_t>out.shape[0]:
            out[slot // 8] |= <uint8_t>(1 << slot % 8)
