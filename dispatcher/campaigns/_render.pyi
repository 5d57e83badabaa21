from dispatcher.text.octets import Coder, Octets

OPS: dict[str, int]
NO_PIECE: int
LONGEST_KEPT: int

class Held:
    def __init__(
        self,
        program: tuple[bytes, bytes, bytes, bytes, int, bytes | None],
        by: Coder,
        buffers: list[Octets],
        widths: bytes,
        slots: int,
        max_parts: int,
        optout_plane: int,
        bill_first: int = 0,
        bill_more: int = 0,
    ) -> None: ...

def leaps_of(literals: list[bytes]) -> bytes: ...
def render(
    held: Held, todo: Octets, audience: Octets, rank_base: int, first_member: int, seed: int, max_rows: int
) -> tuple[bytearray, bytearray, int, int, int]: ...
def skip(
    skipped: Octets, audience: Octets, rank_base: int, first_member: int, decision: int, max_rows: int
) -> tuple[bytearray, int, int]: ...
def count(
    held: Held, todo: Octets
) -> tuple[dict[int, int], dict[int, int], dict[int, int], int, list[tuple[int, int, int]], list[str]]: ...
