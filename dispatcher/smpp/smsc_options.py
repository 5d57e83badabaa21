"""What the simulator is told: SmscOptions, its delays, its accounts, and the rule each value keeps.

Touches: nothing. Rests on: smsc_state.h's limits. Shares are per cent; `every` is counted over all submit_sm of all
connections, 0 is never; what is drawn is drawn from a message's number, so that a run can be repeated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Literal

from dispatcher.smpp.consts import (
    DATA_CODING_DEFAULT,
    DATA_CODING_UCS2,
    ESME_RALYBND,
    ESME_RBINDFAIL,
    ESME_RINVPASWD,
    ESME_RINVSYSID,
    ESME_ROK,
    MESSAGE_STATES,
)
from dispatcher.smpp.pdu import Bind
from dispatcher.smpp.smsc_garbage import GARBAGE, KINDS

STATES_MAX, RULES_MAX = 16, 64  # smsc_state.h has room for as many
QUANTILES = 4096  # of a delay's distribution: a power of 2
ID_FORMS = ("decimal", "hex", "hex-upper", "padded", "hex-padded", "long")  # long: above 64 bits
DROPS = ("fin", "rst", "unbind", "unbind-late", "half-open")
MO_ORDERS = ("forward", "reverse", "shuffled")
NUMBER_OF_STATE = {word: number for number, word in MESSAGE_STATES.items()}
RUN_OPTIONS = frozenset(  # those of a whole run, which no phase changes
    ("host", "port", "log", "mo", "mo_parts", "tls_cert", "tls_key", "tls_client_ca", "outbind", "accounts")
)

# short_message octets by (esm_class, data_coding): what an encoder of texts answers, a tuple a part.
PartOctets = tuple[int, int, bytes]


def plain_parts(text: str, reference: int) -> Sequence[PartOctets]:
    """Without the text room: what GSM 7-bit and ASCII share goes out as it is, the rest as UCS-2, all in one part."""
    if re.fullmatch(r"[A-Za-z0-9 \r\n!\"#%&'()*+,\-./:;<=>?]*", text):
        return [(0, DATA_CODING_DEFAULT, text.encode("ascii"))]
    return [(0, DATA_CODING_UCS2, text.encode("utf-16-be", "replace"))]


@dataclass(frozen=True, slots=True)
class Delay:
    """A distribution of ms: uniform between a and b, lognormal of median a and sigma b, exponential of mean a."""

    kind: Literal["uniform", "lognormal", "exponential"]
    a: float
    b: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.a <= 1e8 and 0 <= self.b <= 1e8) or (self.kind == "uniform" and self.b < self.a):
            raise ValueError(f"delay {self.kind}:{self.a:g}:{self.b:g}: from 0 to 10^8 ms, the smaller first")

    def quantile(self, p: float) -> float:
        """Milliseconds that a share `p` of the draws, inside 0 and 1, does not pass."""
        if self.kind == "uniform":
            return self.a + (self.b - self.a) * p
        if self.kind == "lognormal":
            return min(1e8, self.a * math.exp(self.b * NormalDist().inv_cdf(p)))
        return -self.a * math.log1p(-p)


def delays_ns(delay: int | Delay) -> list[int]:
    """The table that the kernel draws from; empty for none."""
    if isinstance(delay, Delay):
        return [int(delay.quantile((i + 0.5) / QUANTILES) * 1e6) for i in range(QUANTILES)]
    return [delay * 1_000_000] if delay else []


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountOptions:
    """One that may bind."""

    system_id: str
    password: str | None = None  # None: any
    binds: int = 0  # at once; 0: as many as it likes
    tps: int = 0  # accepted submit_sm in any second over all its binds; 0: no limit
    bind_tps: int = 0  # and over each

    def __post_init__(self) -> None:
        if not 1 <= len(self.system_id) <= 15:
            raise ValueError(f"account {self.system_id!r}: a system_id of 1 to 15 characters")
        for name in ("binds", "tps", "bind_tps"):
            if not 0 <= getattr(self, name) <= 10**8:
                raise ValueError(f"account {self.system_id}: {name} {getattr(self, name)}: 0 to 100000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class SmscOptions:
    """How the simulator behaves."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: the system picks one
    tls_cert: Path | None = None  # with it every connection begins with a TLS handshake
    tls_key: Path | None = None
    tls_client_ca: Path | None = None  # a client has to show a certificate of this authority
    outbind: str | None = None  # HOST:PORT of an ESME that is called and told to bind
    enquire_link_s: float = 0.0  # of ours, after so long a silence; 0: never; 10 s unanswered end the connection
    inactivity_s: float = 0.0  # a connection over which nothing came for so long ends; 0: never
    # binds
    accounts: tuple[AccountOptions, ...] = ()  # none: anybody may bind, with any password
    tps: int = 0  # accepted submit_sm in any sliding second, all connections together; 0: no limit
    account_tps: int = 0  # of each account that states none
    bind_tps: int = 0
    refuse_binds: int = 0  # the first N binds; -1: all of them
    refuse_for_s: float = 0.0  # binds within so long of the start, or of the phase's
    refuse_status: int = ESME_RBINDFAIL
    mute_binds: int = 0  # the first N binds asked for are never answered; -1: none is
    # answers
    delay_ms: int | Delay = 0  # from a submit_sm to its answer, in steps of 2 ms; what is due sooner goes sooner
    shuffle_answers: int = 0  # answers due together leave in any order within groups of N
    mute_every: int = 0  # not accepted, not logged, never answered
    answer_lost_every: int = 0  # accepted, logged, never answered
    answer_twice_every: int = 0
    status_every: tuple[tuple[int, int], ...] = ()  # (every, command_status)
    status_number: tuple[tuple[str, int], ...] = ()  # (destination with * and ?, command_status)
    status_of_numbers: tuple[tuple[float, int], ...] = ()  # (per cent of the numbers, always the same; status)
    status_share: tuple[tuple[float, int], ...] = ()  # (per cent of the submit_sm, command_status)
    queue: tuple[int, int] = (0, 0)  # (room for N messages of an account, sent on at so many a second): 0x14 when full
    congestion: int | Literal["auto"] | None = None  # congestion_state in answers; auto: how full queue and caps are
    garbage_every: int = 0
    garbage: tuple[str, ...] = tuple(GARBAGE)  # one after the other
    # connections
    drop_every: int = 0  # end the connection instead of answering; every second one is accepted and logged before
    drop_how: str = "fin"  # unbind-late: unbind, and the answer behind it
    read_rate: float = 0.0  # octets a second read of one connection; 0: all that come
    write_rate: float = 0.0
    # receipts
    receipts: float = 100.0  # per cent of those accepted that asked for one
    receipt_delay_ms: int | Delay = 0  # from acceptance to the receipt, in steps of 2 ms
    receipt_tlvs: bool = False  # receipted_message_id and message_state beside the text
    receipt_twice_every: int = 0  # every Nth receipt is sent twice
    receipt_pending_every: int = 0  # every Nth has an intermediate notification, ENROUTE, before it and behind it
    receipt_unknown_every: int = 0  # every Nth receipt is followed by one for an id that never was
    receipt_early_every: int = 0  # the answer to every Nth waits until its receipt is out
    receipt_other_bind: float = 0.0  # per cent that come over another bind of the account, when there is one
    hold_receipts: int = 0  # kept back until there are N, an idle hold_idle_s, a signal, the phase's end
    hold_idle_s: float = 1.0  # 0: for ever
    deliver_window: int = 10_000  # deliver_sm unanswered on one bind
    ids: str = "decimal"  # form of message_id in answers, TLVs and the log
    receipt_ids: str = "decimal"  # form in the receipt's text
    states: tuple[tuple[str, int, str], ...] = (("DELIVRD", 1, "000"),)  # (word, weight, err)
    # acknowledgements of the phones (5.2.12), of what was delivered, asked for or not
    delivery_acks: float = 0.0  # per cent that the phone acknowledges: esm_class 0x08
    user_acks: float = 0.0  # per cent that who holds it acknowledges: esm_class 0x10
    ack_text: str = "1"  # what they say
    # texts from phones
    mo: Path | None = None  # followed: lines of from, to, text, separated by tabs; `wait SECONDS`; `pdu HEX`
    mo_parts: Callable[[str, int], Sequence[PartOctets]] = plain_parts
    mo_rate: float = 0.0  # made up, a second
    mo_from: str = "4915100000000"  # the first source
    mo_sources: int = 1
    mo_to: str = "777"
    mo_texts: tuple[str, ...] = ("STOP",)  # in turn
    mo_order: str = "forward"  # of the parts of one text
    mo_reference_bits: int = 8
    mo_part_lost_every: int = 0
    mo_part_twice_every: int = 0
    # what is kept
    log: Path | None = None
    count_repeats: bool = False  # the same sender, number, text and part accepted again: 16 octets of memory each

    def __post_init__(self) -> None:
        for name, words in (("ids", ID_FORMS), ("receipt_ids", ID_FORMS), ("drop_how", DROPS), ("mo_order", MO_ORDERS)):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} {getattr(self, name)!r}: {', '.join(words)}")
        most_of: dict[str, int] = {"port": 65535, "receipts": 100, "receipt_other_bind": 100, "refuse_for_s": 10**6}
        most_of |= {"delivery_acks": 100, "user_acks": 100}
        most_of |= {"shuffle_answers": 10**6, "hold_idle_s": 10**6, "mo_rate": 10**7}
        most_of |= dict.fromkeys(
            ("tps", "account_tps", "bind_tps", "hold_receipts", "delay_ms", "receipt_delay_ms"), 10**8
        )
        most_of |= {"enquire_link_s": 10**6, "inactivity_s": 10**6}
        most_of |= dict.fromkeys(("read_rate", "write_rate"), 10**10)
        most_of |= {name: 1 << 63 for name in self.__slots__ if name.endswith("_every") and name != "status_every"}
        for name, most in most_of.items():
            if not isinstance(getattr(self, name), Delay) and not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} {getattr(self, name)}: 0 to {most}")
        if not 1 <= self.deliver_window <= 1 << 20:
            raise ValueError(f"deliver_window {self.deliver_window}: 1 to {1 << 20}")
        if self.mo_reference_bits not in (8, 16):
            raise ValueError(f"mo_reference_bits {self.mo_reference_bits}: 8 or 16")
        if not self.mo_from.isdecimal() or not 1 <= len(self.mo_from) <= 20 or not 1 <= self.mo_sources <= 10**9:
            raise ValueError(
                f"mo_from {self.mo_from!r}, mo_sources {self.mo_sources}: 1 to 20 digits, 1 to 10^9 of them"
            )
        if len(self.ack_text) > 20 or not self.ack_text.isascii():
            raise ValueError(f"ack_text {self.ack_text!r}: at most 20 characters of ASCII")
        if not self.mo_texts:
            raise ValueError("mo_texts: at least one")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key: one does not go without the other")
        if self.outbind is not None:
            host, _, port = self.outbind.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
                raise ValueError(f"outbind {self.outbind!r}: HOST:PORT")
        if self.congestion not in (None, "auto") and not 0 <= int(self.congestion) <= 100:
            raise ValueError(f"congestion {self.congestion}: 0 to 100, or auto")
        if self.queue[0] and not (0 < self.queue[0] <= 10**9 and 1 <= self.queue[1] <= 10**9):
            raise ValueError(f"queue {self.queue[0]}:{self.queue[1]}: room and messages a second, from 1")
        self._check_lists()

    def _check_lists(self) -> None:
        for name, most in (("states", STATES_MAX), ("rules", RULES_MAX), ("garbage", RULES_MAX)):
            if len(getattr(self, name)) > most:
                raise ValueError(f"{name}: {len(getattr(self, name))} of them, at most {most}")
        for kind, value, status in self.rules:
            if not 0 < status < 1 << 32:
                raise ValueError(f"status_{kind} {value}:0x{status:X}: a command_status other than ESME_ROK")
            if isinstance(value, str):
                if not 1 <= len(value) <= 20 or not value.isascii():
                    raise ValueError(f"status_{kind} {value!r}: 1 to 20 characters, * and ? among them")
            elif not 0 <= value < (1 << 63 if kind == "every" else 100.000001):
                raise ValueError(f"status_{kind} {value}:0x{status:X}: a count, or 0 to 100 per cent")
        for word, weight, _ in self.states:
            if word not in NUMBER_OF_STATE or weight < 1:
                raise ValueError(f"state {word}:{weight}: one of {', '.join(NUMBER_OF_STATE)}, weight from 1")
        for kind in self.garbage:
            if kind not in KINDS:
                raise ValueError(f"garbage {kind!r}: one of {', '.join(KINDS)}")
        if len({account.system_id for account in self.accounts}) < len(self.accounts):
            raise ValueError("accounts: a system_id occurs twice")

    @property
    def rules(self) -> tuple[tuple[str, int | float | str, int], ...]:
        """What is refused, as (kind, value, command_status); the first that applies counts."""
        return (
            *(("every", every, status) for every, status in self.status_every),
            *(("number", pattern, status) for pattern, status in self.status_number),
            *(("of_numbers", share, status) for share, status in self.status_of_numbers),
            *(("share", share, status) for share, status in self.status_share),
        )

    def answer_delays_ns(self) -> list[int]:
        return delays_ns(self.delay_ms)

    def receipt_delays_ns(self) -> list[int]:
        return delays_ns(self.receipt_delay_ms)

    @property
    def waits(self) -> bool:
        """Whether anything waits for its time."""
        return bool(
            self.delay_ms or self.receipt_delay_ms or self.receipt_early_every or self.hold_receipts or self.mo_rate
        )

    def refuses(self, binds_before: int) -> bool:
        """Whether a bind is refused after so many were asked for."""
        return self.refuse_binds < 0 or binds_before < self.refuse_binds

    def mutes(self, binds_before: int) -> bool:
        return self.mute_binds < 0 or binds_before < self.mute_binds

    def account_of(self, system_id: str) -> AccountOptions | None:
        """Who binds under this name; None when nobody may."""
        if not self.accounts:
            return AccountOptions(system_id=system_id or "-", tps=self.account_tps, bind_tps=self.bind_tps)
        return next((account for account in self.accounts if account.system_id == system_id), None)

    def bind_status(self, bind: Bind, bound: int) -> int:
        """ESME_ROK, or why this one may not bind while so many of its account are bound."""
        account = self.account_of(bind.system_id)
        if account is None:
            return ESME_RINVSYSID
        if account.password is not None and account.password != bind.password:
            return ESME_RINVPASWD
        return ESME_RALYBND if account.binds and bound >= account.binds else ESME_ROK
