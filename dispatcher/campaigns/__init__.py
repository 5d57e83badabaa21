"""ROOM campaigns: what to whom and when; draft, preview, expansion, rendering, progress. Import from the files."""
