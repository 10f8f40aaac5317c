"""QEMU's options that only describe a machine: an allowlist for arguments from a script of somebody else."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hil.errors import ConfigurationError
from hil.image.options import suboptions

FILES = {"-kernel": "kernel", "-initrd": "initrd", "-dtb": "dtb"}
"""QEMU's options whose value is a file of the image, and the names of these files here."""

_SWITCH = r"on|off|yes|no|true|false"
_NUMBER = r"\d+|0x[0-9a-fA-F]+"
_SIZE = r"\d+[bBkKmMgGtT]?"
_WORD = r"[\w.+-]+"
_TYPE = r"[A-Za-z][\w.-]*"

# options that only describe the machine: suboption -> pattern of its value; "" is the first, unnamed value, "*" any
# other name. Other suboptions write or read files of the user (dumpdtb=, rrfile=, firmware=) or load programs.
MACHINE: dict[str, dict[str, str]] = {
    "-machine": {
        "": _TYPE,
        "type": _TYPE,
        "accel": r"tcg",
        "gic-version": r"\d|max|host",
        "iommu": r"none|smmuv3",
        **dict.fromkeys(
            ("virtualization", "secure", "highmem", "its", "mte", "ras", "acpi", "usb", "graphics"), _SWITCH
        ),
        **dict.fromkeys(("compact-highmem", "highmem-redists", "highmem-ecam", "highmem-mmio"), _SWITCH),
        **dict.fromkeys(("dtb-randomness", "dtb-kaslr-seed", "mem-merge", "dump-guest-core"), _SWITCH),
        **dict.fromkeys(("suppress-vmdesc", "default-bus-bypass-iommu", "kernel-irqchip"), _SWITCH),
    },
    "-cpu": {"": _WORD, "*": rf"{_SWITCH}|{_NUMBER}|{_WORD}"},
    "-m": {"": _SIZE, "size": _SIZE, "maxmem": _SIZE, "slots": _NUMBER},
    "-smp": {
        "": _NUMBER,
        **dict.fromkeys(("cpus", "sockets", "dies", "clusters", "modules", "cores", "threads", "maxcpus"), _NUMBER),
    },
    "-accel": {
        "": r"tcg",
        "accel": r"tcg",
        "thread": r"single|multi",
        "tb-size": _NUMBER,
        **dict.fromkeys(("split-wx", "one-insn-per-tb"), _SWITCH),
    },
    "-global": {"virtio-mmio.force-legacy": _SWITCH},
    "-icount": {"": r"\d|10|auto", "shift": r"\d|10|auto", "align": _SWITCH, "sleep": _SWITCH},
    "-rtc": {"base": r"utc|localtime|[\d:T-]+", "clock": r"host|rt|vm", "driftfix": r"none|slew"},
    "-append": {},  # a text for the kernel
}
MACHINE["-M"] = MACHINE["-machine"]
BARE = {"-no-reboot", "-nodefaults", "-no-user-config"}
# the framework adds its own line, monitor and display
CONSOLE = {"-serial", "-monitor", "-display"}
CONSOLE_BARE = {"-nographic"}


def check(arguments: Iterable[str], where: str, hint: str) -> None:
    """Check that `arguments` with `{name}` for files only describe a machine. Raises `ConfigurationError`."""
    left = iter(arguments)
    for word in left:
        reason = ""
        if word in FILES:
            reason = "" if next(left, "") == f"{{{FILES[word]}}}" else f"{word} does not name a file of the image"
        elif word in MACHINE:
            value = next(left, None)
            reason = f"{word} has no value" if value is None else objection(word, value)
        elif word not in BARE:
            reason = f"not understood: {word}"
        if reason:
            raise ConfigurationError(f"{where}: {reason}", hint=hint)


def objection(option: str, value: str) -> str:
    """Return the objection to an option's value from a script; empty if it only describes the machine."""
    if option == "-append":
        return ""
    allowed = MACHINE[option]
    for place, part in enumerate(suboptions(value)):
        key, given, text = part.partition("=")
        if not given:  # `+feature` and a switch by its name alone, or the value in front
            key, text = ("", part) if place == 0 and "" in allowed else (part.lstrip("+-"), "on")
        pattern = allowed.get(key) or (allowed.get("*") if re.fullmatch(_WORD, key) else None)
        if pattern is None:
            return f"{option} {value}: the suboption {key or part!r} does more than describe a machine, or is unknown"
        if not re.fullmatch(pattern, text):
            return f"{option} {value}: {text!r} is not an allowed value of {key or option}"
    return "" if value and not value.startswith(",") else f"{option} has an empty value"
