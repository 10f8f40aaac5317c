"""Files of others, read as data: regular files of a bounded size, and JSON that holds nothing odd."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

from hil.text import storable

LATEST = 253402300799.0  # the last second of the year 9999, since 1970: the last that a calendar can show
LONGEST = 1e9  # seconds; no test took longer than 30 years
MIB = 1 << 20
RESULT_LIMIT = 16 * MIB  # bytes of a JSON file in a directory of Allure's results


def read(path: Path | str, limit: int, *, links: bool = False) -> bytes:
    """Return the contents of the regular file `path` of at most `limit` bytes.

    Raises `OSError` for what cannot be read, is a link (unless `links`), a pipe, a device or a directory, or is longer.
    """
    # without O_NONBLOCK a pipe would wait for its writer
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
    """Return the JSON value in `data`, of finite numbers, and texts that can be stored and printed.

    A byte order mark is skipped, bytes that are no UTF-8 become their escapes. Raises `ValueError` otherwise.
    """
    text = data.decode("utf-8-sig", "surrogateescape")
    try:
        return _clean(json.loads(text, parse_float=_finite, parse_constant=_refuse))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def why(error: OSError | ValueError) -> str:
    """Return in a few words what `read` or `decode` failed with."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def moment(value: Any) -> float:
    """Return `value` as seconds since 1970. Raises `ValueError` for what no calendar can show."""
    return _between(value, LATEST)


def seconds(value: Any) -> float:
    """Return `value` as a length of time in seconds. Raises `ValueError` for what is none."""
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


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): _clean(item) for key, item in value.items()}
    return value
