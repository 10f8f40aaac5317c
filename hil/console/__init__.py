"""The serial line: bytes in both directions, each with a time stamp."""

from hil.console.console import Console, Match
from hil.console.errors import ExpectClosed, ExpectTimeout, LineClosed, LineTimeout
from hil.console.transcript import Transcript

__all__ = ["Console", "ExpectClosed", "ExpectTimeout", "LineClosed", "LineTimeout", "Match", "Transcript"]
