"""Restbus simulation: the cyclic frames of all nodes that a bus has beside the device under test, from a database."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from hil.errors import ConfigurationError
from hil.host import extras
from hil.host.hints import did_you_mean
from hil.signals.can.frame import BENCH, CanFrame
from hil.signals.can.port import CanPort

Value = float | int | str


class RestbusMessage(MutableMapping[str, Value]):
    """The signals of one message by name. An assignment takes effect from the next frame on."""

    def __init__(self, port: CanPort, message: Any, values: dict[str, Value]) -> None:
        self.message = message
        self.node = str(message.senders[0]) if message.senders else BENCH
        self._port, self._values = port, values
        self._sent = self._encode(values)

    @property
    def name(self) -> str:
        return str(self.message.name)

    @property
    def period_ns(self) -> int:
        """The cycle time of the database (in DBC files the attribute GenMsgCycleTime); 0 for none."""
        return int(self.message.cycle_time or 0) * 1_000_000

    @property
    def frame(self) -> CanFrame:
        """The present content as a frame."""
        return self._sent

    def set(self, **signals: Value) -> None:
        """Set several signals at once, so that one frame carries them all."""
        unknown = [name for name in signals if name not in self._values]
        if unknown:
            raise ConfigurationError(
                f"message {self.name} has no signal {unknown[0]!r}",
                hint=f"{did_you_mean(unknown[0], self._values)}Its signals are: {', '.join(self._values)}.",
            )
        values = self._values | signals
        self._sent = self._encode(values)
        self._values = values
        self._port.change(self._sent, self.node)

    def __getitem__(self, signal: str) -> Value:
        return self._values[signal]

    def __setitem__(self, signal: str, value: Value) -> None:
        self.set(**{signal: value})

    def __delitem__(self, signal: str) -> None:
        raise ConfigurationError(f"the signal {signal} of {self.name} cannot be removed from its message")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _encode(self, values: Mapping[str, Value]) -> CanFrame:
        try:
            data = self.message.encode(values, padding=False)
        except Exception as error:  # cantools raises many types
            raise ConfigurationError(
                f"message {self.name} cannot carry {dict(values)}: {error}",
                hint="Check range and unit in the database.",
            ) from None
        return CanFrame(self.message.frame_id, bytes(data), self.message.is_extended_frame)


class Restbus(Mapping[str, RestbusMessage]):
    """The messages of a database that other nodes than `dut` send, by name: `restbus["EngineData"]["Speed"] = 50`.

    In its context those with a cycle time are sent, each by its own node of the bench, without work of the host for
    each frame. Signals begin with the initial value of the database, or 0. Raises `MissingExtraError` without cantools,
    `ConfigurationError` for a file that cannot be read, an unknown `dut`, and a message that is no classical frame.
    """

    def __init__(self, port: CanPort, database: str | Path, *, dut: Sequence[str] = ()) -> None:
        extras.require("cantools", "a restbus")
        import cantools

        try:
            loaded: Any = cantools.database.load_file(str(database))
        except Exception as error:  # as many types as formats
            raise ConfigurationError(f"{database} is not a CAN database: {error}") from error
        nodes = [node.name for node in loaded.nodes]
        unknown = [name for name in dut if name not in nodes]
        if unknown:
            raise ConfigurationError(
                f"{database} has no node {unknown[0]!r}",
                hint=f"{did_you_mean(unknown[0], nodes)}Its nodes are: {', '.join(nodes)}.",
            )
        self.database = loaded
        self._port = port
        self._messages: dict[str, RestbusMessage] = {}
        for message in loaded.messages:
            if not set(message.senders) & set(dut):
                if message.length > 8 or message.is_fd:
                    raise ConfigurationError(f"message {message.name} of {database} is no classical CAN frame")
                self._messages[message.name] = RestbusMessage(port, message, _initial(message))
        self.running = False

    def start(self) -> None:
        """Send all messages that have a cycle time."""
        for message in self._messages.values():
            if message.period_ns:
                self._port.cycle(message.frame, message.node, message.period_ns)
        self.running = True

    def stop(self) -> None:
        """Send them no longer."""
        for message in self._messages.values():
            if message.period_ns and self.running:
                self._port.cycle(message.frame, message.node, 0)
        self.running = False

    def send(self, name: str, **signals: Value) -> None:
        """Send the message `name` once, such as one without a cycle time, with these signals changed."""
        message = self[name]
        if signals:
            message.set(**signals)
        self._port.send([message.frame], message.node)

    def decode(self, frame: CanFrame) -> dict[str, Any]:
        """Return the signals of a frame, such as one from the device under test."""
        decoded: dict[str, Any] = self.database.decode_message(frame.id, frame.data)
        return decoded

    def __getitem__(self, name: str) -> RestbusMessage:
        if name in self._messages:
            return self._messages[name]
        raise ConfigurationError(
            f"the restbus has no message {name!r}",
            hint=f"{did_you_mean(name, self._messages)}It has: {', '.join(self._messages) or 'none'}.",
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def __enter__(self) -> Restbus:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.stop()


def _initial(message: Any) -> dict[str, Value]:
    """Return the first values of all signals: the initial one of the database, else 0 or the nearest to it."""
    values: dict[str, Value] = {}
    for signal in message.signals:
        value = signal.initial
        if value is None:
            low = signal.minimum if signal.minimum is not None else 0
            high = signal.maximum if signal.maximum is not None else low
            value = min(max(0, low), max(high, low))
        values[signal.name] = value
    return values
