"""National language tables: what septets mean behind a user data header that says so (elements 0x24 and 0x25).

Touches: nothing. Rests on: 3GPP TS 23.038 annex A (tables) and TS 23.040 9.2.3.24.15 and 16 (elements). A table is a
string of 128 characters; a space where the standard has none. The tables of India follow one plan, each letter at its
own offset in its Unicode block; so here they are a block, its gaps and what does not follow the plan.
"""

from __future__ import annotations

from dispatcher.text.alphabet import BASIC, ESC, EXTENSION

IE_SINGLE_SHIFT, IE_LOCKING_SHIFT = 0x24, 0x25
LANGUAGES: dict[int, str] = {
    1: "Turkish", 2: "Spanish", 3: "Portuguese", 4: "Bengali", 5: "Gujarati", 6: "Hindi", 7: "Kannada",
    8: "Malayalam", 9: "Oriya", 10: "Punjabi", 11: "Tamil", 12: "Telugu", 13: "Urdu",
}  # fmt: skip

_TURKISH = BASIC.translate(str.maketrans("èìØøÆæ¡¿", "€ıĞğŞşİç"))
_PORTUGUESE = (
    "@£$¥êéúíóç\nÔô\rÁá"
    "Δ_ªÇÀ∞^\\€Ó|\x1bÂâÊÉ"
    " !\"#º%&'()*+,-./"
    "0123456789:;<=>?"
    "ÍABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÃÕÚÜ§"
    "~abcdefghijklmno"
    "pqrstuvwxyzãõ`üà"
)
_URDU = (
    "\u0627\u0622\u0628\u067b\u0680\u067e\u06a6\u062a\u06c2\u067f\n\u0679\u067d\r\u067a\u067c"
    "\u062b\u062c\u0681\u0684\u0683\u0685\u0686\u0687\u062d\u062e\u062f\x1b\u068c\u0688\u0689\u068a"
    " !\u068f\u068d\u0630\u0631\u0691\u0693)(\u0699\u0632,\u0696.\u0698"
    "0123456789:;\u069a\u0633\u0634?"
    "\u0635\u0636\u0637\u0638\u0639\u0641\u0642\u06a9\u06aa\u06ab\u06af\u06b3\u06b1\u0644\u0645\u0646"
    "\u06ba\u06bb\u06bc\u0648\u06c4\u06d5\u06c1\u06be\u0621\u06cc\u06d0\u06d2\u064d\u0650\u064f\u0657"
    "\u0654abcdefghijklmno"
    "pqrstuvwxyz\u0655\u0651\u0653\u0656\u0670"
)

# offsets of a block's letters in the order of their septets; the other septets, in _INDIAN_PLAN, are the same for all
_LETTERS = [*range(0x01, 0x04), *range(0x05, 0x3A), *range(0x3C, 0x4E)]
_SAME = dict(zip([0x0A, 0x0D, ESC, *range(0x20, 0x22), 0x28, 0x29, 0x2C, 0x2E], "\n\r\x1b !)(,.", strict=True))
_SAME |= dict(zip(range(0x30, 0x3C), "0123456789:;", strict=True)) | {0x3F: "?"}
_SAME |= dict(zip(range(0x61, 0x7B), "abcdefghijklmnopqrstuvwxyz", strict=True))
_ODD = (0x60, *range(0x7B, 0x80))  # not by the plan
# language -> (block, offsets it lacks, the six that are not by the plan)
_BLOCKS: dict[int, tuple[int, str, str]] = {
    4: (0x0980, "0D 0E 11 12 29 31 33 34 35 45 46 49 4A", "4E 57 5C 5D 70 71"),
    5: (0x0A80, "0E 12 29 31 34 46 4A", "50 60 61 62 63 71"),
    6: (0x0900, "", "50 72 7B 7C 7E 7F"),
    7: (0x0C80, "01 0D 11 29 34 45 49", "55 56 60 61 62 63"),
    8: (0x0D00, "01 0D 11 29 3C 45 49", "57 60 61 62 63 79"),
    9: (0x0B00, "0D 0E 11 12 29 31 34 45 46 49 4A", "56 57 60 61 62 63"),
    10: (0x0A00, "0B 0C 0D 0E 11 12 29 31 34 37 3D 43 44 45 46 49 4A", "51 70 71 72 73 74"),
    11: (
        0x0B80,
        "01 0B 0C 0D 11 16 17 18 1B 1D 20 21 22 25 26 27 2B 2C 2D 3C 3D 43 44 45 49",
        "50 57 70 71 72 79",
    ),
    12: (0x0C00, "0D 11 29 34 3C 45 49", "55 56 60 61 62 63"),
}


