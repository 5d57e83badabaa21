"""Typed names of the compiled pump, its base included."""

from dispatcher.smpp._book import Book

CLOSED: int
OFF_PATH: int
BROKEN: int
BLOCKED: int

class Pump:
    draining: bool
    window: int
    in_flight: int
    blocked: bool
    closed: bool
    broken: bool
    stalled: bool
    last_errno: int
    submits: int
    responses: int
    delivers: int
    enquire_links: int
    timeouts: int
    timeouts_in_row: int
    last_received_ns: int
    last_status: int
    octets_in: int
    octets_out: int
    rtt_sum_ns: int
    rtt_count: int
    def __init__(self, book: Book, fd: int, window: int, *, first_seq: int = 2) -> None: ...
    @property
    def full(self) -> bool: ...
    @property
    def idle(self) -> bool: ...
    @property
    def waiting_answers(self) -> int: ...
    def cut(self) -> None: ...
    def committed(self) -> None: ...
    def queue(self, octets: bytes) -> None: ...
    def next_sequence_number(self) -> int: ...
    def take_off(self) -> list[bytes]: ...
    def pull(self) -> int: ...
    def push(self) -> int: ...
    def tick(self, now_ns: int, response_timeout_ns: int) -> int: ...
    def flying_to(self, number: int) -> int: ...
    def close(self) -> None: ...
