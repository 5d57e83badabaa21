"""Every table of the store, key and value drawn. Numbers in keys are big-endian so that they sort.

Schema 6; an earlier store lacks the tables of SINCE_2 to SINCE_5, and the meta rows by which campaigns and jobs are
found (campaigns/underway.py, members/{job,widen}.py); it is brought on when a dispatcher starts with it. An earlier
version would not keep those rows, so it refuses the store. msgpack values are maps whose "v" is the row's own version
(store/values.py).
"""

from __future__ import annotations

import struct

SCHEMA = 6
BLOCK = 16_320  # members a column block: 255 x 64; LMDB header 16 + ours 48 + array fill whole pages (DESIGN 5)
BLOCK_WORDS = BLOCK // 64
HEADER = 48

# table -> key -> value
TABLES: dict[str, str] = {
    "meta": "name -> msgpack: schema, map_size, ids, folded, recoveries, boot, audit (newest seal), restores, prices",
    "tenants": "tenant:2 -> msgpack {name, zone, region, signature, reply texts, next_member_no, ...}",
    "keys": "sha256:32 -> msgpack {id, tenant, scopes, name, created_ms, revoked_ms}",
    "requests": "tenant:2 sha256(request_key):32 -> msgpack {fingerprint, reply, at_ms}",
    "fields": "tenant:2 field:2 -> msgpack {name, kind, values, closed, ...}",
    "blocks": "tenant:2 field:2 part:1 block:4 -> header:48 array (columns.py)",
    "delta": "tenant:2 block:4 slot:2 -> packed (field:2 part:1 kind:1 octets:2 value) (delta.py)",
    "phones": "tenant:2 number:8 -> member_no:4 little-endian",
    "phones_new": "as phones, where a number stands until it is moved there with many others (phones.py)",
    "optouts": "tenant:2 number:8 group:1 -> msgpack {at_ms, evidence}",
    "optout_history": "tenant:2 number:8 at_ms:8 -> msgpack {group, what, evidence}",
    "suppressions": "tenant:2 (0 = operator) number:8 -> msgpack {at_ms, reason}",
    "suppression_hashes": "tenant:2 (0 = operator) sha256 of the number's digits:32 -> msgpack {at_ms, reason}",
    "signature_stops": "tenant:2 sha256(signature):8 number:8 -> msgpack {at_ms, reason}: suppressed for one signature",
    "signatures": "tenant:2 text, UTF-8 -> msgpack {state, at_ms, reason}: who a tenant may call itself in a text",
    "consents": "tenant:2 number:8 group:1 -> msgpack {at_ms, evidence}: who said yes, by the plane of the group",
    "prices": "tenant:2 (0 = operator) prefix, ASCII digits -> msgpack {micros, at_ms, no, was}: of a billed part",
    "money": "tenant:2 entry:8 -> msgpack {kind, micros, balance, reserved, campaign, at_ms, ...} (money.py)",
    "usage": "tenant:2 month:2 campaign:8 -> msgpack {messages, parts, billed, micros, settled} (usage.py)",
    "points_entries": "tenant:2 member_no:4 entry:8 -> msgpack {delta, balance, debit, credit, key, at_ms, ...}",
    "points_keys": "tenant:2 sha256(key):32 -> member_no:4 entry:8",
    "erased_numbers": "tenant:2 salted hash:32 -> msgpack {at_ms, reason}: numbers never sent to again (consent.py)",
    "merges": "tenant:2 member_no:4 -> msgpack {into, at_ms, conflicts}, tenant:2 number:8 -> {into} (aliases.py)",
    "provenance": "tenant:2 member_no:4 field:2 -> msgpack {source, at_ms}, for fields that ask for it",
    "block_versions": "tenant:2 field:2 part:1 (its blocks) or tenant:2 (its delta) -> u64 little-endian: commits",
    "imports": "tenant:2 import:8 -> msgpack {state, counts, mapping, ...}",
    "import_rejects": "import:8 line:8 -> msgpack {line, column, value, code, detail}",
    "import_undo": "import:8 block:4 slice:4 -> what a slice replaced, and seals of what it wrote (import_undo.py)",
    "segments": "tenant:2 segment:8 -> msgpack {name, expr, version}",
    "segment_versions": "tenant:2 segment:8 version:4 -> msgpack {name, expr, at_ms, actor}",
    "segment_counts": "tenant:2 segment:8 day:4 -> msgpack {matched, reachable, at_ms}: once a day",
    "campaigns": "tenant:2 campaign:8 -> msgpack {name, purpose, state, text, audience, history, ...}",
    "campaign_counts": "campaign:8 -> packed u64 counters (ledger.py)",
    "archives": "tenant:2 campaign:8 -> msgpack {file, octets, ...} (apps/archive.py)",
    "bitmaps": "campaign:8 which:1 block:4 -> 255 words (which 0 audience, 1 preview, 3 bulk edit, 5 snapshot)",
    "ledger": "campaign:8 array:1 chunk:4 -> header:48 array by rank (ledger.py)",
    "outcome_log": "position:8 -> records (records/outcome_log.h)",
    "message_ids": "segment:8 -> message_ids of the log but its last hour, sorted and packed (ids_kept.py)",
    "inbound": "tenant:2 inbound:8 -> msgpack {from, to, text, data_coding, octets, what, at_ms}",
    "mo_parts": "source:8 set:8 part:1 -> msgpack: parts of long messages that wait for the rest (reassembly.py)",
    "mo_due": "first_ms:8 source:8 set:8 -> nothing: which of them is given first as it is",
    "mo_seals": "half_day:4 seal:16 -> what was heard already and may come again (seals.py)",
    "replies": "tenant:2 inbound:8 -> at_ms:8 member_no:4 zero:4 mark:8 of what members wrote (replies.py)",
    "outbox": "batch:8 position:4 -> msgpack {to, from, text, purpose, kind, due_ms, expiry_ms, member_no}",
    "singles": "tenant:2 group:1 who:8 at_ms:8 -> batch:8 position:4: messages of the API that caps count (singles.py)",
    "ported": "generation:4 first:8 -> u64 entries: number << 14 | network (routes/ported.py)",
    "routes": "name -> msgpack of its keys (routes/stored.py)",
    "coupon_pools": "tenant:2 pool:8 -> msgpack {name, value, key:16, state, stock, redeemed, ...} (coupons/pool.py)",
    "coupon_campaigns": "tenant:2 pool:8 campaign:8 -> nothing: campaigns whose texts may hold codes of the pool",
    "redemptions": "tenant:2 redemption:8 -> msgpack {pool, member_no, kind, state, at_ms, ...} (coupons/redeem.py)",
    "coupons": "tenant:2 pool:8 member_no:4 -> redemption:8, the newest of that coupon; none where nothing happened",
    "coupon_keys": "tenant:2 sha256(key):32 -> redemption:8",
    "redeemed": "tenant:2 redemption:8 -> at_ms:8 member_no:4 zero:4 campaign:8, what a campaign earned, as `replies`",
    "audit": "seq:8 -> msgpack {actor, command, reason, tenant, at_ms, object, edits, seal:32} (audit.py)",
}

