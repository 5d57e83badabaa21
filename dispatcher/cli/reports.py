"""Reports as lines for a person: a story, a campaign, its arms. What programs get is the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dispatcher.cli.shown import money, plain
from dispatcher.smpp.consts import status_name

Found = Mapping[str, Any]


def story_lines(found: Found) -> Iterator[str]:
    """One person's messages."""
    for one in found["data"]:
        why = f": {one['why']}" if one["why"] else ""
        group = f", {one['group']}" if one["group"] else ""
        yield f"{one['campaign']}  {plain(one['title'])} ({one['purpose']}{group})"
        yield f"  {one['decision']}, {one['state']}{why}"
        for before in (one["capped_by"] or {}).get("by", ()):
            what = before.get("campaign") or before["message"]
            yield f"  {before['at']}  had              {what} {plain(before['title'])}".rstrip()
        for step in one["steps"]:
            rest = {name: value for name, value in step.items() if name not in ("at", "what") and value is not None}
            yield f"  {step['at']}  {step['what']:16} {_pairs(rest)}".rstrip()
        for reply in one["replies"]:
            yield f"  {reply['at']}  wrote            {plain(reply['text'] or '')!r}"
        if not one["complete"]:
            yield "  (the log is too large to look for every attempt)"
    for one in found["single"]:
        yield f"{one.get('id', '')}  {one['kind']}, {one['state']}: {plain(one['text'])!r}".strip()
    if not found["data"] and not found["single"]:
        yield "no message"


def report_lines(found: Found) -> Iterator[str]:
    """One campaign."""
    yield f"{plain(found['title'])}, {found['state']}, as of {found['as_of']}"
    for step in found["funnel"]:
        share = "" if step["of_before"] is None else f"{step['of_before']:8.1%}"
        yield f"  {step['step']:12}{step['count']:>14,}{share}"
    for reason, many in found["skipped"].items():
        yield f"  skipped     {many:>14,}  {reason.replace('_', ' ')}"
    for word in ("unsent", "pending", "uncertain"):
        if found[word]:
            yield f"  {word:12}{found[word]:>14,}"
    times = found["delivery_s"]
    if times["count"]:
        yield "  delivered within " + ", ".join(
            f"{times[name]:,} s ({name[1:]} %)" for name in times if name.startswith("p")
        )
    line = found["line"]
    if line["points"]:
        yield f"  at most {line['peak_per_s']:,}/s over {line['bucket_s']} s"
    if cost := found["cost"]:
        amount = f"cost {money(cost['micros'], cost['currency'])} for"
        told = amount if cost["micros"] or cost["currency"] else "no price is set:"
        yield f"  {told} {cost['billed']:,} parts, {'settled' if cost['settled'] else 'reserved'}"
        if each := cost.get("per_redemption_micros"):
            yield f"  {money(each, cost['currency'])} for each coupon redeemed"
    for error in found["errors"][:10]:
        code = "other codes" if error["error"] is None else f"{error['error']} (0x{error['error']:X})"
        yield f"  {error['state']:12}{error['recipients']:>14,}  {code}"
    for one in found["endpoints"]["data"]:
        what = " ".join(filter(None, (one["what"].replace("_", " "), one["state"])))
        code = f"  {_code(one)}" if one["error"] else ""
        yield f"  {one['endpoint']:12}{one['parts']:>14,}  {what}{code}"
    if not found["endpoints"]["complete"]:
        yield "  (by endpoint only as far as the log is kept)"


def _code(answer: Found) -> str:
    """A command_status by its name; of a receipt `err` as its text had it, in decimal."""
    return f"err {answer['error']:03}" if answer["what"] == "receipt" else status_name(answer["error"])


def effect_lines(found: Found) -> Iterator[str]:
    """Arms against each other and the holdout."""
    percent = f"{found['confidence']:.0%}"
    for group in found["groups"]:
        yield f"{plain(group['group'])}: {group['members']:,} members, {group['sent']:,} sent"
        for measure, rate in group["rates"].items():
            if rate["rate"] is not None:
                low, high = rate["low"], rate["high"]
                yield f"  {measure:12}{rate['count']:>12,} {rate['rate']:8.2%}  {percent}: {low:.2%} to {high:.2%}"
    for one in found["differences"]:
        if one["difference"] is not None:
            clear = "clear" if one["clear"] else "not clear"
            apart = f"{one['difference']:+.2%}  {percent}: {one['low']:+.2%} to {one['high']:+.2%}"
            yield f"{plain(one['group'])} against {plain(one['against'])}, {one['measure']}: {apart}, {clear}"


def _pairs(rest: Found) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {plain(str(value))}" for name, value in rest.items())
