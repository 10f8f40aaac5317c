"""Descriptions of a board's parts as typed on a command line, read as the parts of a draft."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hil.board.draft import Resource
from hil.errors import ConfigurationError

BAUD = 115200


def power_switch(text: str) -> Resource:
    """Return the power switch MODEL:HOST:INDEX. Raises `ConfigurationError`."""
    parts = re.fullmatch(r"(\w+):(.+):(\d+)", text)
    if parts is None:
        raise ConfigurationError(f"{text!r} is not MODEL:HOST:INDEX", hint="write it as netio:pdu.lab:3")
    model, host, index = parts.groups()
    return Resource("NetworkPowerPort", arguments={"model": model, "host": host, "index": int(index)})


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
