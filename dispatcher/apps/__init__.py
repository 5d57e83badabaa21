"""ROOM apps: products on top; each: event + snapshot -> Changes. They meet only in the store."""
