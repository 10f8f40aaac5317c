"""Faults of the serial line, made by a fault proxy in it."""

from __future__ import annotations

from typing import Any

from hil.errors import ConfigurationError
from hil.faults import modules
from hil.faults.injecting import Injecting
from hil.faults.proxy import Faults, Tap, check_range
from hil.faults.record import Injection
from hil.host.closing import Closing


class LineFaults(Closing, Injecting):
    """Faults of the line. `close` takes the proxy out of the line and marks the board for a fresh start."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tap: Tap | None = None

    @property
    def tapped(self) -> bool:
        """Whether the line goes through a proxy."""
        return self._tap is not None

    def close(self) -> None:
        """Take the proxy, if there is one, out of the line; harmless when repeated."""
        if self._tap is not None:
            self.board.line.tap = None
            self._tap.close()
            self._tap = None
            self.board.dirty = "its line went through the fault proxy"

    def line_noise(self, received: Faults | None = None, sent: Faults | None = None, *, count: int = 5) -> Injection:
        """Deploy a good module `count` times over a line with faults (None: flipped bits and foreign lines)."""
        tap = self._through_proxy()
        with self._injecting("line-noise") as account:
            module = modules.module("greeting")
            self.runner.place(module)
            rate = 2e-3
            received = received or Faults(flip=rate, lines=10, text="[    9.000000] fault proxy: line {n}\r\n")
            tap.proxy.set(received=received, sent=sent or Faults(flip=rate))
            try:
                for _ in range(count):
                    with account.watching():
                        run = self.runner.run(module, limit=5, restore=False)
                        account.run(run)
                        if run.intact and run.output != modules.GREETING:
                            account.note("lied", f"output taken for proven: {run.output[:80]!r}")
                    if self.board.dirty:
                        break
            finally:
                tap.proxy.set(received=Faults(), sent=Faults())
            report = tap.proxy.report()
            got, gone = report.received, report.sent
            account.done = (
                f"the line flipped a bit in {got.flipped} of {got.taken} bytes received and {gone.flipped} of "
                f"{gone.taken} sent, dropped {got.dropped + gone.dropped}, and brought {got.injected} foreign lines, "
                f"in {count} deployments"
            )
        return self.injections[-1]

    def line_stall(self, seconds: float = 2.0) -> Injection:
        """Let nothing pass on the line for `seconds` (0 to 60) in a deployment."""
        check_range("stall", seconds, 0, 60)
        tap = self._through_proxy()
        with self._injecting("line-stall") as account:
            self._during(
                account,
                f"nothing passed on the line for {seconds:g} s",
                lambda: tap.proxy.stop(seconds),
                modules.module("greeting"),
                0.0,
            )
        return self.injections[-1]

    def line_cut(self, *, at: float | None = None) -> Injection:
        """Cut the line `at` seconds (None: random) into a deployment."""
        tap = self._through_proxy()
        with self._injecting("line-cut") as account:
            self._during(account, "the line was cut", tap.proxy.cut, self.long_module(ends=False), at)
            self.board.dirty = "its line was cut"
        return self.injections[-1]

    def _through_proxy(self) -> Tap:
        """Return the tap in the line; without one, start a fresh board with a tap."""
        if self.board.virtual is not None:
            raise ConfigurationError(
                "a line in virtual time cannot go through the fault proxy",
                hint="make faults of the line without --clock virtual",
            )
        if self._tap is None:
            self._tap = Tap(seed=self.seed)
            self.board.line.tap = self._tap
            self.board.fresh()
        return self._tap
