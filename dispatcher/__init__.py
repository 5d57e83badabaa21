"""Volley's dispatcher. Imports nothing, so that a kernel can be imported alone."""

__version__ = "0.1.0"
