"""The options of a campaign or of a message as a body."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from admin.answers import Body


class OptionsBody(Body):
    class_: Annotated[
        int | None, Field(alias="class", description="message class: 0 flash, 1 phone, 2 SIM, 3 device")
    ] = None
    flash: Annotated[bool | None, Field(description="class 0: shown at once and not kept")] = None
    replace_type: Annotated[int | None, Field(description="1 to 7: takes the place of the last one of that type")] = (
        None
    )
    priority: Annotated[int | None, Field(description="priority_flag, 0 to 3")] = None
    registered_delivery: Annotated[
        Literal["none", "all", "failure"] | None,
        Field(description="in place of `receipts`: which ones"),
    ] = None
    transliterate: Annotated[
        bool | None, Field(description="look-alikes of GSM 7-bit where they spare UCS-2; the preview shows which")
    ] = None
    valid_until: Annotated[
        str | None, Field(max_length=40, description="2026-12-01T09:00:00Z: when the SMSC gives up; else validity_s")
    ] = None
    deliver_at: Annotated[
        str | None, Field(max_length=40, description="2026-12-01T09:00:00Z: until when the SMSC keeps it")
    ] = None
