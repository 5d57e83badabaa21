"""How one endpoint takes texts: its alphabets in the order they are tried, and how the parts of a long text are told.

Touches: nothing. Rests on: TS 23.038 (alphabets, classes), TS 23.040 9.2.3.16 and 24 (lengths, UDH), SMPP 3.4 5.3.2.22
to 24 (SAR), 5.3.2.32 (message_payload), SMPP_FACTS 11. The octets are the kernel's (octets.h), here and in campaigns.
Weak spots: Latin-1 parts are counted as octets, 140 alone; an SMSC that puts them into GSM 7-bit might take 160. A CR
that ends a packed part just where its last octet ends is taken for filling (TS 23.038 6.1.2.3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from config import Endpoint
from dispatcher.errors import DispatcherError
from dispatcher.text.alphabet import DATA_CODING_GSM7, DATA_CODING_UCS2, GSM7, clean
from dispatcher.text.graphemes import break_classes
from dispatcher.text.national import IE_LOCKING_SHIFT, IE_SINGLE_SHIFT, LANGUAGES, LOCKING, SINGLE, septets_of
from dispatcher.text.octets import MAX_PARTS, Coder, Octets
from dispatcher.text.transliterate import has_address, look_alikes, transliterate

DATA_CODING_LATIN1 = 0x03
USER_DATA_OCTETS = 140  # TS 23.040 9.2.3.16, the UDH included
ALPHABETS = ("gsm", "gsm_packed", "latin1", "ascii")
LONG_AS = ("udh8", "udh16", "sar", "payload")  # their places are the kernel's numbers
ASCII = {chr(code): bytes((code,)) for code in range(0x80) if code not in (0, 0x1B)}
LATIN1 = ASCII | {chr(code): bytes((code,)) for code in range(0x80, 0x100)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How one endpoint takes texts."""

    default_alphabet: str = "gsm"  # what data_coding 0 is there
    latin1: bool = False  # whether data_coding 3 is tried before UCS-2
    ucs2: bool = True  # false: what no other alphabet has raises NotSayable
    transliterate: bool = False  # look-alikes, whether or not a campaign asks for them
    single_shift: int = 0  # national tables tried before that, by their language; 0: none
    locking_shift: int = 0
    long_as: str = "udh8"  # 8-bit reference, "udh16", "sar" TLVs, "payload": the SMSC cuts

    def __post_init__(self) -> None:
        if self.default_alphabet not in ALPHABETS:
            raise ValueError(f"default_alphabet {self.default_alphabet!r}: one of {', '.join(ALPHABETS)}")
        if self.long_as not in LONG_AS:
            raise ValueError(f"long_as {self.long_as!r}: one of {', '.join(LONG_AS)}")
        for name, tables in (("single_shift", SINGLE), ("locking_shift", LOCKING)):
            language = getattr(self, name)
            if language and language not in tables:
                known = ", ".join(f"{number} {LANGUAGES[number]}" for number in sorted(tables) if number)
                raise ValueError(f"{name} {language}: 0 for none, or {known}")


def coding_of(endpoint: Endpoint) -> Coding:
    """As the settings of an endpoint say."""
    languages = {word.lower(): number for number, word in LANGUAGES.items()} | {"": 0}
    return Coding(
        default_alphabet=endpoint.default_alphabet,
        latin1=endpoint.latin1,
        ucs2=endpoint.ucs2,
        transliterate=endpoint.transliterate,
        single_shift=languages[endpoint.single_shift],
        locking_shift=languages[endpoint.locking_shift],
        long_as=endpoint.long_messages,
    )


@dataclass(frozen=True, slots=True)
class Alphabet:
    """One that a text may be in. `table` None is UCS-2; `look_alikes` are those of other characters, also in octets."""

    encoding: str  # GSM7, LATIN1, ASCII or UCS2
    data_coding: int
    table: Mapping[str, bytes] | None
    elements: bytes = b""  # of the UDH: what names national tables
    packed: bool = False  # eight septets in seven octets, after bits that fill up the UDH's last septet
    look_alikes: Mapping[str, bytes] = field(default_factory=dict)

    def room(self, concat_octets: int = 0) -> int:
        """Octets of text that one short_message holds beside what tells the parts."""
        elements = concat_octets + len(self.elements)
        left = USER_DATA_OCTETS - (elements + 1 if elements else 0)
        if self.encoding in ("GSM7", "ASCII"):
            return left * 8 // 7
        return left // 2 * 2 if self.table is None else left

    def octets_of(self, text: str) -> bytes | None:
        """`text` as it stands; None when a character is not in it. NUL, ESC and lone surrogates are spaces."""
        text = clean(text)
        if self.table is None:
            return text.encode("utf-16-be")
        if any(character not in self.table for character in text):
            return None
        return b"".join(map(self.table.__getitem__, text))


class NotSayable(DispatcherError):
    """A text that an endpoint without UCS-2 has no alphabet for; `characters` are those it lacks, in order."""

    def __init__(self, characters: tuple[str, ...]) -> None:
        named = ", ".join(f"{c} U+{ord(c):04X}" for c in characters[:5])
        super().__init__(f"the endpoint takes no UCS-2 and has no {named}{' and others' * (len(characters) > 5)}")
        self.characters = characters


