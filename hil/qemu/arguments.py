"""What QEMU's arguments say about a machine: the size of its memory, and the files that it uses."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from hil.image.options import suboptions

SUFFIXES = {"": 20, "B": 0, "K": 10, "M": 20, "G": 30, "T": 40}  # of QEMU's -m, powers of two
ALIGNED = 1 << 13  # bytes: QEMU rounds up


def memory_size(arguments: Sequence[str]) -> int | None:
    """Return the bytes of RAM that -m gives; None without -m, or with a memory backend."""
    if any("memory-backend" in argument or argument in ("-numa", "-mem-path") for argument in arguments):
        return None
    sizes = [value for option, value in itertools.pairwise(arguments) if option == "-m"]
    found = re.match(r"(?:size=)?(\d+)([BKMGT]?)(?:,|$)", sizes[-1], re.I) if sizes else None
    return -(-(int(found[1]) << SUFFIXES[found[2].upper()]) // ALIGNED) * ALIGNED if found else None


def file_stamps(arguments: Sequence[str]) -> list[str]:
    """Return name, size and times of each file that `arguments` name: they change when the file does."""
    found = []
    for argument in arguments:
        parts = suboptions(argument)
        for name in dict.fromkeys([argument, *parts, *(part.partition("=")[2] for part in parts)]):
            if os.path.isfile(name):  # noqa: PTH113  Path.is_file() raises for a name that is too long
                status = Path(name).stat()
                found.append(f"{name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}")
    return found
