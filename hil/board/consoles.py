"""The consoles of a board file: labgrid's `SerialDriver` becomes ours, and what cannot is refused with its line."""

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
    """Give the target `main` one console and one strategy of ours, before labgrid makes it.

    The console comes first, so that all drivers bind to it, and the strategy last, so that it finds all drivers.
    Raises `ConfigurationError` for a console that cannot be replaced, and where several could be.
    """
    main = env.config.data["targets"]["main"]
    entries: list[Entry] = target_factory._convert_to_named_list(main.get("drivers") or {})
    strategies = [entry for entry in entries if _is(entry, HilStrategy)] or [{"cls": "HilStrategy"}]
    console = _console(entries, strategies, path)
    others = [entry for entry in entries if entry is not console and not _is(entry, HilStrategy)]
    main["drivers"] = [console, *others, *strategies]


def _console(entries: list[Entry], strategies: list[Entry], path: Path) -> Entry:
    """Return the entry of our console, which is made of the stock one where there is one."""
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
            found[0].pop("timeout", None)  # for a serial server to answer; ours has one of its own
        return found[0]
    if ours:  # labgrid says that none of them has the name
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
    """Raise `ConfigurationError` for a driver that would read another console than ours, or match without a prompt."""
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
    if uboot is not None and _matches_nothing(uboot.prompt):
        raise ConfigurationError(
            f"{path}:{boardfile.row(path, type(uboot).__name__)}: {uboot.prompt!r} is no pattern of a prompt",
            hint=f"add the prompt of the board's loader, as a regular expression: `{type(uboot).__name__}: "
            "{prompt: '=> '}`",
        )


def _matches_nothing(pattern: str) -> bool:
    try:
        return re.search(pattern, "") is not None
    except re.error:
        return True


def _is(entry: Entry, cls: type) -> bool:
    return issubclass(target_factory.drivers.get(entry["cls"], object), cls)


def _serial_drivers_of(entry: Entry) -> list[str | None]:
    """Return the names of the SerialDrivers that a driver takes as such, for their control lines for example."""
    bindings = getattr(target_factory.drivers.get(entry["cls"]), "bindings", {})
    return [
        entry.get("bindings", {}).get(key)
        for key, wanted in bindings.items()
        if wanted in (SerialDriver, "SerialDriver")
    ]
