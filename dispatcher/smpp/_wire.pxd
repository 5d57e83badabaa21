# pump.h: octets, clocks, the hash of a message_id, the states of receipts, sockets.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "pump.h" nogil:
    void put_u32(uint8_t *p, uint32_t v)
    uint32_t get_u32(const uint8_t *p)
    uint64_t monotonic_ns()
    uint64_t epoch_ms()
    int put_decimal(uint8_t *out, uint64_t v)
    uint64_t hash_octets(const uint8_t *p, size_t n, uint64_t seed)
    uint64_t hash_id(const uint8_t *id, size_t n, int from_hex, uint64_t seed)
    int bucket_of(uint64_t ns)
    int receipt_state(const uint8_t *p, size_t n)
    int tlv_state(int v)
    ssize_t recv(int fd, void *b, size_t n, int flags)
    ssize_t send(int fd, const void *b, size_t n, int flags)
    int MSG_DONTWAIT, MSG_NOSIGNAL, errno, EAGAIN, EWOULDBLOCK, EINTR

cdef extern from "string.h" nogil:
    void *memmem(const void *, size_t, const void *, size_t)    # Python.h asks for GNU's names
