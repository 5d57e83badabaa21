"""ROOM config: what the operator decides; read once, frozen. Touches nothing of ours."""

from config.load import example_text, load
from config.route import Route
from config.settings import Api, Dispatcher, Endpoint, Limits, Log, SettingError, Settings, Store

__all__ = [
    "Api",
    "Dispatcher",
    "Endpoint",
    "Limits",
    "Log",
    "Route",
    "SettingError",
    "Settings",
    "Store",
    "example_text",
    "load",
]
