"""What one may ask about a segment besides its count: who, how they are spread, what they share, how it went by day."""

from dispatcher.segments.answers.chosen import Chosen, choose
from dispatcher.segments.answers.daily import counts_of, due, record
from dispatcher.segments.answers.histogram import histogram
from dispatcher.segments.answers.overlap import overlap
from dispatcher.segments.answers.sample import sample

__all__ = ["Chosen", "choose", "counts_of", "due", "histogram", "overlap", "record", "sample"]
