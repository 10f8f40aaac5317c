"""Files of strangers, read as data: regular files of a bounded size, and well-formed JSON."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

from hil.text import storable_data

LATEST = 253402300799.0  # seconds since 1970: the end of the year 9999, the last a calendar can show
LONGEST = 1e9  # seconds, 30 years
MIB = 1 << 20
RESULT_LIMIT = 16 * MIB  # bytes of a JSON file in a directory of Allure's results


def read(path: Path | str, limit: int, *, links: bool = False) -> bytes:
    """Return the contents of the regular file `path` of at most `limit` bytes.

    Raises `OSError` for a file that cannot be read, is a link (unless `links`), not regular, or longer.
    """
    # without O_NONBLOCK opening a pipe would wait for its writer
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, "no name of a file", str(path)) from error
    except OSError as error:
        if error.errno == errno.ELOOP and not links:
            raise OSError(errno.ELOOP, "it is a link", str(path)) from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        data = file.read(limit + 1) if status.st_size <= limit else None
    if data is None or len(data) > limit:
        raise OSError(errno.EFBIG, f"it is longer than {limit // MIB} MiB", str(path))
    return data


def decode(data: bytes) -> Any:
    """Return the JSON value in `data`, with finite numbers and texts that can be stored and printed.

    A byte order mark is skipped; bytes that are not UTF-8 become escapes. Raises `ValueError` for other data.
    """
    text = data.decode("utf-8-sig", "surrogateescape")
    try:
        return storable_data(json.loads(text, parse_float=_finite, parse_constant=_refuse))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def why(error: OSError | ValueError) -> str:
    """Return the reason of an error of `read` or `decode`, in a few words."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def moment(value: Any) -> float:
    """Return `value` as seconds since 1970. Raises `ValueError` beyond the year 9999."""
    return _between(value, LATEST)


def seconds(value: Any) -> float:
    """Return `value` as a duration in seconds. Raises `ValueError` if it is not between 0 and `LONGEST`."""
    return _between(value, LONGEST)


def _between(value: Any, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{value!r:.40} is not a number from 0 to {most:.0f}")
    return float(value)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is too large a number")
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")
