"""One file a room: parse, one read or one command, shape the answer. The order here is that of the OpenAPI document."""

from admin.routes import (
    audit,
    campaign_moves,
    campaigns,
    exports,
    fields,
    imports,
    inbound,
    member_edits,
    members,
    messages,
    points,
    segment_members,
    segments,
    status,
    tenants_keys,
)

ROUTERS = (
    tenants_keys.router,
    fields.router,
    members.router,
    member_edits.router,
    exports.router,
    imports.router,
    segments.router,
    segment_members.router,
    campaigns.router,
    campaign_moves.router,
    messages.router,
    points.router,
    inbound.router,
    audit.router,
    status.router,
)


def takes_stream(method: str, path: str) -> bool:
    """Whether a request's body is taken by its route piece by piece instead of whole."""
    pieces = method == "PATCH" and path.startswith("/v1/imports/") and path.count("/") == 3
    return pieces or (method == "POST" and path == "/v1/imports")
