"""What coupons/_code means, in plain Python: SipHash-2-4, and a Feistel network of six rounds over two times 30 bits."""

LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32
HALF = 30
WORD = (1 << 64) - 1


def siphash24(key: bytes, message: bytes) -> int:
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v0, v1 = k0 ^ int.from_bytes(b"somepseu"), k1 ^ int.from_bytes(b"dorandom")
    v2, v3 = k0 ^ int.from_bytes(b"lygenera"), k1 ^ int.from_bytes(b"tedbytes")

    def rotated(v: int, bits: int) -> int:
        return (v << bits | v >> (64 - bits)) & WORD

    def rounds(many: int) -> None:
        nonlocal v0, v1, v2, v3
        for _ in range(many):
            v0 = (v0 + v1) & WORD
            v1 = rotated(v1, 13) ^ v0
            v0 = rotated(v0, 32)
            v2 = (v2 + v3) & WORD
            v3 = rotated(v3, 16) ^ v2
            v0 = (v0 + v3) & WORD
            v3 = rotated(v3, 21) ^ v0
            v2 = (v2 + v1) & WORD
            v1 = rotated(v1, 17) ^ v2
            v2 = rotated(v2, 32)

    whole = len(message) // 8 * 8
    words = [message[at : at + 8] for at in range(0, whole, 8)]
    words.append(message[whole:].ljust(7, b"\0") + bytes([len(message) & 0xFF]))
    for word in (int.from_bytes(octets, "little") for octets in words):
        v3 ^= word
        rounds(2)
        v0 ^= word
    v2 ^= 0xFF
    rounds(4)
    return v0 ^ v1 ^ v2 ^ v3


def mixed(key: bytes, half: int, number: int) -> int:
    """30 bits that a round adds."""
    return siphash24(key, half.to_bytes(4, "little") + bytes([number])) % (1 << HALF)


def code_of(key: bytes, member_no: int) -> str:
    left, right = divmod(member_no << 28, 1 << HALF)
    for number in range(6):
        left, right = right, left ^ mixed(key, right, number)
    bits = left << HALF | right
    return "".join(LETTERS[bits >> shift & 31] for shift in range(55, -1, -5))


def member_of(key: bytes, code: str) -> int | None:
    bits = 0
    for letter in code:
        bits = bits << 5 | LETTERS.index(letter)
    left, right = divmod(bits, 1 << HALF)
    for number in reversed(range(6)):
        left, right = right ^ mixed(key, left, number), left
    member_no, zeros = divmod(left << HALF | right, 1 << 28)
    return None if zeros else member_no
