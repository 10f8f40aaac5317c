"""A capture that runs while a test acts: its VCD file is read while the logic analyser samples."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hil.board.sigrok import TAIL, Instant, Start, check_rate, failure, last_lines
from hil.errors import HilError, InfrastructureError
from hil.host import tools
from hil.host.closing import Closing
from hil.host.disk import disk_errors
from hil.host.processes import end_group

START_LIMIT = 20.0  # seconds until the first samples
SETTLE = 0.3  # seconds of samples whose arrival narrows the start
DELIVERY = 5.0  # seconds that samples may take from the device to the file
STOP_LIMIT = 2.0  # seconds to end the capture, before it is killed
DRIFT = 100e-6  # between two ordinary crystals of 50 ppm


@dataclass(frozen=True)
class CaptureTime:
    """The relation of the host's monotonic clock to the time of a capture, both in ns.

    Sampling started between `earliest` and `latest` on the host's clock; the clocks drift apart by `DRIFT` at most.
    """

    earliest: float
    latest: float

    @property
    def began(self) -> Instant:
        """The start of the sampling."""
        return Instant(round((self.earliest + self.latest) / 2), (self.latest - self.earliest) / 2e9)

    def least(self, host_ns: float) -> int:
        """Return the time of the capture that has certainly been reached at `host_ns`."""
        return max(0, int((host_ns - self.latest) * (1 - DRIFT)))

    def most(self, host_ns: float) -> int:
        """Return the time of the capture that has certainly not been exceeded at `host_ns`."""
        return max(0, int((host_ns - self.earliest) * (1 + DRIFT)) + 1)

    def host(self, at_ns: int) -> int:
        """Return the host's time at which the capture has certainly reached `at_ns`."""
        return int(self.latest + at_ns / (1 - DRIFT)) + 1


class LiveCapture(Closing):
    """A running capture of `channels` into the VCD file `path`; it samples when the object is created.

    `time` relates the host's clock to the capture's. The command ends by itself after `limit` seconds. Raises as
    `hil.board.sigrok.capture`.
    """

    def __init__(
        self, command: list[str], path: Path, channels: tuple[str, ...], samplerate: int, device: str, limit: float
    ) -> None:
        self.path, self.channels, self.samplerate = path, channels, samplerate
        self._command, self._device, self._limit = command, device, limit
        self._changed = threading.Condition()
        self._before = 0  # samples before the latest chunk: sigrok-cli reports a chunk before it writes it
        self._log = ""
        self._ended = self.closed = False
        with disk_errors(f"write the capture {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            output = path.open("wb")
        with output:
            self._start = Start(samplerate)
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE, start_new_session=True
                )
            except FileNotFoundError as error:
                raise tools.missing(command[0]) from error
        self._reader = threading.Thread(target=self._read_log, name="logic analyser", daemon=True)
        self._reader.start()
        try:
            self.time = self._started()
            with path.open("rb") as file:
                check_rate(file.read(TAIL), device, samplerate)
        except BaseException:
            self.close()
            raise

    @property
    def written(self) -> int:
        """The number of samples whose changes are in the file."""
        with self._changed:
            return self._start.samples if self._ended else self._before

    def wait_written(self, at_ns: int) -> None:
        """Wait until the file has all changes up to the time `at_ns` of the capture.

        Raises `InfrastructureError` if the capture has ended before, or the device delivers no more samples.
        """
        count = at_ns * self.samplerate // 1_000_000_000 + 2
        ahead = max(0.0, (self.time.host(at_ns) - time.monotonic_ns()) / 1e9)
        deadline = time.monotonic() + ahead + DELIVERY
        with self._changed:
            while not self._ended and self._before < count:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise InfrastructureError(
                        f"the logic analyser {self._device} has delivered {self._before} samples, {count} are due"
                        f"{last_lines(self._log)}",
                        hint="lower its sample rate, and check its cable and the load of its host",
                    )
            if self._start.samples >= count:
                return
        raise self.ended_early()

    def check(self) -> None:
        """Raise `InfrastructureError` if the capture has ended although it was not closed."""
        if self._ended and not self.closed:
            raise self.ended_early()

    def ended_early(self) -> HilError:
        """Return the error of a capture that has ended by itself."""
        status = self._process.poll()
        if status not in (0, 124, None):
            return failure(self._command, self._device, status, self._log)
        return InfrastructureError(
            f"the capture {self.path} ended after {self._start.samples / self.samplerate:.3g} s "
            f"(limit {self._limit:g} s){last_lines(self._log)}",
            hint="set `HilAnalyserDriver: {limit: ...}` if tests take longer, and check that the disk is not full",
        )

    def close(self) -> None:
        """Stop sampling. The file keeps all samples so far."""
        if self.closed:
            return
        self.closed = True
        if self._process.poll() is None:
            with suppress(OSError):  # it ends now
                assert self._process.stdin is not None
                self._process.stdin.write(b"\n")
                self._process.stdin.flush()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT)
        end_group(self._process, STOP_LIMIT)
        self._reader.join(STOP_LIMIT)
        for stream in (self._process.stdin, self._process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _started(self) -> CaptureTime:
        """Wait for the first samples, and for more of them, whose arrival narrows the start."""
        deadline = time.monotonic() + START_LIMIT
        with self._changed:
            while not self._before:
                if self._ended:
                    raise self._failed_start()
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise InfrastructureError(
                        f"the logic analyser {self._device} gave no samples within {START_LIMIT:g} s"
                        f"{last_lines(self._log)}",
                        hint="check whether it waits for a trigger, and plug it in again",
                    )
            self._changed.wait_for(lambda: self._ended, SETTLE)
            return CaptureTime(*self._start.bounds())

    def _failed_start(self) -> HilError:
        status = self._process.wait(STOP_LIMIT)
        return failure(self._command, self._device, status, self._log)

    def _read_log(self) -> None:
        """Note the samples that sigrok-cli reports, until it ends."""
        assert self._process.stderr is not None
        for line in iter(self._process.stderr.readline, b""):
            stamp = time.monotonic_ns()
            with self._changed:
                before = self._start.samples
                self._start.line(line.rstrip(b"\n"), stamp)
                if self._start.samples != before:
                    self._before = before
                    self._changed.notify_all()
                else:
                    self._log = (self._log + line.decode("utf-8", "replace"))[-TAIL * 8 :]
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT)
        with self._changed:
            self._ended = True
            self._changed.notify_all()
