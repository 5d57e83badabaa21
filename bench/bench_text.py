"""Encoding and cutting texts: the compiled encoder against the plain Python reference and smpplib's make_parts."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence

from smpplib import gsm

from bench.harness import best_of, report
from dispatcher.text.coding import encode
from dispatcher.text.parts import parts
from tests.reference import coding as reference

TEXTS = 2_000


def texts(seed: int = 1) -> list[str]:
    """Four in five fit GSM 7-bit; one in four is long."""
    draw = random.Random(seed)
    words = ["dear", "customer", "your", "points", "wait", "at", "the", "shop", "[new]", "€5", "off"]
    made = []
    for no in range(TEXTS):
        text = " ".join(draw.choice(words) for _ in range(60 if no % 4 == 0 else 15))
        made.append(text + "您好" if no % 5 == 0 else text)
    return made


def main(argv: Sequence[str]) -> int:
    sample = texts()
    assert [encode(text) for text in sample] == [reference.encode(text) for text in sample]
    for text in sample:
        theirs, data_coding, _ = gsm.make_parts(text)
        ours = parts(text, theirs[0][3] if len(theirs) > 1 else 0)
        cut = any(part.endswith(b"\x1b") for part in theirs)  # smpplib cuts pairs: its own FIXME
        assert cut or [part.octets for part in ours] == theirs, text
        assert ours[0].data_coding == data_coding
    reference_s, encode_s = best_of(
        3, lambda: [reference.encode(text) for text in sample], lambda: [encode(text) for text in sample]
    )
    smpplib_s, parts_s = best_of(
        3, lambda: [gsm.make_parts(text) for text in sample], lambda: [parts(text, 1) for text in sample]
    )
    report(
        "text",
        {
            "encode_a_second": round(TEXTS / encode_s),
            "encode_times_reference": round(reference_s / encode_s, 1),
            "parts_a_second": round(TEXTS / parts_s),
            "parts_times_smpplib": round(smpplib_s / parts_s, 1),
        },
        "--json" in argv,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
