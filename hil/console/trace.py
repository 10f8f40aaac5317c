"""The lines of a live console as messages of `logging`, for a user who watches it."""

from __future__ import annotations

import logging

from hil.console.transcript import Redactor, Transcript
from hil.text import printable_line

_log = logging.getLogger(__name__)


class Trace:
    """What has arrived on a line, logged at level DEBUG, whole lines at a time and without `passwords`."""

    def __init__(self, transcript: Transcript, passwords: Redactor) -> None:
        self._transcript = transcript
        self._passwords = passwords
        self._logged = 0

    def __call__(self, *, end: bool = False) -> None:
        """Log the lines that are complete; at the `end` also the last one."""
        if not _log.isEnabledFor(logging.DEBUG):
            return
        data = self._transcript.read(self._logged, self._transcript.size)
        size = len(data) if end else data.rfind(b"\n") + 1
        for line in data[:size].splitlines():
            _log.debug("| %s", printable_line(self._passwords.hidden(line.decode("utf-8", "replace"))))
        self._logged += size
