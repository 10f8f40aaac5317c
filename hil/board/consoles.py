"""The console of a board file: ours replaces labgrid's `SerialDriver`; other consoles are refused with their line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from labgrid import Environment, Target
from labgrid.driver import QEMUDriver, SerialDriver
from labgrid.factory import target_factory
from labgrid.protocol import ConsoleProtocol

from hil.board import boardfile
from hil.board.protocol import HilConsoleProtocol
from hil.board.strategy import HilStrategy
from hil.errors import ConfigurationError

Entry = dict[str, Any]


def adopt(env: Environment, path: Path) -> None:
    """Change the target `main`, before labgrid creates it, to have our console and our strategy.

    The console comes first, so that all drivers bind to it; the strategy comes last, so that it finds all drivers.
    Raises `ConfigurationError` for a console that cannot be replaced, and for several that could be the board's.
    """
    main = env.config.data["targets"]["main"]
    entries: list[Entry] = target_factory._convert_to_named_list(main.get("drivers") or {})
    strategies = [entry for entry in entries if _is(entry, HilStrategy)] or [{"cls": "HilStrategy"}]
    console = _console(entries, strategies, path)
    others = [entry for entry in entries if entry is not console and not _is(entry, HilStrategy)]
    main["drivers"] = [console, *others, *strategies]


def _console(entries: list[Entry], strategies: list[Entry], path: Path) -> Entry:
    """Return the entry of our console, converted from labgrid's if there is one."""
    kept = [name for entry in entries for name in _serial_drivers_of(entry)]
    ours = [entry for entry in entries if _is(entry, HilConsoleProtocol)]
    stock = [entry for entry in entries if entry["cls"] == "SerialDriver" and entry.get("name") not in kept]
    named = [name for entry in strategies if (name := entry.get("bindings", {}).get("line"))]
    found = [entry for entry in ours + stock if entry.get("name") in named] if named else ours or stock
    if len(found) > 1:
        names = [str(entry.get("name")) for entry in found]
        raise ConfigurationError(
            f"{path}: the board has {len(found)} consoles, the {found[0]['cls']}s {', '.join(names)}",
            hint=f"name the one with the shell: add `HilStrategy: {{bindings: {{line: {names[0]}}}}}` to the drivers",
        )
    if found:
        if found[0]["cls"] == "SerialDriver":
            found[0]["cls"] = "HilSerialDriver"
            found[0].pop("timeout", None)  # of the serial server; ours has its own limit
        return found[0]
    if ours:  # none has that name: labgrid raises an error
        return ours[0]
    for entry in entries:
        if _is(entry, ConsoleProtocol) and entry["cls"] != "SerialDriver":
            replacement = "HilQemuDriver" if _is(entry, QEMUDriver) else "HilSerialDriver"
            raise ConfigurationError(
                f"{path}:{boardfile.row(path, entry['cls'])}: {entry['cls']} gives no time stamps",
                hint=f"replace it by `{replacement}: {{}}`; HilSerialDriver takes any SerialPort or NetworkSerialPort",
            )
    return {"cls": "HilSerialDriver"}


def check(target: Target, strategy: HilStrategy, path: Path) -> None:
    """Raise `ConfigurationError` for a driver on another console, and for a prompt that matches an empty text."""
    line, uboot = strategy.line, strategy.uboot
    for driver in target.drivers:
        for console in driver.suppliers:
            if not isinstance(console, ConsoleProtocol) or console is line:
                continue
            port = getattr(console, "port", None)
            if driver is uboot or (port is not None and port is getattr(line, "port", None)):
                reader, other = type(driver).__name__, type(console).__name__
                raise ConfigurationError(
                    f"{path}:{boardfile.row(path, reader)}: {reader} is bound to {other}, not to the board's console",
                    hint=f"remove {other} (line {boardfile.row(path, other)}) and the `bindings` of {reader}",
                )
    if uboot is not None and _matches_empty(uboot.prompt):
        raise ConfigurationError(
            f"{path}:{boardfile.row(path, type(uboot).__name__)}: {uboot.prompt!r} is not a pattern of a prompt",
            hint=f"add the prompt of the board's loader, as a regular expression: `{type(uboot).__name__}: "
            "{prompt: '=> '}`",
        )


def _matches_empty(pattern: str) -> bool:
    try:
        return re.search(pattern, "") is not None
    except re.error:
        return True


def _is(entry: Entry, cls: type) -> bool:
    return issubclass(target_factory.drivers.get(entry["cls"], object), cls)


def _serial_drivers_of(entry: Entry) -> list[str | None]:
    """Return the names of the SerialDrivers that another driver is bound to, for example for their control lines."""
    bindings = getattr(target_factory.drivers.get(entry["cls"]), "bindings", {})
    return [
        entry.get("bindings", {}).get(key) for key, cls in bindings.items() if cls in (SerialDriver, "SerialDriver")
    ]
