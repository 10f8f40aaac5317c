"""The supervisor of a lab: coordinator, exporter, power switch and boards live as long as its process.

Runs as `python -m hil.lab.supervisor DIRECTORY LINK_FD`, see `start`. It sends one line over the link: ready, or the
cause of a failure. It ends when the link is closed, unless it received `STAY`. Dead parts are not restarted, so that
users can test how they handle this.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from hil.errors import HilError, InfrastructureError
from hil.host import tools
from hil.host.processes import Process
from hil.lab.children import Child
from hil.lab.plan import EXPORTER, STATE, STAY, BoardState, LabPlan, LabState
from hil.lab.power import PowerSwitch
from hil.lab.wire import Wire

READY_LIMIT = 60.0  # seconds for a part to be ready on a busy machine
SHIM = Path(__file__).parent / "bin"
"""The directory of the ser2net that the exporter starts."""


class LabMachine:
    """One board: its serial line stays, its QEMU follows the power. `changed` is called after a change."""

    def __init__(self, name: str, command: Sequence[str], wire: Wire, changed: Callable[[], None]) -> None:
        self.name, self.wire = name, wire
        self._changed = changed
        self._command = command
        self._qemu: Child | None = None
        self._switching = asyncio.Lock()

    @property
    def on(self) -> bool:
        return self.process is not None

    @property
    def process(self) -> Process | None:
        """Its QEMU; None while it is off, or if QEMU has ended by itself."""
        return self._qemu.process if self._qemu is not None and self._qemu.running else None

    async def switch(self, on: bool) -> None:
        """Start the machine, or kill it as a power cut does. Raises `InfrastructureError`."""
        async with self._switching:
            if on and not self.on:
                await self._start()
            elif not on:
                await self._end()

    async def _start(self) -> None:
        self.wire.cut()
        connected = self.wire.connects()
        self._qemu = qemu = Child(self.name, self._command, log=Path(f"{self.name}.log"), ended=self._changed)
        await qemu.unless_over(connected, READY_LIMIT)
        if not (connected.done() and qemu.running):
            await self._end()
            raise qemu.failure(f"{self.name} does not start: its QEMU {qemu.exit_reason}")
        self._changed()

    async def _end(self) -> None:
        if self._qemu is not None:
            self._qemu.kill()
            await self._qemu.gone()
        self.wire.cut()


class Box:
    """The parts of the lab in the current directory."""

    def __init__(self, plan: LabPlan) -> None:
        self._plan = plan
        self._stack = ExitStack()
        self._machines: dict[str, LabMachine] = {}
        self._parts: dict[str, Child] = {}
        self._ports: dict[str, int] = {}  # of serial lines that the lab serves itself
        self._coordinator = self._power = self._ser2net = ""
        self._open = False

    async def open(self) -> None:
        """Start all parts; the boards stay off. Raises `InfrastructureError` for a part that does not come up."""
        _tool("setpriv")  # without it, parts could outlive the supervisor
        self._ser2net = _tool("ser2net")
        if not os.access(SHIM / "ser2net", os.X_OK):
            raise InfrastructureError(
                f"{SHIM / 'ser2net'} cannot be run; without it, serial ports would be open on all addresses",
                hint="install the package wasm-hil again with pip",
            )
        for name, command in self._plan.commands.items():
            wire = Wire(Path(f"{name}.line"), self._plan.baud)
            self._stack.callback(wire.close)
            self._machines[name] = LabMachine(name, command, wire, self._save)
        switch = PowerSwitch(self._machines, self._plan.listen)
        self._stack.callback(switch.close)
        self._power = switch.url
        where = f"{self._plan.listen}:{self._plan.port}"
        coordinator = self._part("coordinator", _module("labgrid.remote.coordinator", "-l", where))
        self._coordinator = (await coordinator.output(r"^listening on (\S+)", READY_LIMIT))[1]
        if self._plan.serial == "raw":
            await asyncio.gather(*map(self._serve, self._machines.values()))
        config = Path("exporter.yaml")
        # a Jinja template of YAML for the exporter; JSON is YAML
        config.write_text("{% raw %}" + json.dumps(self._resources()) + "{% endraw %}", "utf-8")
        module = "hil.lab.exporter" if self._plan.local else "labgrid.remote.exporter"
        host = ("-n", EXPORTER, "--hostname", self._plan.listen)
        exporter = self._part("exporter", _module(module, "-c", self._coordinator, *host, str(config)))
        await exporter.output("^Exporter ready", READY_LIMIT)
        self._open = True
        self._save()

    async def close(self) -> None:
        """End everything."""
        self._open = False
        for machine in self._machines.values():
            await machine.switch(False)
        for child in self._parts.values():
            child.kill()
        for child in self._parts.values():
            await child.gone()
        self._stack.close()

    def _part(self, name: str, command: Sequence[str]) -> Child:
        environment = {
            "PATH": f"{SHIM}:{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "HIL_LAB_SER2NET": self._ser2net,
            "HIL_LAB_LISTEN": self._plan.listen,
        }
        log = Path(f"{name.replace(' ', '-')}.log")
        child = self._parts[name] = Child(name, command, log=log, environment=environment, ended=self._save)
        return child

    async def _serve(self, machine: LabMachine) -> None:
        """Serve the machine's serial line as raw TCP."""
        with socket.create_server((self._plan.listen, 0)) as probe:
            port = probe.getsockname()[1]
        self._ports[machine.name] = port
        lines = (
            f"connection: &{machine.name}#  accepter: tcp(nodelay=true),{self._plan.listen},{port}",
            f"  connector: serialdev(nouucplock=true),{machine.wire.port},{self._plan.baud or 115200}n81,local",
            "  options:",
            "    max-connections: 10",
        )
        words = [word for line in lines for word in ("-Y", line)]
        child = self._part(f"ser2net {machine.name}", [self._ser2net, "-d", "-n", *words])
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_LIMIT):
                while child.running:
                    with suppress(OSError):
                        (await asyncio.open_connection(self._plan.listen, port))[1].close()
                        return
                    await asyncio.sleep(0.05)
        raise child.failure(f"{child.name} {child.exit_reason or f'is not ready within {READY_LIMIT:g} s'}")

    def _resources(self) -> dict[str, dict[str, dict[str, object]]]:
        """Return the resources to export, by place."""
        speed = self._plan.baud or 115200
        resources: dict[str, dict[str, dict[str, object]]] = {}
        for name, machine in self._machines.items():
            serial: dict[str, dict[str, object]]
            if port := self._ports.get(name):
                facts = {"host": self._plan.listen, "port": port, "speed": speed, "protocol": "raw"}
                serial = {"NetworkSerialPort": facts}
            else:
                serial = {"RawSerialPort": {"port": machine.wire.port, "speed": speed}}
            resources[name] = {
                "NetworkPowerPort": {"model": "rest", "host": f"{self._power}/{name}", "index": 1},
                "TFTPProvider": {"internal": f"{Path.cwd() / 'tftp' / name}/", "external": ""},
                **serial,
            }
        return resources

    def _save(self) -> None:
        """Write the present state to the lab's directory."""
        if not self._open:
            return
        own = Process.of(os.getpid())
        assert own is not None
        LabState(
            coordinator=self._coordinator,
            serial=self._plan.serial,
            baud=self._plan.baud,
            image=self._plan.image,
            parts={"supervisor": own, **{name: child.process for name, child in self._parts.items()}},
            boards={
                name: BoardState(
                    port=machine.wire.port,
                    address=f"{self._plan.listen}:{self._ports[name]}" if name in self._ports else "",
                    power=f"{self._power}/{name}",
                    qemu=machine.process,
                )
                for name, machine in self._machines.items()
            },
        ).write(Path.cwd())


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-uP", "-m", name, *arguments]


