"""ROOM members: who may be reached."""

from dispatcher.members.fields import Field, fields_of
from dispatcher.members.msisdn import Unparsed, normalise
from dispatcher.store.columns import find_number

__all__ = ["Field", "Unparsed", "fields_of", "find_number", "normalise"]
