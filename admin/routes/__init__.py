"""One file a room: parse, one read or one command, shape the answer. The order here is that of the OpenAPI document."""

from admin.routes import campaigns, fields, imports, inbound, members, points, segments, status, tenants_keys

ROUTERS = (
    tenants_keys.router,
    fields.router,
    members.router,
    imports.router,
    segments.router,
    campaigns.router,
    points.router,
    inbound.router,
    status.router,
)


def takes_stream(method: str, path: str) -> bool:
    """Whether a request's body is taken by its route piece by piece instead of whole."""
    return method == "POST" and path == "/v1/imports"
