"""The first stages of a boot by U-Boot: its prompt, and each file of the image over TFTP."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pexpect
from labgrid.driver import ExecutionError

from hil.board.boot_report import StageTime
from hil.board.diagnosis import diagnose
from hil.board.protocol import HilConsoleProtocol
from hil.board.seam import described
from hil.board.tftp import BootFile
from hil.console import ExpectClosed, LineClosed, LineTimeout
from hil.errors import ConfigurationError, HilError, InfrastructureError

PROMPT = "U-Boot"
"""The stage that ends at U-Boot's prompt, after its `init_commands`."""

SLACK = 60.0  # seconds for an empty transfer: U-Boot gives up on a server after about 50
RATE = 250e3  # bytes/s, the slowest acceptable transfer
QUIET = 20.0  # seconds; during a transfer U-Boot prints progress, and while it waits for the server a T every 5
GRACE = 5.0  # seconds that labgrid's driver may exceed its own limit by
TRANSFERRED = re.compile(r"Bytes transferred = (\d+)")
TROUBLE = re.compile(r"error|fail|abort|unknown|retry|not set|overwrite|\*\*\*", re.I)


class Loader:
    """U-Boot of a board that was just switched on, used through labgrid's `UBootDriver`.

    `reached` are its stages so far. All waits have a limit. Errors name the stage: `InfrastructureError` (of which
    `LineClosed` is a kind) for failures of the test bed, `ConfigurationError` for errors in the board file.
    """

    def __init__(
        self,
        uboot: Any,
        line: HilConsoleProtocol,
        power_on_ns: int,
        around: Callable[[str, float], AbstractContextManager[None]],
    ) -> None:
        self._uboot = uboot
        self._line = line
        self._zero = power_on_ns
        self._since = line.console.position
        self._around = around
        self.reached: list[StageTime] = []

    def prompt(self) -> None:
        """Wait for U-Boot's prompt and run its `init_commands`."""
        uboot = self._uboot
        limit = uboot.login_timeout + GRACE + len(uboot.init_commands) * SLACK
        with self._stage(PROMPT, limit):
            try:
                with self._line.bounded(limit):
                    uboot.target.activate(uboot)
            except (pexpect.TIMEOUT, LineTimeout):
                raise self._too_late(
                    f"U-Boot's prompt {uboot.prompt!r} did not come in {uboot.login_timeout} s, or did not answer",
                    "check the power, the line and its speed, and that `autoboot` of the UBootDriver matches the "
                    "message of U-Boot's countdown",
                ) from None
            except ExecutionError as error:
                command, *output = error.args
                raise InfrastructureError(
                    f"U-Boot's command {command!r}, one of init_commands, failed: "
                    f"{_error_line(output[0] if output else [])}",
                    hint="check that the network is plugged in and that its DHCP server answers",
                ) from None
            except Exception as error:
                if type(error) is not Exception:
                    raise
                raise ConfigurationError(  # labgrid's error for U-Boot with a password
                    f"the UBootDriver failed: {error}", hint="give it a `password` in the board file"
                ) from None

    def load(self, file: BootFile, name: str) -> None:
        """Load the file called `name` on the TFTP server, and check that it is complete."""
        limit = SLACK + file.size / RATE
        with self._stage(f"tftp {file.name}", limit):
            command = f"tftpboot {file.address} {name}"
            begin, since = self._line.console.position, time.monotonic()
            try:
                with self._line.bounded(limit + GRACE, QUIET):
                    output, _, status = self._uboot.run(command, timeout=limit)
            except (pexpect.TIMEOUT, LineTimeout):
                silent = "; the server does not answer (T T T)" if " T T" in self._text(begin) else ""
                raise self._too_late(
                    f"U-Boot did not end `{command}` in {time.monotonic() - since:.0f} s{silent}",
                    "check that `serverip` is the TFTP server's address; `setenv netretry no` among init_commands "
                    "makes U-Boot give up by itself",
                ) from None
            sizes = [int(match[1]) for match in map(TRANSFERRED.search, output) if match]
            if status != 0 or not sizes:
                trouble = _error_line(output)
                kind = ConfigurationError if "unknown command" in trouble.lower() else InfrastructureError
                raise kind(
                    f"U-Boot did not load {file.name} by `{command}`: {trouble}",
                    hint="the file is staged; check that the TFTP server serves that directory, and its prefix "
                    "(`external` of the TFTPProvider)",
                )
            if sizes[-1] != file.size:
                raise InfrastructureError(
                    f"U-Boot loaded {sizes[-1]} bytes of {file.name}, which has {file.size}",
                    hint="check that the TFTP server has no other file of that name",
                )

    def start(self) -> str:
        """Type the boot command; return a pattern of output that shows that U-Boot is back."""
        self._uboot.boot("")
        prompt = f"(?<=\\n)(?:{self._uboot.prompt})" if self._uboot.prompt else ""
        return "|".join(filter(None, (prompt, self._uboot.autoboot)))

    @contextmanager
    def _stage(self, name: str, limit: float) -> Iterator[None]:
        """Time the block, and add stage and last lines to its errors."""
        console = self._line.console
        try:
            with self._around(name, limit), _errors_as_ours(name):
                yield
        except HilError as error:
            error.stage = error.stage or name
            error.evidence = error.evidence or console.evidence()
            raise
        end = console.position
        self.reached.append(StageTime(name, (console.stamp(max(0, end - 1)) - self._zero) / 1e9, end))

    def _text(self, begin: int) -> str:
        transcript = self._line.console.transcript
        transcript.refresh()
        return transcript.read(begin, transcript.size).decode("utf-8", "replace")

    def _too_late(self, message: str, hint: str) -> InfrastructureError:
        """Return the error for a wait that has exceeded its limit, with a diagnosis of the line."""
        on_line = diagnose(self._line.console, start=self._since)
        return InfrastructureError(f"{message}; on the line: {on_line}", cause=on_line, hint=hint)


@contextmanager
def _errors_as_ours(stage: str) -> Iterator[None]:
    """Convert the exceptions of labgrid's driver."""
    try:
        yield
    except ExpectClosed as error:
        raise LineClosed(f"the line ended in stage {stage!r}: {error.message}") from None
    except HilError:
        raise
    except ValueError as error:  # an answer without its frame
        raise InfrastructureError(
            f"U-Boot's answer was garbled on the line: {error}",
            hint="check the speed, and that nothing else types on this line",
        ) from None
    except Exception as error:
        raise InfrastructureError(
            f"labgrid's U-Boot driver failed: {described(error)}",
            hint="check the arguments of the UBootDriver in the board file",
        ) from error


def _error_line(output: Sequence[str]) -> str:
    """Return the first line that reports an error, else the last line."""
    lines = [line.strip() for line in output if line.strip()]
    found = next(filter(TROUBLE.search, lines), None)
    return found or (lines[-1] if lines else "no output")
