"""A lab in a box: taken up, looked at and taken down, by its directory."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from hil.errors import ConfigurationError, InfrastructureError
from hil.host.directories import cache_root, expanded
from hil.host.locks import try_lock
from hil.host.processes import Process
from hil.lab import machine
from hil.lab.plan import PLAN, STATE, STAY, LabPlan, LabState
from hil.lab.processes import MARK, marked, sweep

LOOPBACK = "127.0.0.1"
SERIAL = ("rfc2217", "raw")
TAGS = {"lab": "box", "board": "qemu-uboot"}
RESOURCES = 3  # of each place: power, serial line, TFTP
START_LIMIT = 180.0  # seconds for a lab to come up on a busy machine
END_LIMIT = 10.0  # seconds for a killed supervisor to be gone
LOCK = "lock"
SAID = "supervisor.log"


@dataclass(frozen=True)
class BoardStatus:
    """A board of a lab and its place: who has it (`HOST/USER`, empty if nobody), and where its serial line is served.

    The address is empty where nobody serves it: with RFC 2217 that is so while nobody has the place. `ser2net` and
    `qemu` are process ids, None for what does not run.
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
    """What there is of a lab: its parts with their processes, dead or alive, and its boards."""

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

    As a context manager it is taken down at the end. One that was not told to `stay` ends with the object that `up`
    returned, and with its process, however that ends.
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
        listen: str = LOOPBACK,
        port: int = 0,
        insecure: bool = False,
        stay: bool = False,
    ) -> Lab:
        """Take up a lab of `count` boards with `image`, at places box-1 to box-N, and return when all is ready.

        `serial` is how the lines are served, `rfc2217` by labgrid's exporter or `raw` by the lab. `baud` paces them,
        in bits per second. The coordinator listens on `port`, 0 for any, at the IPv4 address `listen`.

        Raises `ConfigurationError` where a lab is up already, for a directory with other things in it, and for a
        `listen` beyond this host that is not said to be `insecure`; `InfrastructureError` that names the part which
        does not come up, with what it said last.
        """
        _check(count, serial, listen, insecure)
        directory = where(directory)
        commands = _commands(count, image)
        local = ipaddress.ip_address(listen).is_loopback
        with _alone(directory) as lock:
            sweep(directory)
            _clear(directory, "*.log", "*.log.1")
            for name in commands:
                (directory / "tftp" / name).mkdir(parents=True)
            LabPlan(listen, port, serial, baud, local, image, commands).write(directory)
            supervisor, link = _start(directory, lock)
            try:
                _await_ready(link, directory)
                state = _state(directory)
                from hil.lab import places

                places.create(state.coordinator, commands, TAGS, kinds=RESOURCES, limit=START_LIMIT)
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
        """The lab in `directory`, or what is left of it. Raises `ConfigurationError` where there is none."""
        directory = where(directory)
        state = _state(directory)
        return cls(directory, state.coordinator, tuple(state.boards))

    def status(self) -> Status:
        """What there is of the lab now. Raises `ConfigurationError` when it was taken down."""
        from hil.lab import places

        state = _state(self.directory)
        known: dict[str, places.LabPlace] = {}
        if state.parts["coordinator"].alive:
            with suppress(InfrastructureError):  # it has died since, or hangs: the boards are there all the same
                known = places.look(state.coordinator)
        servers = {process.pid: process.arguments for process in marked(self.directory)}
        servers = {pid: words for pid, words in servers.items() if words and Path(words[0]).name == "ser2net"}
        boards = []
        for name, board in state.boards.items():
            place = known.get(name)
            qemu = board.qemu.pid if board.qemu and board.qemu.alive else None
            boards.append(
                BoardStatus(
                    place=name,
                    acquired=place.acquired if place else "",
                    power="on" if qemu else "off",
                    serial=board.address or (place.serial if place else ""),
                    port=board.port,
                    ser2net=next((pid for pid, words in servers.items() if f",{board.port}," in "".join(words)), None),
                    qemu=qemu,
                )
            )
        return Status(self, state.parts, tuple(boards))

    def wait(self, limit: float | None = None) -> bool:
        """Wait for the end of the supervisor, at most `limit` seconds, and return whether it has ended."""
        state = LabState.read(self.directory)
        return state is None or state.parts["supervisor"].wait(limit)

    def down(self) -> None:
        """End the lab and all its processes; their logs stay. Nothing happens when it is down.

        Raises `InfrastructureError` where a process does not end.
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


def where(directory: Path | None) -> Path:
    """The lab's directory: the one given, else the user's own for what runs, else one in the cache."""
    if directory is not None:
        return expanded(directory).resolve()
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    # the XDG rules: a relative path is to be ignored
    return runtime / "hil-lab" if runtime.is_absolute() and runtime.is_dir() else cache_root() / "lab"


def take_down(directory: Path | None = None) -> int:
    """End all that runs of the lab in `directory`, also after its supervisor's death, and return how much that was.

    Logs stay. Raises `InfrastructureError` where a process does not end.
    """
    directory = where(directory)
    count = sweep(directory)
    if (directory / LOCK).exists():
        _clear(directory)
    return count


def _check(count: int, serial: str, listen: str, insecure: bool) -> None:
    if count < 1:
        raise ConfigurationError(f"a lab of {count} boards?", hint="one at least")
    if serial not in SERIAL:
        raise ConfigurationError(f"serial lines by {serial}?", hint=f"one of {', '.join(SERIAL)}")
    try:
        address = ipaddress.IPv4Address(listen)
    except ValueError:
        raise ConfigurationError(f"{listen} is no IPv4 address", hint=f"the default is {LOOPBACK}") from None
    if address.is_unspecified:
        raise ConfigurationError(
            f"{listen} is all addresses of this host, and places need one that their users reach",
            hint="name that address",
        )
    if not (address.is_loopback or insecure):
        raise ConfigurationError(
            f"{listen} can be reached from other hosts, and nothing of a lab asks who comes: whoever reaches it has "
            "coordinator, power switch and consoles",
            hint="stay on loopback and use SSH, see docs/lab.md; in a network that you trust say --insecure",
        )


def _commands(count: int, image: str) -> dict[str, list[str]]:
    """The machines' command lines by place, for the lab's directory."""
    from hil.host.progress import shown
    from hil.image import ensure, manifest

    with shown(sys.stderr) as progress:
        files = ensure(manifest.find(image), progress)
    names = [f"box-{number}" for number in range(1, count + 1)]
    # relative paths, for that of a socket must be short
    return {name: machine.command(files, tftp=Path("tftp", name), serial=Path(f"{name}.line")) for name in names}


@contextmanager
def _alone(directory: Path) -> Iterator[int]:
    """The directory's lock, whose file is made with it. It is held as long as a process has it open."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (directory / LOCK).exists() and any(directory.iterdir()):
            raise ConfigurationError(f"{directory} has other things than a lab in it", hint="choose another directory")
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(f"cannot make a lab in {directory}: {error.strerror}") from error
    try:
        if not try_lock(lock):
            state = LabState.read(directory)
            what = f"is up in {directory}, with {len(state.boards)} boards" if state else f"is coming up in {directory}"
            raise ConfigurationError(f"a lab {what}", hint="`hil lab down` ends it; --directory makes one beside it")
        yield lock
    finally:
        os.close(lock)