class Encoder:
    """The alphabets of one Coding, compiled. For campaigns and single messages alike; threads may share it."""

    def __init__(self, coding: Coding, message_class: int | None = None, transliterate: bool = False) -> None:
        self.coding = coding
        self.alphabets = _alphabets(coding, message_class, transliterate or coding.transliterate)
        concat = 6 if coding.long_as == "udh16" else 5  # of SAR and payloads the SMSC makes a UDH of its own
        self.kernel = Coder(
            [
                (a.data_coding, a.table, a.look_alikes, a.elements, a.room(), a.room(concat), a.packed)
                for a in self.alphabets
            ],
            LONG_AS.index(coding.long_as),
            break_classes(),
        )

    def encode(self, text: str) -> tuple[int, bytes]:
        """(which alphabet, octets): the first that has all of it, septets unpacked. NUL, ESC and lone surrogates become
        spaces. Raises NotSayable where there is no UCS-2."""
        found = self.kernel.encode(text)
        if found is not None and self.alphabets[found[0]].look_alikes and has_address(text):
            which = found[0]
            said = self.alphabets[which].octets_of(transliterate(text))
            found = (which, said) if said is not None else self.kernel.encode(text, which + 1)
        if found is None:
            raise NotSayable(tuple(self.outside(text)))
        return found

    @property
    def transliterates(self) -> bool:
        """Whether look-alikes may stand in."""
        return any(alphabet.look_alikes for alphabet in self.alphabets)

    def outside(self, text: str) -> list[str]:
        """What keeps `text` out of the alphabet that has most of it, each character once; none where UCS-2 is."""
        missing = [self._lacks(a.table, a.look_alikes, text) for a in self.alphabets if a.table is not None]
        return min(missing, key=len) if len(missing) == len(self.alphabets) else []

    def _lacks(self, table: Mapping[str, bytes], look_alikes: Mapping[str, bytes], text: str) -> list[str]:
        if look_alikes and has_address(text):
            text, look_alikes = transliterate(text), {}
        return [c for c in dict.fromkeys(clean(text)) if c not in table and c not in look_alikes]

    def cuts(self, which: int, octets: Octets, max_parts: int = MAX_PARTS) -> list[int]:
        """Where each part of an encoded text ends, in octets; [] when that is over `max_parts`. Nothing that people
        take for one character is cut, unless it is longer than a part; never a pair of ESC and octet or of surrogates.
        """
        return self.kernel.cuts(which, octets, max_parts)


@lru_cache(64)
def encoder(coding: Coding, message_class: int | None = None, transliterate: bool = False) -> Encoder:
    """`message_class` 0 is flash; Latin-1 has no classes. `transliterate`: look-alikes rather than UCS-2."""
    return Encoder(coding, message_class, transliterate)


@lru_cache(1)
def usual() -> Encoder:
    """As most endpoints take texts: GSM 7-bit, else UCS-2; 8-bit references."""
    return encoder(Coding())


def encode(text: str) -> tuple[int, bytes]:
    """(data_coding, octets) as usual()."""
    by = usual()
    which, octets = by.encode(text)
    return by.alphabets[which].data_coding, octets


def _alphabets(coding: Coding, message_class: int | None, transliterate: bool) -> tuple[Alphabet, ...]:
    """GSM 7-bit, its national tables, GSM 7-bit by look-alikes, Latin-1, UCS-2, as far as they are wished for."""
    found: list[Alphabet] = []
    default = coding.default_alphabet
    packed = default == "gsm_packed"
    if default.startswith("gsm") or message_class is not None:
        data_coding = DATA_CODING_GSM7 if message_class is None else 0xF0 | message_class
        found.append(Alphabet("GSM7", data_coding, GSM7, packed=packed))
        for single, locking in dict.fromkeys(((coding.single_shift, 0), (coding.single_shift, coding.locking_shift))):
            if single or locking:
                shifts = ((IE_SINGLE_SHIFT, single), (IE_LOCKING_SHIFT, locking))
                elements = b"".join(bytes((element, 1, language)) for element, language in shifts if language)
                found.append(Alphabet("GSM7", data_coding, septets_of(single, locking), elements, packed))
        if transliterate:
            stand_ins = {of: b"".join(GSM7[c] for c in text) for of, text in look_alikes().items()}
            found.append(Alphabet("GSM7", data_coding, GSM7, b"", packed, stand_ins))
            if len(found) == 2:
                del found[0]  # the other has all of it
    elif default == "ascii":
        found.append(Alphabet("ASCII", DATA_CODING_GSM7, ASCII))
    if message_class is None and (coding.latin1 or default == "latin1"):
        found.append(Alphabet("LATIN1", DATA_CODING_GSM7 if default == "latin1" else DATA_CODING_LATIN1, LATIN1))
    if coding.ucs2:
        found.append(Alphabet("UCS2", DATA_CODING_UCS2 if message_class is None else 0x18 | message_class, None))
    return tuple(found)
