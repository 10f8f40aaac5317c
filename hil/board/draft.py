"""The draft of a board file: drivers for the board's resources, as typed or those of its place at the coordinator."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from labgrid.driver import power

from hil.errors import ConfigurationError
from hil.host.hints import did_you_mean
from hil.places.coordinator import Coordinator

POWER = {
    "NetworkPowerPort": "NetworkPowerDriver",
    "PDUDaemonPort": "PDUDaemonDriver",
    "NetworkSiSPMPowerPort": "SiSPMPowerDriver",
    "NetworkUSBPowerPort": "USBPowerDriver",
    "NetworkYKUSHPowerPort": "YKUSHPowerDriver",
    "YKUSHPowerPort": "YKUSHPowerDriver",
}
SERIAL = {"NetworkSerialPort": "HilSerialDriver", "RawSerialPort": "HilSerialDriver"}
TFTP = {"RemoteTFTPProvider": "TFTPProviderDriver", "TFTPProvider": "TFTPProviderDriver"}
ROLES = {"power": (POWER, "port"), "serial": (SERIAL, "port"), "TFTP": (TFTP, "provider")}
BAUD = 115200
FIRST = ["setenv netretry no", "setenv autoload no", "dhcp"]


@dataclass(frozen=True)
class Resource:
    """A labgrid resource of the board; `arguments` are for one that the board file defines."""

    cls: str
    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Uboot:
    """The use of U-Boot: its prompt (a regular expression), the files and addresses to load, and the boot command."""

    prompt: str
    boot_command: str
    load: Mapping[str, int | str] = field(default_factory=dict)


def power_switch(text: str) -> Resource:
    """Return the power switch MODEL:HOST:INDEX. Raises `ConfigurationError`."""
    parts = re.fullmatch(r"(\w+):(.+):(\d+)", text)
    if parts is None:
        raise ConfigurationError(f"{text!r} is not MODEL:HOST:INDEX", hint="write it as netio:pdu.lab:3")
    model, host, index = parts.groups()
    if model not in (known := power_models()):
        raise ConfigurationError(
            f"labgrid has no driver for the power switch {model!r}",
            hint=f"{did_you_mean(model, known)}its models are: {', '.join(known)}",
        )
    return Resource("NetworkPowerPort", arguments={"model": model, "host": host, "index": int(index)})


def power_models() -> list[str]:
    """Return the models of power switches that labgrid has drivers for."""
    return sorted(module.name for module in pkgutil.iter_modules(power.__path__))


def serial_port(text: str) -> Resource:
    """Return the serial port /dev/..., HOST:PORT (RFC 2217) or raw:HOST:PORT. Raises `ConfigurationError`."""
    if network := re.fullmatch(r"(raw:)?([^/]+):(\d+)", text):
        raw, host, port = network.groups()
        arguments = {"host": host, "port": int(port), "protocol": "raw" if raw else "rfc2217", "speed": BAUD}
        return Resource("NetworkSerialPort", arguments=arguments)
    if not text.startswith("/"):
        raise ConfigurationError(f"{text!r} is not a serial port", hint="give /dev/ttyUSB0, HOST:PORT or raw:HOST:PORT")
    return Resource("RawSerialPort", arguments={"port": text, "speed": BAUD})


def tftp_server(directory: str) -> Resource:
    """Return the TFTP server of this host that serves `directory`."""
    return Resource("TFTPProvider", arguments={"internal": directory.rstrip("/") + "/", "external": ""})


def boot_files(words: Sequence[str]) -> dict[str, int | str]:
    """Return the files and addresses of words FILE=ADDRESS; an address is a number or a variable of U-Boot's.

    Raises `ConfigurationError`.
    """
    files: dict[str, int | str] = {}
    for word in words:
        file, _, address = word.partition("=")
        if not file or not address:
            hint = "write it as kernel=0x40400000 or kernel='${loadaddr}'"
            raise ConfigurationError(f"{word!r} is not FILE=ADDRESS", hint=hint)
        try:
            files[file] = int(address, 0)
        except ValueError:
            files[file] = address
    return files


def of_place(coordinator: Coordinator, name: str) -> list[Resource]:
    """Return the resources of the place `name`, acquired or not. Raises `ConfigurationError` for an unknown place."""
    session = coordinator.session
    place = session.places.get(name)
    if place is None:
        raise ConfigurationError(
            f"the coordinator at {coordinator.address} has no place {name!r}",
            hint=f"its places are: {', '.join(sorted(session.places)) or 'none'}",
        )
    found = []
    for exporter, groups in session.resources.items():
        for group, resources in groups.items():
            for key, entry in resources.items():
                if match := place.getmatch((exporter, group, entry.cls, key)):
                    found.append(Resource(entry.cls, match.rename or key))
    return sorted(found, key=lambda resource: (resource.cls, resource.name))


def draft(
    image: str,
    resources: Sequence[Resource],
    *,
    place: str | None = None,
    uboot: Uboot | None = None,
    power_off_delay: float = 0,
) -> str:
    """Return the text of a board file; `image` is the image's name.

    `power_off_delay` is in seconds. Raises `ConfigurationError` without power or serial port.
    """
    drivers: dict[str, Any] = {}
    notes: list[str] = []
    for role, (known, binding) in ROLES.items():
        matching = [resource for resource in resources if resource.cls in known]
        if not matching and role != "TFTP":
            raise ConfigurationError(
                f"{f'place {place}' if place else 'the board'} has no {role} resource with a labgrid driver; it has: "
                f"{', '.join(resource.cls for resource in resources) or 'nothing'}",
                hint="check its exporter and the place's matches (labgrid-client -p PLACE show)"
                if place
                else "give --power and --serial",
            )
        if not matching or (role == "TFTP" and uboot is None):
            continue
        drivers[known[matching[0].cls]] = {"bindings": {binding: matching[0].name}} if len(matching) > 1 else {}
        if len(matching) > 1:
            others = ", ".join(resource.name for resource in matching[1:])
            notes.append(f"The {role} is {matching[0].name}, and it could be: {others}.")
    strategy: dict[str, Any] = {"rest": power_off_delay} if power_off_delay else {}
    if uboot is not None:
        drivers["UBootDriver"] = {
            "prompt": uboot.prompt,
            "init_commands": FIRST if "TFTPProviderDriver" in drivers else [],
            "boot_command": uboot.boot_command,
        }
        if uboot.load:
            if "TFTPProviderDriver" not in drivers:
                raise ConfigurationError(
                    "no TFTP server for U-Boot to load files from", hint="give --tftp, or a place with a TFTPProvider"
                )
            strategy["load"] = {
                name: _Address(address) if isinstance(address, int) else address for name, address in uboot.load.items()
            }
    drivers["HilStrategy"] = strategy
    if any("Fastboot" in resource.cls for resource in resources):
        notes.append("Its fastboot is not part of the boot; an AndroidFastbootDriver flashes it by hand.")
    content = {
        "imports": ["hil.labgrid"],
        "images": {"main": image},
        "targets": {
            "main": {
                "resources": {"RemotePlace": {"name": place}}
                if place
                else [{resource.cls: dict(resource.arguments)} for resource in resources],
                "drivers": drivers,
            }
        },
    }
    comment = "".join(f"# {note}\n" for note in ["Unproven: say here what was proven on it, and where.", *notes])
    return comment + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Address(int):
    """An address, written in hexadecimal."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Address, lambda dumper, address: dumper.represent_scalar("tag:yaml.org,2002:int", f"{address:#x}")
)
