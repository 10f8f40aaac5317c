"""A boot's first stages where U-Boot starts the board: its prompt, and each file of the image over TFTP."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
from labgrid import Target
from labgrid.driver import ExecutionError, TFTPProviderDriver
from labgrid.resource import TFTPProvider
from labgrid.resource.common import NetworkResource
from labgrid.util.managedfile import ManagedFileError

from hil.board.protocol import HilConsoleProtocol
from hil.board.seam import described, guarded
from hil.board.stages import StageTime, diagnose
from hil.console import ExpectClosed, LineClosed, LineTimeout
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.image.manifest import check_overlaps
from hil.image.store import Image

PROMPT = "U-Boot"
"""The stage that ends at U-Boot's prompt, its `init_commands` done."""

SLACK = 60.0  # seconds that a transfer of nothing may take: U-Boot gives a server up after about 50
RATE = 250e3  # bytes/s; what is slower is not worth waiting for
QUIET = 20.0  # seconds; in a transfer U-Boot draws, and one that waits for its server tells that every 5
GRACE = 5.0  # seconds that labgrid's driver may be late by
ADDRESS = re.compile(r"0x[0-9a-fA-F]+|\$\{[A-Za-z_]\w*\}")
PLAIN = re.compile(r"[\w./+:@%=,-]+")  # what U-Boot's shell takes as one word
TRANSFERRED = re.compile(r"Bytes transferred = (\d+)")
TROUBLE = re.compile(r"error|fail|abort|unknown|retry|not set|overwrite|\*\*\*", re.I)


@dataclass(frozen=True)
class BootFile:
    """A file that U-Boot loads: `path` here, of `size` bytes, to `address`, a number or a variable of U-Boot's."""

    name: str
    path: Path
    size: int
    address: str


def parcels(image: Image, load: Mapping[str, Any]) -> tuple[BootFile, ...]:
    """What has to be in memory: the board file's `load`, then what the image's manifest places itself.

    Raises `ConfigurationError` for what is not an address, for a file that the image has not, and where two overlap.
    """
    machine = image.manifest.machine
    addresses: dict[str, int | str] = dict(load)
    for one in machine.load:
        addresses.setdefault(one.file, one.address)
    found: list[BootFile] = []
    for name, address in addresses.items():
        if name not in image.files:
            raise ConfigurationError(
                f"load: image {image.manifest.name} has no file {name!r}",
                hint=f"correct the board file's HilStrategy; the files are: {', '.join(sorted(image.files))}",
            )
        text = hex(address) if isinstance(address, int) else address
        if not isinstance(text, str) or isinstance(address, bool) or not ADDRESS.fullmatch(text):
            raise ConfigurationError(
                f"load: {address!r} is no address for {name!r}", hint="0x40400000, or a variable as ${loadaddr}"
            )
        found.append(BootFile(name, image.files[name], image.files[name].stat().st_size, text))
    areas = {one.name: (int(one.address, 16), one.size) for one in found if one.address.startswith("0x")}
    try:
        check_overlaps(areas | {area.name: (area.address, area.size) for area in machine.reserved})
    except ValueError as error:
        raise ConfigurationError(
            f"load: {error}", hint="move one of them, in the board file or the manifest"
        ) from error
    return tuple(found)


def stage(driver: TFTPProviderDriver, wanted: tuple[BootFile, ...]) -> dict[str, str]:
    """Have the TFTP server offer the files; returns what each is called there.

    A server on another host is reached by SSH, as labgrid has it. Raises `InfrastructureError`.
    """
    offered: dict[str, str] = {}
    with _provider(driver) as (where, offer):
        for one in wanted:
            try:
                name = offer(str(one.path))
            except (OSError, ExecutionError, ManagedFileError) as error:
                raise InfrastructureError(
                    f"cannot stage {one.name} for TFTP in {where}: {error}",
                    hint="the directory must be writable for you, on another host by SSH without a password",
                ) from error
            if not PLAIN.fullmatch(name):
                raise ConfigurationError(f"U-Boot cannot name the file {name!r}", hint="give it a plain name")
            if name in offered.values():
                raise ConfigurationError(
                    f"two files of the image are called {name} on the TFTP server", hint="give one another name"
                )
            offered[one.name] = name
    return offered


@contextmanager
def _provider(driver: TFTPProviderDriver) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Where files are staged, and how. labgrid goes by SSH to whatever an exporter exports, to this host, too."""
    with guarded("the TFTP provider cannot be used"):
        driver.target.activate(driver)
    provider = driver.provider
    where = f"{provider.host}:{provider.internal}"
    if not _here(provider):
        yield where, driver.stage
        return
    beside = Target("staging")
    try:
        TFTPProvider(beside, None, internal=provider.internal, external=provider.external)
        local = TFTPProviderDriver(beside, None)
        beside.activate(local)
        yield where, local.stage
    finally:
        beside.cleanup()


def _here(provider: Any) -> bool:
    """Whether an exported directory is one of this host's."""
    if not isinstance(provider, NetworkResource) or "LG_PROXY" in os.environ:
        return False
    proxied = (getattr(provider, "extra", None) or {}).get("proxy_required")
    same = provider.host in ("localhost", "127.0.0.1", "::1", socket.gethostname())
    return bool(same and not proxied and Path(provider.internal).is_dir())


