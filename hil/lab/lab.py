"""A lab of emulated boards: started, examined and taken down, by its directory."""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from hil.errors import InfrastructureError
from hil.host.processes import Process
from hil.lab import places
from hil.lab import start as starting
from hil.lab.directory import clear, locked, state_of, take_down, where
from hil.lab.plan import STAY, BoardState, LabPlan, LabState
from hil.lab.processes import marked, sweep

TAGS = {"lab": "box", "board": "qemu-uboot"}
RESOURCES = 3  # of each place: power, serial line, TFTP
END_LIMIT = 10.0  # seconds for a killed supervisor to be gone


@dataclass(frozen=True)
class BoardStatus:
    """A board of a lab with its place.

    `acquired` is its user (`HOST/USER`), empty if it is free. `serial` is the address of its serial line, empty while
    it is not served: with RFC 2217 that is while the place is free. `ser2net` and `qemu` are process ids, None for a
    process that does not run.
    """

    place: str
    acquired: str
    power: str
    serial: str
    port: str
    ser2net: int | None
    qemu: int | None


@dataclass(frozen=True)
class Status:
    """The status of a lab: its parts with their processes, dead or alive, and its boards."""

    lab: Lab
    parts: dict[str, Process]
    boards: tuple[BoardStatus, ...]

    @property
    def dead(self) -> tuple[str, ...]:
        """The parts that have ended; empty for a lab in order."""
        return tuple(name for name, process in self.parts.items() if not process.alive)


@dataclass(frozen=True)
class Lab:
    """A lab: the address of its coordinator (`LG_COORDINATOR`) and the names of its places.

    As a context manager it is taken down at the end. Without `stay` it ends with the object that `up` returned, and
    with the process that holds it, also after SIGKILL.
    """

    directory: Path
    coordinator: str
    places: tuple[str, ...]
    _owned: tuple[subprocess.Popen[bytes], socket.socket] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def up(
        cls,
        count: int,
        *,
        image: str = "reference",
        serial: str = "rfc2217",
        baud: int | None = None,
        directory: Path | None = None,
        listen: str = starting.LOOPBACK,
        port: int = 0,
        insecure: bool = False,
        stay: bool = False,
    ) -> Lab:
        """Start a lab of `count` boards with `image`, at places box-1 to box-N, and return when all is ready.

        `serial` is how the lines are served: `rfc2217` by labgrid's exporter, or `raw` by the lab. `baud` paces them,
        in bits per second. The coordinator listens at the IPv4 address `listen` on `port` (0: any).

        Raises `ConfigurationError` if a lab is up already, for a directory with other files, and for a `listen` beyond
        this host without `insecure`; `InfrastructureError` that names the part that does not come up.
        """
        starting.check(count, serial, listen, insecure)
        directory = where(directory)
        commands = starting.commands(count, image)
        with locked(directory) as lock:
            sweep(directory)
            clear(directory, "*.log", "*.log.1")
            for name in commands:
                (directory / "tftp" / name).mkdir(parents=True)
            LabPlan(listen, port, serial, baud, image, commands).write(directory)
            supervisor, link = starting.start(directory, lock)
            try:
                starting.await_ready(link, directory)
                state = state_of(directory)
                places.create(state.coordinator, commands, TAGS, kinds=RESOURCES, limit=starting.START_LIMIT)
                if stay:
                    link.send(STAY)
            except BaseException:
                link.close()
                take_down(directory)
                supervisor.wait(END_LIMIT)
                raise
        return cls(directory, state.coordinator, tuple(commands), (supervisor, link))

    @classmethod
    def find(cls, directory: Path | None = None) -> Lab:
        """Return the lab in `directory`, which may be partly dead. Raises `ConfigurationError` if there is none."""
        directory = where(directory)
        state = state_of(directory)
        return cls(directory, state.coordinator, tuple(state.boards))

    def status(self) -> Status:
        """Return the present status. Raises `ConfigurationError` if the lab was taken down."""
        state = state_of(self.directory)
        known: dict[str, places.LabPlace] = {}
        if state.parts["coordinator"].alive:
            with suppress(InfrastructureError):  # the coordinator died or hangs; the boards still have a status
                known = places.look(state.coordinator)
        processes = {process.pid: process.arguments for process in marked(self.directory)}
        servers = {pid: " ".join(words) for pid, words in processes.items() if words[:1] and _is_ser2net(words[0])}
        boards = [_status(name, board, known.get(name), servers) for name, board in state.boards.items()]
        return Status(self, state.parts, tuple(boards))

    def wait(self, limit: float | None = None) -> bool:
        """Wait for the end of the supervisor, at most `limit` seconds; return whether it has ended."""
        state = LabState.read(self.directory)
        return state is None or state.parts["supervisor"].wait(limit)

    def down(self) -> None:
        """End the lab and all its processes; harmless when repeated. Logs stay.

        Raises `InfrastructureError` if a process does not end.
        """
        take_down(self.directory)
        if self._owned is not None:
            supervisor, link = self._owned
            link.close()
            supervisor.wait(END_LIMIT)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()


def _is_ser2net(program: str) -> bool:
    return Path(program).name == "ser2net"


def _status(name: str, board: BoardState, place: places.LabPlace | None, servers: dict[int, str]) -> BoardStatus:
    qemu = board.qemu.pid if board.qemu and board.qemu.alive else None
    return BoardStatus(
        place=name,
        acquired=place.acquired if place else "",
        power="on" if qemu else "off",
        serial=board.address or (place.serial if place else ""),
        port=board.port,
        ser2net=next((pid for pid, command in servers.items() if f",{board.port}," in command), None),
        qemu=qemu,
    )