def _indian(block: int, lacks: str, odd: str) -> str:
    table = [" "] * 128
    for septet, character in _SAME.items():
        table[septet] = character
    gaps = set(bytes.fromhex(lacks))
    free = [septet for septet in range(0x60) if septet not in _SAME]
    for septet, offset in zip(free, _LETTERS, strict=True):
        table[septet] = " " if offset in gaps else chr(block + offset)
    for septet, offset in zip(_ODD, bytes.fromhex(odd), strict=True):
        table[septet] = chr(block + offset)
    return "".join(table)


LOCKING: dict[int, str] = {1: _TURKISH, 3: _PORTUGUESE, 13: _URDU} | {
    language: _indian(*how) for language, how in _BLOCKS.items()
}

_PAIRS = {octet: character for character, octet in EXTENSION.items()}
# The same in all of India and Urdu; then, in _SLOTS, what each language adds.
_INDIAN_PAIRS = (
    dict(enumerate("@£$¥¿\"¤%&'\f*+"))
    | dict(zip((0x0E, 0x0F, *range(0x10, 0x19)), "-/<=>¡^¡_#*", strict=True))
    | {0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|", 0x65: "€"}
    | {septet: chr(septet) for septet in range(0x41, 0x5B)}
)
_SLOTS = (0x19, 0x1A, *range(0x1C, 0x28), *range(0x2A, 0x2F), *range(0x30, 0x3C), 0x3F)
_DANDAS = "\u0964\u0965"


def _run(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


_ADDED: dict[int, str] = {
    4: _run(0x9E6, 0x9EF) + "\u09df" + _run(0x9E0, 0x9E3) + _run(0x9F2, 0x9FA),
    5: _DANDAS + _run(0xAE6, 0xAEF),
    6: _DANDAS + _run(0x966, 0x96F) + _run(0x951, 0x954) + _run(0x958, 0x963) + "\u0970\u0971",
    7: _DANDAS + _run(0xCE6, 0xCEF) + "\u0cde\u0cf1\u0cf2",
    8: _DANDAS + _run(0xD66, 0xD75) + _run(0xD7A, 0xD7F),
    9: _DANDAS + _run(0xB66, 0xB6F) + "\u0b5c\u0b5d\u0b5f\u0b70\u0b71",
    10: _DANDAS + _run(0xA66, 0xA6F) + "\u0a59\u0a5a\u0a5b\u0a5c\u0a5e\u0a75",
    11: _DANDAS + _run(0xBE6, 0xBEF) + _run(0xBF3, 0xBF8) + "\u0bfa",
    12: "  " + _run(0xC66, 0xC6F) + "\u0c58\u0c59" + _run(0xC78, 0xC7F),
    13: "\u0600\u0601"
    + _run(0x6F0, 0x6F9)
    + _run(0x60C, 0x614)
    + "\u061b\u061f\u0640\u0652\u0658\u066b\u066c\u0672\u0673\u06cd\u06d4",
}


def _pairs(added: str) -> dict[int, str]:
    here = {septet: character for septet, character in zip(_SLOTS, added, strict=False) if character != " "}
    return _INDIAN_PAIRS | here


# language -> octet behind ESC -> character
SINGLE: dict[int, dict[int, str]] = {
    0: _PAIRS,
    1: _PAIRS | {0x47: "Ğ", 0x49: "İ", 0x53: "Ş", 0x63: "ç", 0x67: "ğ", 0x69: "ı", 0x73: "ş"},
    2: _PAIRS | dict(zip(b"\x09AIOUaiou", "çÁÍÓÚáíóú", strict=True)),
    3: _PAIRS
    | dict(zip(b"\x05\x09\x0b\x0c\x0e\x0f\x12\x13\x15\x16\x17\x18\x19\x1f", "êçÔôÁáΦΓΩΠΨΣΘÊ", strict=True))
    | dict(zip(b"AIOU\x5b\x5caiou\x7b\x7c\x7f", "ÀÍÓÚÃÕÂíóúãõâ", strict=True)),
} | {language: _pairs(added) for language, added in _ADDED.items()}


def septets_of(single: int, locking: int) -> dict[str, bytes]:
    """character -> its octets under these tables (0: the default ones), one septet each before pairs."""
    base = LOCKING.get(locking, BASIC)
    pairs = {character: bytes((ESC, octet)) for octet, character in SINGLE.get(single, _PAIRS).items()}
    alone = {c: bytes((octet,)) for octet, c in enumerate(base) if octet != ESC and (c != " " or octet == 0x20)}
    return pairs | alone
