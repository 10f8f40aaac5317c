"""The serial line: bytes in both directions, each with a time."""

from hil.console.console import Console, ExpectClosed, ExpectTimeout, LineClosed, LineTimeout, Match
from hil.console.transcript import Transcript

__all__ = ["Console", "ExpectClosed", "ExpectTimeout", "LineClosed", "LineTimeout", "Match", "Transcript"]