class Loader:
    """U-Boot of a board that was just switched on, through labgrid's `UBootDriver`; `since` is where its line begins.

    All waits have a limit. Errors name the stage: `InfrastructureError` (of which `LineClosed` is one) for what the
    test bed did, `ConfigurationError` for what the board file says.
    """

    def __init__(
        self,
        uboot: Any,
        line: HilConsoleProtocol,
        power_on_ns: int,
        around: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._uboot = uboot
        self._line = line
        self._zero = power_on_ns
        self._since = line.console.position
        self._around = around

    def prompt(self) -> StageTime:
        """See U-Boot's prompt, and its `init_commands` done."""
        uboot = self._uboot
        with self._stage(PROMPT) as reached:
            try:
                commands = len(uboot.init_commands)
                with self._line.bounded(uboot.login_timeout + GRACE + commands * SLACK):
                    uboot.target.activate(uboot)
            except (pexpect.TIMEOUT, LineTimeout):
                on_line = self._on_line()
                raise InfrastructureError(
                    f"U-Boot's prompt {uboot.prompt!r} did not come in {uboot.login_timeout} s, or it did not answer "
                    f"there; on the line: {on_line}",
                    cause=on_line,
                    hint="is the board powered, is it this line at this speed, and does `autoboot` of the UBootDriver "
                    "match what U-Boot says before it goes on by itself?",
                ) from None
            except ExecutionError as error:
                command, *told = error.args
                raise InfrastructureError(
                    f"U-Boot's command {command!r}, one of init_commands, failed: {_trouble(told[0] if told else [])}",
                    hint="is the network plugged in, and does its DHCP server answer?",
                ) from None
            except Exception as error:
                if type(error) is not Exception:
                    raise
                raise ConfigurationError(  # labgrid's, of U-Boot that asks for a password
                    f"the UBootDriver says: {error}", hint="give it a `password` in the board file"
                ) from None
        return reached[0]

    def load(self, parcel: BootFile, name: str) -> StageTime:
        """Fetch the file that TFTP calls `name`, and see that it came whole."""
        limit = SLACK + parcel.size / RATE
        with self._stage(f"tftp {parcel.name}") as reached:
            command = f"tftpboot {parcel.address} {name}"
            begin, since = self._line.console.position, time.monotonic()
            try:
                with self._line.bounded(limit + GRACE, QUIET):
                    said, _, status = self._uboot.run(command, timeout=limit)
            except (pexpect.TIMEOUT, LineTimeout):
                silent = "; the server does not answer (T T T)" if " T T" in self._text(begin) else ""
                on_line = self._on_line()
                raise InfrastructureError(
                    f"U-Boot did not end `{command}` in {time.monotonic() - since:.0f} s{silent}; "
                    f"on the line: {on_line}",
                    cause=on_line,
                    hint="`setenv netretry no` among init_commands has U-Boot give up by itself; "
                    "is `serverip` the TFTP server's address?",
                ) from None
            sizes = [int(match[1]) for match in map(TRANSFERRED.search, said) if match]
            if status != 0 or not sizes:
                trouble = _trouble(said)
                kind = ConfigurationError if "unknown command" in trouble.lower() else InfrastructureError
                raise kind(
                    f"U-Boot did not load {parcel.name} by `{command}`: {trouble}",
                    hint="the file is staged; does the TFTP server serve that directory, and is its prefix "
                    "(`external` of the TFTPProvider) right?",
                )
            if sizes[-1] != parcel.size:
                raise InfrastructureError(
                    f"U-Boot loaded {sizes[-1]} bytes of {parcel.name}, which has {parcel.size}",
                    hint="does the TFTP server offer another file by that name?",
                )
        return reached[0]

    def start(self) -> str:
        """Give the boot command; returns a pattern of what shows that U-Boot is back."""
        self._uboot.boot("")
        prompt = f"(?<=\\n)(?:{self._uboot.prompt})" if self._uboot.prompt else ""
        return "|".join(filter(None, (prompt, self._uboot.autoboot)))

    @contextmanager
    def _stage(self, name: str) -> Iterator[list[StageTime]]:
        """Time what happens within, and put stage and last lines to its errors."""
        reached: list[StageTime] = []
        console = self._line.console
        try:
            with self._around(name):
                yield reached
        except ExpectClosed as error:
            raise LineClosed(
                f"the line ended in stage {name!r}: {error.message}", stage=name, evidence=console.evidence()
            ) from None
        except HilError as error:
            error.stage = error.stage or name
            error.evidence = error.evidence or console.evidence()
            raise
        except (ValueError, UnicodeDecodeError) as error:  # labgrid's driver, of an answer without its frame
            raise InfrastructureError(
                f"U-Boot's answer was garbled on the line: {error}",
                stage=name,
                hint="is it the right speed, and does nothing else type on this line?",
                evidence=console.evidence(),
            ) from None
        except Exception as error:
            raise InfrastructureError(
                f"labgrid's U-Boot driver failed: {described(error)}",
                stage=name,
                hint="are the arguments of the UBootDriver in the board file right?",
                evidence=console.evidence(),
            ) from error
        end = console.position
        reached.append(StageTime(name, (console.stamp(max(0, end - 1)) - self._zero) / 1e9, end))

    def _text(self, begin: int) -> str:
        transcript = self._line.console.transcript
        transcript.refresh()
        return transcript.read(begin, transcript.size).decode("utf-8", "replace")

    def _on_line(self) -> str:
        return diagnose(self._line.console, start=self._since)


def _trouble(said: list[str]) -> str:
    """The first line that tells what went wrong, or the last one."""
    lines = [line.strip() for line in said if line.strip()]
    told = next(filter(TROUBLE.search, lines), None)
    return told or (lines[-1] if lines else "it said nothing")
