"""ROOM coupons: a member's code in a pool, derived and not stored; what was redeemed of it. Import from the files."""
