"""QEMU's option syntax, `word,key=value,...`: quoting, splitting, and the image's files in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hil.image.fields import fill

_WHOLE = {
    *("-kernel", "-initrd", "-dtb", "-append", "-bios", "-pflash", "-cdrom", "-sd", "-mtdblock", "-mem-path"),
    *("-hda", "-hdb", "-hdc", "-hdd", "-fda", "-fdb", "-D", "-L", "-pidfile", "-loadvm"),
}
"""QEMU's options whose value is one text, in which a comma is a comma."""


def quoted(value: str | Path) -> str:
    """Return `value` quoted for an option, in which a single comma ends a suboption."""
    return str(value).replace(",", ",,")


def suboptions(value: str) -> list[str]:
    """Return the suboptions of an option's value, with doubled commas made single."""
    return [part.replace(",,", ",") for part in re.findall(r"(?:[^,]|,,)+", value)]


def filled(arguments: Iterable[str], files: Mapping[str, Path]) -> list[str]:
    """Return QEMU's `arguments` with each `{name}` replaced by the path of that file, quoted as its option requires."""
    plain = {name: str(path) for name, path in files.items()}
    in_option = {name: quoted(path) for name, path in plain.items()}
    in_json = {name: json.dumps(path, ensure_ascii=False)[1:-1] for name, path in plain.items()}
    command: list[str] = []
    option = ""
    for argument in arguments:
        # commas in a path would split it into suboptions, also for `-drive {disk}`
        values = plain if option in _WHOLE else in_json if argument.startswith('{"') else in_option
        command.append(fill(argument, values))
        option = re.sub("^--", "-", argument)
    return command
