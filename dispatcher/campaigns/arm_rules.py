"""What may be written as a campaign's arms, holdout and winner, and what is said of anything else.

Touches: nothing; whoever checks brings the way to compile a text and the tenant's fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from dispatcher.clock import rfc3339
from dispatcher.errors import CommandRefused
from dispatcher.members.fields import Field

ARMS_MAX = 16
NAME_CHARACTERS = 40
SALT_CHARACTERS = 100
TEST_AFTER_S = (60, 30 * 86_400)
BY = ("delivered", "replied", "redeemed")
RESERVED = ("holdout", "rest")  # words that reports use for those groups
_ARM, _HOLDOUT, _WINNER = ("name", "share", "text"), ("percent", "size", "salt"), ("by", "after_s", "test_percent")

Problem = dict[str, str]
Row = dict[str, Any]


def check(row: Row, fields: Mapping[str, Field], compile_text: Callable[[str], str]) -> None:
    """Bring arms, holdout, winner and stratify into their stored form. Raises CommandRefused 422 naming all that is
    wrong; compile_text gives a text's own form, or raises."""
    problems = [*_arms(row), *_holdout(row), *_winner(row), *_stratify(row, fields)]
    if problems:
        codes = {problem["code"] for problem in problems}
        code = codes.pop() if len(codes) == 1 else "invalid_campaign"
        code = code if code in ("arm_shares", "coupon_pool_missing", "unknown_field") else "invalid_campaign"
        raise CommandRefused(422, code, "; ".join(problem["detail"] for problem in problems), errors=problems)
    for number, arm in enumerate(row["arms"]):
        arm["share"] = int(arm["share"]) if arm["share"] == int(arm["share"]) else arm["share"]
        if arm["text"]:
            try:
                arm["text"] = compile_text(arm["text"])
            except CommandRefused as exc:
                errors = [{**error, "pointer": f"/arms/{number}/text"} for error in exc.errors]
                raise CommandRefused(
                    exc.status, exc.code, f"arm {arm['name']}: {exc.detail}", errors=errors, extra=exc.extra
                ) from exc


def dealt_json(row: Row) -> dict[str, Any]:
    """`groups`: how many were dealt to each, once the audience is frozen; `won`: the arm that the rest gets."""
    dealt, won = row["deal"], row["won"]
    if dealt is None or not row["audience"]:  # what was frozen holds no more
        return {"groups": None, "won": None}
    names = ["holdout", *([arm["name"] for arm in row["arms"]] or ["all"]), "rest"]
    groups = {name: size for name, size in zip(names, dealt["sizes"], strict=True) if size or name in names[1:-1]}
    said = None
    if won is not None:
        said = {**won, "arm": row["arms"][won["arm"]]["name"], "at": rfc3339(won["at_ms"])}
    return {"groups": groups, "won": said}


def _arms(row: Row) -> list[Problem]:
    arms = row["arms"]
    if not isinstance(arms, list | tuple) or len(arms) > ARMS_MAX or not all(isinstance(arm, dict) for arm in arms):
        return [_problem("/arms", "invalid", f"arms: a list of at most {ARMS_MAX} {{name, share, text}}")]
    problems, seen = [], set[str]()
    row["arms"] = arms = [{"text": "", **arm} for arm in arms]
    for number, arm in enumerate(arms):
        at = f"/arms/{number}"
        name, text = arm.get("name"), arm["text"]
        if unknown := [word for word in arm if word not in _ARM]:
            problems.append(_problem(at, "unknown", f"arms: no such part of an arm: {', '.join(map(repr, unknown))}"))
        if not isinstance(name, str) or not 1 <= len(name) <= NAME_CHARACTERS or not name.isprintable() or ":" in name:
            rule = f"1 to {NAME_CHARACTERS} printable characters without a colon"
            problems.append(_problem(f"{at}/name", "invalid", f"the name of arm {number + 1}: {rule}"))
        elif name.casefold() in (*seen, *RESERVED):
            why = "is used by reports" if name.casefold() in RESERVED else "is there already"
            problems.append(_problem(f"{at}/name", "invalid", f"the name {name!r} {why}: give each arm its own"))
        else:
            seen.add(name.casefold())
        if not _percent(arm.get("share"), whole=True):
            detail = f"the share of arm {name!r}: a percentage above 0, at most 100, with at most 2 decimals"
            problems.append(_problem(f"{at}/share", "arm_shares", detail))
        if not isinstance(text, str):
            problems.append(_problem(f"{at}/text", "invalid", f"the text of arm {name!r}: text"))
    if not problems and arms:
        total = sum(Fraction(str(arm["share"])) for arm in arms)
        if total != 100:
            said = " + ".join(f"{arm['name']} {arm['share']}" for arm in arms)
            detail = f"the shares of all arms add up to 100 percent; these are {said} = {float(total):g}"
            problems.append(_problem("/arms", "arm_shares", detail))
    return problems


