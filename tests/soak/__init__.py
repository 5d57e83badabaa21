"""Kills without end: `make soak MINUTES=n`. Nothing here is collected by pytest."""
