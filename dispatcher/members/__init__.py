"""ROOM members: who may be reached. Imports nothing itself: the import parser is a process that must start soon."""
