"""ROOM text: characters to short_message octets and back; the same text gives the same octets everywhere."""
