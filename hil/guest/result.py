"""What becomes of a command in the guest's shell: typed, ended with a result, or overdue."""

from __future__ import annotations

from dataclasses import dataclass

from hil.console.lines import split_lines
from hil.errors import Evidence, GuestError
from hil.guest.framing import Stream


class CommandTimeout(GuestError):
    """A command did not end in time.

    `recovered` is true if the shell responds again. `output` holds the output so far; `start` and `end` are its offsets
    in the transcript.
    """

    def __init__(
        self, message: str, *, recovered: bool, output: bytes, start: int, end: int, evidence: Evidence
    ) -> None:
        super().__init__(message, evidence=evidence)
        self.recovered, self.output = recovered, output
        self.start, self.end = start, end


@dataclass(frozen=True)
class Result:
    """The result of a command.

    `output` holds both its streams, byte for byte; `foreign` the whole lines of other writers meanwhile. `begin_ns` and
    `end_ns` are host monotonic stamps of the two frame marks; `start` and `end` are the offsets of the output in the
    transcript.
    """

    command: str
    output: bytes
    status: int
    foreign: tuple[str, ...]
    begin_ns: int
    end_ns: int
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace")

    @property
    def lines(self) -> list[str]:
        """The lines of the output without line feeds."""
        return split_lines(self.text)

    @property
    def seconds(self) -> float:
        """The time from the first mark to the last, by the host's clock."""
        return (self.end_ns - self.begin_ns) / 1e9


@dataclass
class Typed:
    """A typed command whose frame has begun; `result` is None until its end was read.

    It is overdue at `deadline` by the console's clock, `timeout` seconds after it was first typed. `subject` is its
    name in errors, if it occupies the shell.
    """

    command: str
    number: int
    stream: Stream
    timeout: float
    deadline: float
    subject: str = ""
    result: Result | None = None

    @property
    def start(self) -> int:
        """The offset of the output in the transcript."""
        return self.stream.raw_end(self.stream.begin)
