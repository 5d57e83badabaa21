"""`volley text`: what a text costs and how it goes out, before anybody sends it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import click

from config import SettingError, load
from dispatcher.cli.smpp_tools import _plain, _table
from dispatcher.tenants import profile as profiles
from dispatcher.text.alphabet import is_forbidden, normalise, outside_gsm7
from dispatcher.text.coding import LONG_AS, Coding, Encoder, NotSayable, coding_of, encoder
from dispatcher.text.national import LANGUAGES
from dispatcher.text.parts import TAG_MESSAGE_PAYLOAD, TextTooLong, billed, parts_by
from dispatcher.text.transliterate import changes, transliterate

UNSEEN = {"": "nothing", " ": "a space"}
SUMMARY = ("encoding", "data_coding", "characters", "parts")


@click.command("text")
@click.argument("text", metavar="STRING")
@click.option("--endpoint", metavar="E", help="As this endpoint of the settings takes texts.")
@click.option("--latin1", is_flag=True, help="Try Latin-1 (data_coding 3) before UCS-2.")
@click.option("--packed", is_flag=True, help="GSM 7-bit with eight septets in seven octets.")
@click.option("--single-shift", metavar="L", help="National table behind ESC: 1 or turkish, 2 or spanish ...")
@click.option("--locking-shift", metavar="L", help="National table instead of the basic one.")
@click.option("--long-as", type=click.Choice(LONG_AS), help="How parts are told; default udh8, 8-bit reference.")
@click.option("--class", "message_class", type=click.IntRange(0, 3), help="Message class; 0 is flash.")
@click.option("--ref", type=click.IntRange(0, 0xFFFF), default=0, help="Reference of the parts.")
@click.option("--transliterate", "look_alikes", is_flag=True, help="Look-alikes of GSM 7-bit where they spare UCS-2.")
@click.option("--profile", metavar="NAME", help="Billed parts by this market's rule: cn, us, fr ...")
@click.option("--config", metavar="FILE", help="Settings (VOLLEY_CONFIG), for --endpoint.")
@click.option("--data", metavar="DIR", help="Data folder (VOLLEY_DATA), for --endpoint.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def text_command(context: click.Context, /, text: str, as_json: bool, **how: Any) -> None:
    """How STRING is sent: alphabet, parts, octets, and the characters that GSM 7-bit lacks; `-` reads stdin.

    part_octets and part_hex are without the user data header, which stands in udh_hex; where the endpoint packs
    septets, as packed. Exit status 1 when the text is too long, or has characters that the endpoint does not take.

    \b
    volley text "Hello"
    volley text --transliterate --json "It’s 20 % off…"
    volley text --single-shift turkish "İyi günler, şimdi"
    volley text --endpoint main --profile cn "您好"
    """
    text = sys.stdin.read().removesuffix("\n") if text == "-" else text
    coding = _coding(how)
    by = encoder(coding, how["message_class"], how["look_alikes"])
    text = normalise(text)
    told = _told(by, text)
    try:
        told |= _parts(by, text, how["ref"], _billing(how["profile"]))
    except (TextTooLong, NotSayable) as exc:
        told["problem"] = str(exc)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        _show(told)
    if told["problem"]:
        context.exit(1)


def _told(by: Encoder, text: str) -> dict[str, Any]:
    """What is known of any text; encoding and data_coding are null where the endpoint has no alphabet for it."""
    told: dict[str, Any] = {"encoding": None, "data_coding": None, "packed": False, "characters": len(text), "units": 0}
    changed, shown = [], text
    if not (lacking := by.outside(text)):
        which, octets = by.encode(text)
        alphabet = by.alphabets[which]
        changed = changes(text) if alphabet.look_alikes else []
        shown = transliterate(text) if changed else text
        told |= {
            "encoding": alphabet.encoding,
            "data_coding": alphabet.data_coding,
            "packed": alphabet.packed,
            "characters": len(shown),
            "units": by.kernel.units(which, octets),
        }
    return told | {
        "parts": 0,
        "billed": 0,
        "part_octets": [],
        "part_hex": [],
        "udh_hex": [],
        "esm_class": 0,
        "long_as": by.coding.long_as,
        "offending": lacking or outside_gsm7(shown),
        "changes": [
            *({"character": c.character, "becomes": c.becomes, "count": c.count} for c in changed),
            *_spaces(text),
        ],
        "problem": None,
    }


def _spaces(text: str) -> list[dict[str, Any]]:
    """What is never sent and leaves a space: NUL, ESC, half a surrogate pair, an octet of stdin that is no UTF-8."""
    counts = Counter(filter(is_forbidden, text))
    return [{"character": f"U+{ord(c):04X}", "becomes": " ", "count": count} for c, count in counts.items()]


def _parts(by: Encoder, text: str, ref: int, billing: profiles.BillingRule | None) -> dict[str, Any]:
    parts = parts_by(by, text, ref)
    payloads = [dict(part.tlvs).get(TAG_MESSAGE_PAYLOAD) for part in parts]
    bodies = [p if p is not None else part.octets[part.udh_octets :] for p, part in zip(payloads, parts, strict=True)]
    return {
        "parts": len(parts),
        "billed": billed(by, text, billing),
        "part_octets": [len(body) for body in bodies],
        "part_hex": [body.hex() for body in bodies],
        "udh_hex": [part.octets[: part.udh_octets].hex() for part in parts],
        "esm_class": parts[0].esm_class,
    }


def _coding(how: dict[str, Any]) -> Coding:
    """The endpoint's, with what the options say otherwise."""
    coding = Coding()
    if how["endpoint"]:
        endpoints = {endpoint.name: endpoint for endpoint in load(how["config"], how["data"]).endpoints}
        if how["endpoint"] not in endpoints:
            known = ", ".join(endpoints) or "none in the settings"
            raise click.UsageError(f"--endpoint {how['endpoint']!r}: one of {known}")
        coding = coding_of(endpoints[how["endpoint"]])
    options: dict[str, Any] = {name: how[name] for name in ("latin1", "long_as") if how[name]}
    options |= {"default_alphabet": "gsm_packed"} if how["packed"] else {}
    options |= {name: _language(name, how[name]) for name in ("single_shift", "locking_shift") if how[name]}
    try:
        return replace(coding, **options)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


