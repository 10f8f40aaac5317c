"""Files that a guest needs, sent once: an emulated board is restored with them from then on."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping

from hil.guest.guest import Guest

LEAST, LEAST_VIRTUAL = 128 << 10, 16 << 10
"""Bytes, compressed by zlib at level 1, from which a file is worth a layer: in real and in virtual time.

To send it takes longer than a restore then; in virtual time, where typing is paced, many times as long. The limits are
fixed: in virtual time a choice must not depend on the speed of the host.
"""


def provide(guest: Guest, files: Mapping[str, bytes]) -> bool:
    """Put `files`, by path, into the guest, unless they are there; return whether any was sent.

    Large ones are sent once: a board that is `untouched` is restored with them, from a layer of its snapshot. Raises
    as `Guest.put` and `Board.provide`.
    """

    def put(paths: Iterable[str]) -> bool:
        return sum(guest.put(files[path], path) for path in paths) > 0

    large, sent, least = [], False, LEAST if guest.board.virtual is None else LEAST_VIRTUAL
    if guest.board.untouched:
        large = [path for path, data in files.items() if _is_large(data, least)]
    if large:
        contents = {path: hashlib.sha256(files[path]).hexdigest() for path in large}
        sent = guest.board.provide(contents, lambda: put(large))
    return put(path for path in files if path not in large) or sent


def _is_large(data: bytes, least: int) -> bool:
    return len(data) >= least and len(zlib.compress(data, 1)) >= least