def _holdout(row: Row) -> list[Problem]:
    holdout = row["holdout"]
    if holdout is None or holdout == {}:
        row["holdout"] = None
        return []
    if not isinstance(holdout, dict) or not holdout.keys() <= set(_HOLDOUT):
        return [_problem("/holdout", "invalid", "holdout: {percent} or {size}, and perhaps a salt")]
    given = {name: value for name, value in holdout.items() if value not in (None, "")}
    percent, size, salt = given.get("percent"), given.get("size"), given.get("salt", "")
    problems = []
    if (percent is None) == (size is None):
        problems.append(_problem("/holdout", "invalid", "holdout: either percent or size"))
    if percent is not None and not _percent(percent):
        detail = f"holdout percent {percent!r}: above 0 and below 100, with at most 2 decimals"
        problems.append(_problem("/holdout/percent", "invalid", detail))
    if size is not None and not _whole(size, 1, 1 << 32):
        problems.append(_problem("/holdout/size", "invalid", f"holdout size {size!r}: a whole number from 1"))
    if not isinstance(salt, str) or len(salt) > SALT_CHARACTERS:
        problems.append(_problem("/holdout/salt", "invalid", f"holdout salt: at most {SALT_CHARACTERS} characters"))
    row["holdout"] = given
    return problems


def _winner(row: Row) -> list[Problem]:
    winner = row["winner"]
    if winner is None or winner == {}:
        row["winner"] = None
        return []
    if not isinstance(winner, dict) or winner.keys() != set(_WINNER):
        return [_problem("/winner", "invalid", "winner: {by, after_s, test_percent}, all three")]
    problems = []
    by, after_s = winner["by"], winner["after_s"]
    if by not in BY:
        problems.append(_problem("/winner/by", "invalid", f"winner by {by!r}: one of {', '.join(BY)}"))
    elif by == "redeemed" and row.get("coupon_pool") is None:
        detail = "winner by redeemed needs coupons: name a coupon_pool whose codes the texts hold, as {coupon}"
        problems.append(_problem("/winner/by", "coupon_pool_missing", detail))
    elif by == "delivered" and not row["receipts"]:
        detail = "winner by delivered needs receipts: ask for them, or decide by replied"
        problems.append(_problem("/winner/by", "invalid", detail))
    if not _whole(after_s, *TEST_AFTER_S):
        rule = f"seconds from the start, {TEST_AFTER_S[0]} to {TEST_AFTER_S[1]:,}"
        problems.append(_problem("/winner/after_s", "invalid", f"winner after_s {after_s!r}: {rule}"))
    if not _percent(winner["test_percent"]):
        detail = f"winner test_percent {winner['test_percent']!r}: of the audience, above 0 and below 100"
        problems.append(_problem("/winner/test_percent", "invalid", detail))
    if isinstance(row["arms"], list) and len(row["arms"]) < 2:
        problems.append(_problem("/winner", "invalid", "a winner needs two arms or more"))
    return problems


def _stratify(row: Row, fields: Mapping[str, Field]) -> list[Problem]:
    name = row["stratify"]
    if name in ("", None):
        row["stratify"] = ""
        return []
    if not isinstance(name, str) or name not in fields:
        known = [field.name for field in fields.values() if field.kind == "dict"]
        detail = f"stratify: there is no field {name!r}; dictionary fields are {', '.join(known) or 'none'}"
        return [_problem("/stratify", "unknown_field", detail)]
    if fields[name].kind != "dict":
        detail = f"stratify: {name!r} is a field of kind {fields[name].kind}; only a dictionary can be stratified by"
        return [_problem("/stratify", "invalid", detail)]
    if not row["arms"] and not row["holdout"]:
        return [_problem("/stratify", "invalid", "stratify goes with arms or a holdout")]
    return []


def _percent(value: Any, *, whole: bool = False) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100:
        return False
    return (whole or value < 100) and (Fraction(str(value)) * 100).denominator == 1


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _problem(pointer: str, code: str, detail: str) -> Problem:
    return {"pointer": pointer, "code": code, "detail": detail}