def _language(option: str, value: str) -> int:
    numbers = {name.lower(): number for number, name in LANGUAGES.items()}
    if value.isdecimal() or value.lower() in numbers:
        return numbers[value.lower()] if value.lower() in numbers else int(value)
    raise click.UsageError(f"--{option.replace('_', '-')} {value!r}: a number from 1 to 13, or {', '.join(numbers)}")


def _billing(name: str | None) -> profiles.BillingRule | None:
    try:
        return profiles.get_profile(name).billing if name else None
    except SettingError as exc:
        raise click.UsageError(f"--profile: {exc}") from exc


def _show(told: dict[str, Any]) -> None:
    rows: list[tuple[str, Any]] = [(name, told[name]) for name in SUMMARY]
    if told["packed"]:
        rows.append(("packed", "eight septets in seven octets"))
    if told["billed"] != told["parts"]:
        rows.append(("billed", told["billed"]))
    for no, (octets, udh) in enumerate(zip(told["part_hex"], told["udh_hex"], strict=True), 1):
        rows.append((f"part {no}", f"{len(octets) // 2} octets  {udh + ' ' if udh else ''}{octets}"))
    missing = "not taken" if told["encoding"] is None else "not GSM 7-bit"
    rows += [(missing, f"{c}  U+{ord(c):04X}") for c in told["offending"]]
    rows += [
        ("made", f"{c['character']} into {UNSEEN.get(c['becomes'], c['becomes'])}, {c['count']} times")
        for c in told["changes"]
    ]
    if told["problem"]:
        rows.append(("problem", told["problem"]))
    _table([(name, _plain(value) if isinstance(value, str) else value) for name, value in rows])
