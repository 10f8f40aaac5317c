"""What is typed to the guest's tty: printable ASCII in short lines, whatever bytes a command consists of.

A tty acts on control characters, a shell in another locale miscounts characters, and a line may have 4095 bytes.
So other bytes travel as octal numbers, and long lines are continued.
"""

from __future__ import annotations

import re

from hil.errors import ConfigurationError

LINE = 1000  # bytes of a command on one typed line: four times as many, in quotes, are below what a tty takes
PRINTABLE = re.compile(rb"[\n -~]*")
# a printf of the guest turns them into bytes; a leading minus would be an option of it
ESCAPED = re.compile(rb"[^ -~]|[%\\'!]|\A-")


def text_of(words: str | bytes) -> str:
    """Return bytes as text: each that is not UTF-8 as a surrogate, as in the names of files."""
    return words.decode("utf-8", "surrogateescape") if isinstance(words, bytes) else words


def bytes_of(text: str) -> bytes:
    """Return the bytes that `text_of` has made `text` of.

    Raises `ConfigurationError` for what no word of a command can hold: NUL, or a half of a surrogate pair.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"a command cannot hold {text[error.start]!a}, which is half a character", hint="pass bytes instead"
        ) from None
    if b"\0" in data:
        raise ConfigurationError(
            "a command cannot hold a NUL byte", hint="put it into a file with guest.put() and use that"
        )
    return data


def plain(data: bytes) -> bool:
    """Whether a tty without line editor takes `data` as it is."""
    return PRINTABLE.fullmatch(data) is not None


def octal(data: bytes) -> bytes:
    """Return a printf format, printable and without quotes, that yields `data`."""
    return ESCAPED.sub(lambda match: b"%%" if match[0] == b"%" else b"\\%03o" % match[0][0], data)


def quoted(data: bytes) -> bytes:
    """Return printable `data` as one word of a shell's, long lines continued."""
    lines = ([line[at : at + LINE] for at in range(0, len(line), LINE)] or [b""] for line in data.split(b"\n"))
    return b"'%s'" % b"\n".join(b"'\\\n'".join(piece.replace(b"'", b"'\\''") for piece in line) for line in lines)