def _tool(name: str) -> str:
    found = tools.find(name)
    if found is None:
        raise tools.missing(name)
    return found


def _prioritise() -> None:
    """Take a real-time priority, not inherited: a pace is only as even as its process is punctual."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(40))


async def main(link: socket.socket) -> None:
    """Open the lab, report over the link, and keep it until the link or a signal ends it."""
    loop = asyncio.get_running_loop()
    ends = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ends.set)
    link.setblocking(False)

    async def read_link() -> None:
        message = b""
        with suppress(OSError):
            message = await loop.sock_recv(link, 64)
        if message != STAY:
            ends.set()

    plan = LabPlan.read(Path.cwd())
    box = Box(plan)
    opening, ending, _reading = map(asyncio.ensure_future, (box.open(), ends.wait(), read_link()))
    try:
        await asyncio.wait({opening, ending}, return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            opening.result()
            if plan.baud:
                _prioritise()
            link.send(json.dumps({"ready": True}).encode() + b"\n")
            await ending
        opening.cancel()
    except HilError as error:
        with suppress(OSError):
            link.send(json.dumps({"failed": error.message, "hint": error.hint}).encode() + b"\n")
    finally:
        await box.close()
        Path(STATE).unlink(missing_ok=True)


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    asyncio.run(main(socket.socket(fileno=int(sys.argv[2]))))
