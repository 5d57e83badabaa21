"""One file a room: parse, one read or one command, shape the answer. The order here is that of the OpenAPI document."""

from admin.routes import (
    audit,
    binds,
    campaign_moves,
    campaigns,
    consents,
    events,
    exports,
    fields,
    imports,
    inbound,
    member_edits,
    member_messages,
    members,
    messages,
    points,
    ported,
    profiles,
    recipients,
    rehearsals,
    reports,
    routes,
    segment_members,
    segments,
    status,
    suppressions,
    tenants_keys,
    uncertain,
    usage,
)

ROUTERS = (
    tenants_keys.router,
    fields.router,
    members.router,
    member_edits.router,
    member_messages.router,
    suppressions.router,
    consents.router,
    exports.router,
    imports.router,
    segments.router,
    segment_members.router,
    campaigns.router,
    campaign_moves.router,
    rehearsals.router,
    recipients.router,
    events.router,
    reports.router,
    uncertain.router,
    messages.router,
    points.router,
    usage.router,
    profiles.router,
    inbound.router,
    audit.router,
    binds.router,
    routes.router,
    ported.router,
    status.router,
)


def takes_stream(method: str, path: str) -> bool:
    """Whether a request's body is taken by its route piece by piece instead of whole."""
    pieces = method == "PATCH" and path.startswith("/v1/imports/") and path.count("/") == 3
    return pieces or (method == "POST" and path in ("/v1/imports", "/v1/ported"))