SINCE_2 = (
    "erased_numbers", "merges", "provenance", "block_versions", "import_undo", "segment_versions", "segment_counts",
)  # fmt: skip
SINCE_3 = (
    "archives", "phones_new", "replies", "suppression_hashes", "signature_stops", "signatures", "consents", "prices",
    "money", "usage", "ported", "routes", "mo_parts", "mo_due", "mo_seals",
)  # fmt: skip
SINCE_4 = ("message_ids", "singles")
SINCE_5 = ("coupon_pools", "coupon_campaigns", "redemptions", "coupons", "coupon_keys", "redeemed")
LAYERS = {"phones": "phones_new"}  # tables whose rows stand in one of two; Snapshot reads both as one

ARCHIVE_FOLDER = "archive"  # of the data folder: files that rows of `archives` name

TENANT = struct.Struct(">H")
TENANT_U16 = struct.Struct(">HH")
TENANT_U64 = struct.Struct(">HQ")
U64 = struct.Struct(">Q")
U64_U32 = struct.Struct(">QI")
BLOCK_KEY = struct.Struct(">HHBI")
DELTA_KEY = struct.Struct(">HIH")
LEDGER_KEY = struct.Struct(">QBI")
SNAPSHOT = 5  # `which` of bitmaps whose id is a segment's (segments/snapshot.py)
POINTS_KEY = struct.Struct(">HIQ")
OPTOUT_KEY = struct.Struct(">HQB")
USAGE_KEY = struct.Struct(">HHQ")
COUPON_KEY = struct.Struct(">HQI")
COUPON_CAMPAIGN_KEY = struct.Struct(">HQQ")
REDEEMED = struct.Struct("<QIIQ")  # at_ms, member_no, zero, campaign
MEMBER_NO = struct.Struct("<I")

UNDER_WAY, ENDED = b"underway", b"ended"  # meta rows that find campaigns (campaigns/underway.py)
ENDED_KEY = struct.Struct(">HQQ")

# fields every tenant has; a tenant's own begin at FIELD_FIRST
FIELD_FLAGS = 1  # bit planes, below
FIELD_MSISDN = 2  # u64, 0 = no number
FIELD_POINTS = 3  # i64 balance
FIELD_POINTS_OPENING = 4  # i64 balance that came with the import; balance = opening + entries
FIELD_FIRST = 16

# planes of FIELD_FLAGS, in this order
PLANE_LIVE = 0  # the slot holds a member; erased and reserved slots are not live
PLANE_SUPPRESSED = 1
PLANE_OPTOUT_MARKETING = 2
PLANE_OPTOUT_CARE = 3
PLANE_OPTOUT_SERVICE = 4
PLANE_CONSENT_MARKETING = 5  # said yes, with evidence; asked for only where a market profile says so
PLANE_CONSENT_CARE = 6
PLANE_CONSENT_SERVICE = 7

OPTOUT_GROUPS = {"marketing": PLANE_OPTOUT_MARKETING, "care": PLANE_OPTOUT_CARE, "service": PLANE_OPTOUT_SERVICE}
CONSENT_GROUPS = {"marketing": PLANE_CONSENT_MARKETING, "care": PLANE_CONSENT_CARE, "service": PLANE_CONSENT_SERVICE}

# ledger arrays, by rank in the audience, BLOCK ranks a chunk
CHUNK_HEADER = struct.Struct("<IB3xI")  # of a ledger array: slots, array, width of part_state
ARRAYS: dict[str, tuple[int, int]] = {  # name -> (number in the key, octets a rank)
    "decision": (0, 1),
    "state": (1, 1),
    "error": (2, 4),
    "parts": (3, 1),
    "tries": (4, 1),
    "submit_s": (5, 4),
    "final_s": (6, 4),
    "text_hash": (7, 4),
    "log_no": (8, 4),
    "part_state": (9, 0),  # width in the header: greatest parts of the chunk; absent when all are single
}
