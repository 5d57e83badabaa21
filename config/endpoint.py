"""[[endpoint]]: one SMSC account, its binds, their timers, its dialect.

Touches: nothing. The reason for each default stands beside the key in volley.example.toml.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from config.rules import SettingError, between, nearest, octets, one_of, place

BIND_AS = ("trx", "tx_rx")
RECEIPT_IDS = ("same", "hex_decimal", "decimal_hex")
ALPHABETS = ("gsm", "gsm_packed", "latin1", "ascii")
LONG_MESSAGES = ("udh8", "udh16", "sar", "payload")
# the national tables of TS 23.038 annex A; text/national.py has them, a test compares
SINGLE_SHIFTS = (
    "", "turkish", "spanish", "portuguese", "bengali", "gujarati", "hindi", "kannada", "malayalam", "oriya", "punjabi",
    "tamil", "telugu", "urdu",
)  # fmt: skip
LOCKING_SHIFTS = tuple(language for language in SINGLE_SHIFTS if language != "spanish")

STATUSES_MAX = 2_048  # command_status values that may have a meaning of their own at an endpoint
STATUS_WORDS = ("throttle", "later", "retry", "fail", "hold", "close")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """[[endpoint]]: one SMSC account. Read once at start; a reload replaces it whole."""

    name: str
    host: str
    system_id: str
    password: str = field(default="", repr=False)
    port: int = 2775
    addresses: tuple[str, ...] = ()  # more of the same SMSC, host:port, tried in turn
    tls: bool = False
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_server_name: str = ""
    tls_pin: str = ""
    system_type: str = ""
    bind_as: str = "trx"
    binds: int = 4
    outbind_listen: str = ""  # host:port where the SMSC may call and tell us to bind
    statuses: dict[str, str] = field(default_factory=dict)  # command_status -> what it means here
    weight: int = 1  # of a route's share, where the route names none
    window: int = 100  # requests unanswered on one bind
    rate: int = 0  # parts a second of the whole account, 0 = no limit
    bind_rate: int = 0  # parts a second of one bind, 0 = no limit
    adapt_rate: bool = True  # look for the SMSC's own limit after it throttled
    response_timeout_s: float = 30.0
    enquire_link_s: float = 30.0
    inactivity_s: float = 0.0
    bind_timeout_s: float = 10.0
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 60.0
    source_addr: str = ""
    source_ton: int = 1
    source_npi: int = 1
    dest_ton: int = 1
    dest_npi: int = 1
    receipt_ids: str = "same"
    default_alphabet: str = "gsm"  # what data_coding 0 means there
    latin1: bool = False  # texts that Latin-1 has go as data_coding 3 rather than UCS-2
    ucs2: bool = True  # false: what no other alphabet has is not sent
    transliterate: bool = False  # look-alikes of GSM 7-bit rather than UCS-2, for every text
    single_shift: str = ""  # a national table behind ESC, tried before those two
    locking_shift: str = ""  # one in place of the basic table
    long_messages: str = "udh8"

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 32 or not self.name.replace("-", "").replace("_", "").isalnum():
            raise SettingError("name", self.name, "1 to 32 letters, digits, - or _")
        if not self.host:
            raise SettingError("host", self.host, "a host name or address")
        between("port", self.port, 1, 65_535)
        for address in self.addresses:
            place("addresses", address)
        if self.outbind_listen:
            place("outbind_listen", self.outbind_listen)
        self._tls_rules()
        one_of("bind_as", self.bind_as, BIND_AS)
        octets("system_id", self.system_id, 1, 15)
        octets("password", self.password, 0, 8)
        octets("system_type", self.system_type, 0, 12)
        octets("source_addr", self.source_addr, 0, 20)
        between("binds", self.binds, 1, 64)
        between("window", self.window, 1, 10_000)
        between("rate", self.rate, 0, 10_000_000, "parts/s, 0 for no limit")
        for status, word in self.statuses.items():
            _status(status, word)
        between("weight", self.weight, 1, 1_000)
        between("bind_rate", self.bind_rate, 0, 10_000_000, "parts/s, 0 for no limit")
        if self.inactivity_s:
            between(
                "inactivity_s", self.inactivity_s, self.enquire_link_s, 86_400, "s, from enquire_link_s on, 0 for none"
            )
        between("response_timeout_s", self.response_timeout_s, 0.1, 3_600, "s")
        between("enquire_link_s", self.enquire_link_s, 0.1, 3_600, "s")
        between("bind_timeout_s", self.bind_timeout_s, 0.1, 300, "s")
        between("reconnect_min_s", self.reconnect_min_s, 0.01, 3_600, "s")
        between("reconnect_max_s", self.reconnect_max_s, self.reconnect_min_s, 86_400, "s, from reconnect_min_s on")
        for key in ("source_ton", "source_npi", "dest_ton", "dest_npi"):
            between(key, getattr(self, key), 0, 255)
        one_of("receipt_ids", self.receipt_ids, RECEIPT_IDS)
        one_of("default_alphabet", self.default_alphabet, ALPHABETS)
        one_of("single_shift", self.single_shift, SINGLE_SHIFTS)
        one_of("locking_shift", self.locking_shift, LOCKING_SHIFTS)
        one_of("long_messages", self.long_messages, LONG_MESSAGES)
        for key in ("single_shift", "locking_shift", "transliterate"):
            if getattr(self, key) and not self.default_alphabet.startswith("gsm"):
                rule = 'of GSM 7-bit: default_alphabet is to be "gsm" or "gsm_packed"'
                raise SettingError(key, getattr(self, key), rule)

    def _tls_rules(self) -> None:
        """Half of it is a mistake: nobody means to send a password in clear text beside a certificate."""
        for key in ("tls_ca", "tls_cert", "tls_key", "tls_server_name", "tls_pin"):
            if getattr(self, key) and not self.tls:
                raise SettingError(key, getattr(self, key), "means nothing without tls = true")
        if bool(self.tls_cert) != bool(self.tls_key):
            key = "tls_key" if self.tls_cert else "tls_cert"
            raise SettingError(key, "", "tls_cert and tls_key go together")
        digits = self.tls_pin.replace(":", "").lower()
        if self.tls_pin and (len(digits) != 64 or set(digits) - set("0123456789abcdef")):
            raise SettingError(
                "tls_pin", self.tls_pin, "64 hex digits: sha256 of the certificate, or of its public key"
            )

    @property
    def is_local(self) -> bool:
        """A simulator, or a proxy, on this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """Where the SMSC answers, in the order of trying."""
        return ((self.host, self.port), *(place("addresses", address) for address in self.addresses))


def _status(status: str, word: str) -> None:
    rule = f'"0x1" to "0x{STATUSES_MAX - 1:X}", in hex or decimal'
    try:
        value = int(status, 0)
    except ValueError:
        raise SettingError("statuses", status, rule) from None
    if not 0 < value < STATUSES_MAX:
        raise SettingError("statuses", status, rule)
    if word not in STATUS_WORDS:
        raise SettingError(
            f"statuses.{status}", word, "one of " + ", ".join(STATUS_WORDS), nearest=nearest(word, STATUS_WORDS)
        )
