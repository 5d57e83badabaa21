"""ROOM segments: which members. Text to tree to program; a bitmap a block; exact counts."""

from dispatcher.segments.count import count
from dispatcher.segments.plan import Compiled, compile_text
from dispatcher.segments.segment import get_segment, list_segments, save_segment
from dispatcher.segments.select import select

__all__ = ["Compiled", "compile_text", "count", "get_segment", "list_segments", "save_segment", "select"]
