"""A board file to begin with: drivers for what the board has, or for what the coordinator knows of its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from hil.errors import ConfigurationError
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
FIRST = ["setenv netretry no", "setenv autoload no", "dhcp"]


@dataclass(frozen=True)
class Resource:
    """A labgrid resource of the board, by class and name; `arguments` where the board file defines it itself."""

    cls: str
    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Uboot:
    """How U-Boot is spoken to: its prompt (a regular expression), what it loads to where, and what boots then."""

    prompt: str
    boot_command: str
    load: Mapping[str, int | str] = field(default_factory=dict)


def of_place(coordinator: Coordinator, name: str) -> list[Resource]:
    """The resources of the place `name`, whoever has it. Raises `ConfigurationError` where there is no such place."""
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
    return sorted(found, key=lambda one: (one.cls, one.name))


def draft(
    image: str, resources: Sequence[Resource], *, place: str | None = None, uboot: Uboot | None = None, rest: float = 0
) -> str:
    """The text of a board file for the manifest `image`, a path relative to it.

    Raises `ConfigurationError` where power or serial port are missing.
    """
    drivers: dict[str, Any] = {}
    notes: list[str] = []
    for role, (known, binding) in ROLES.items():
        fit = [one for one in resources if one.cls in known]
        if not fit and role != "TFTP":
            raise ConfigurationError(
                f"{f'place {place}' if place else 'the board'} has no {role} that labgrid has a driver for; it has: "
                f"{', '.join(one.cls for one in resources) or 'nothing'}",
                hint="does its exporter run, and do the place's matches fit? (labgrid-client -p PLACE show)"
                if place
                else "give --power and --serial",
            )
        if not fit or (role == "TFTP" and uboot is None):
            continue
        drivers[known[fit[0].cls]] = {"bindings": {binding: fit[0].name}} if len(fit) > 1 else {}
        if len(fit) > 1:
            notes.append(f"The {role} is {fit[0].name}, and it could be: {', '.join(one.name for one in fit[1:])}.")
    strategy: dict[str, Any] = {"rest": rest} if rest else {}
    if uboot is not None:
        drivers["UBootDriver"] = {
            "prompt": uboot.prompt,
            "init_commands": FIRST if "TFTPProviderDriver" in drivers else [],
            "boot_command": uboot.boot_command,
        }
        if uboot.load:
            if "TFTPProviderDriver" not in drivers:
                raise ConfigurationError(
                    "U-Boot has nothing to load files from", hint="give --tftp, or a place with a TFTPProvider"
                )
            strategy["load"] = {
                name: _Address(address) if isinstance(address, int) else address for name, address in uboot.load.items()
            }
    drivers["HilStrategy"] = strategy
    if any("Fastboot" in one.cls for one in resources):
        notes.append("Its fastboot is not part of the boot; an AndroidFastbootDriver flashes it by hand.")
    content = {
        "imports": ["hil.labgrid"],
        "images": {"main": image},
        "targets": {
            "main": {
                "resources": {"RemotePlace": {"name": place}}
                if place
                else [{one.cls: dict(one.arguments)} for one in resources],
                "drivers": drivers,
            }
        },
    }
    comment = "".join(f"# {note}\n" for note in ["Unproven: say here what was proven on it, and where.", *notes])
    return comment + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Address(int):
    """Written in hexadecimal."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Address, lambda dumper, address: dumper.represent_scalar("tag:yaml.org,2002:int", f"{address:#x}")
)