def _clear(directory: Path, *more: str) -> None:
    """Remove what a lab has left."""
    shutil.rmtree(directory / "tftp", ignore_errors=True)
    for pattern in (PLAN, STATE, "*.new", "*.yaml", "*.line", *more):
        for path in directory.glob(pattern):
            path.unlink(missing_ok=True)


def _start(directory: Path, lock: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The supervisor, and the link to it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LG_")}
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    ours, theirs = socket.socketpair()
    with theirs, (directory / SAID).open("wb") as log:
        command = [sys.executable, "-P", "-m", "hil.lab.supervisor", str(directory), str(theirs.fileno())]
        supervisor = subprocess.Popen(
            command,
            env={**environment, MARK: str(directory), "PYTHONPATH": path},
            pass_fds=[theirs.fileno(), lock],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C at the terminal is not for the lab
        )
    return supervisor, ours


def _await_ready(link: socket.socket, directory: Path) -> None:
    link.settimeout(START_LIMIT)
    log = directory / SAID
    try:
        with link.makefile("rb") as answers:
            answer = answers.readline()
    except TimeoutError:
        raise InfrastructureError(f"the lab is not ready within {START_LIMIT:g} s", hint=f"see {log}") from None
    if not answer:
        said = "".join(f"\n  | {line}" for line in log.read_text("utf-8", "replace").splitlines()[-12:])
        raise InfrastructureError(f"the lab's supervisor has ended{said}", hint=f"see {log}")
    if failed := json.loads(answer).get("failed"):
        raise InfrastructureError(failed, hint=json.loads(answer)["hint"])


def _state(directory: Path) -> LabState:
    state = LabState.read(directory)
    if state is None:
        raise ConfigurationError(f"no lab is up in {directory}", hint="`hil lab up 3` starts one with three boards")
    return state
