"""ROOM records: what travels between rooms; frozen, no behaviour."""

from dispatcher.records.changes import Changes, View
from dispatcher.records.states import CampaignState, Decision, Purpose, State

__all__ = ["CampaignState", "Changes", "Decision", "Purpose", "State", "View"]
