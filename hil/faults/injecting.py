"""The base of all faults: the account of one fault, its record, a fault within a deployment."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hil.board.board import Board
from hil.board.seam import step_on_bus
from hil.console import Transcript
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.faults import modules
from hil.faults.proxy import check_range
from hil.faults.record import Injection
from hil.guest import Guest
from hil.wasm import Execution, Module, Runner
from hil.wasm.loading import Loadable, load_module

LATEST = 0.4  # seconds into a deployment, for a fault at a random instant
SHORT = 1.0  # seconds that a bad module may run
ACT_LIMIT = 90.0  # seconds for making a fault in a thread


class InjectionAccount:
    """The account of one fault while it is made: what was done, what the image did."""

    def __init__(self, transcript: Transcript) -> None:
        transcript.refresh()
        self.transcript, self.start = transcript, transcript.size
        self.done = ""
        self.did: list[str] = []
        self.words: list[str] = []
        self.restarted = False

    def note(self, word: str, text: str) -> None:
        self.words.append(word)
        self.did.append(text)

    def run(self, run: Execution) -> None:
        """Note the verdict of a deployment."""
        garbled = run.verdict.good and run.intact is False
        restored = f" ({run.restored})" if run.restored else ""
        self.note("garbled" if garbled else run.verdict.name, f"{run.module.name}: {run.verdict}{restored}")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note an error within the block as a consequence of the fault; a `ConfigurationError` passes."""
        try:
            yield
        except ConfigurationError:
            raise
        except HilError as error:
            self.note(error_word(error), f"{error_word(error)}: {error.message}")


def error_word(error: HilError) -> str:
    """Return the word for an error in a record."""
    return type(error).__name__


class Later:
    """Does `act` in a thread, `seconds` after the block is entered; leaving the block waits for it.

    An error of `act` is raised at the end of the block. `early` is true if `act` began before the block ended.
    """

    def __init__(self, seconds: float, act: Callable[[], object]) -> None:
        self._seconds, self._act = seconds, act
        self._error: BaseException | None = None
        self._left = threading.Event()
        self.early = False
        self._thread = threading.Thread(target=self._work, name="hil-fault", daemon=True)

    def _work(self) -> None:
        time.sleep(self._seconds)
        self.early = not self._left.is_set()
        try:
            self._act()
        except BaseException as error:  # for the thread that waits
            self._error = error

    def __enter__(self) -> Later:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join(self._seconds + ACT_LIMIT)
        if self._thread.is_alive():
            raise InfrastructureError(f"a fault was not made within {ACT_LIMIT:g} s")
        if self._error is not None:
            raise self._error


class Injecting:
    """Base of the classes of faults: the board, the seed and the records of the faults made.

    `on_injection` is called with each record; `test` is the id of the test that makes the faults.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        seed: int = 1,
        on_injection: Callable[[Injection], None] = lambda injection: None,
        test: str = "",
    ) -> None:
        self.runner, self.seed, self.test = runner, seed, test
        self.injections: list[Injection] = []
        self._on_injection = on_injection

    @property
    def guest(self) -> Guest:
        return self.runner.guest

    @property
    def board(self) -> Board:
        return self.runner.guest.board

    def long_module(self, *, ends: bool = True) -> Module:
        """Return a module that runs until it is ended; a short one if it must end and the image has no limit."""
        return modules.module("endless" if self.runner.facts.limit_option or not ends else "greeting")

    def _chance(self, name: str) -> random.Random:
        """Return the random numbers of a fault, which depend on seed and `name` alone."""
        return random.Random(f"{self.seed} {name}")

    def _during(
        self,
        account: InjectionAccount,
        done: str,
        act: Callable[[], object],
        during: Loadable | None,
        at: float | None,
    ) -> None:
        """Do `act` now, or `at` seconds (0 to 60; None: random) into a deployment of the module `during`."""
        module = None if during is None else load_module(during)
        account.done = done
        if module is None:
            act()
            return
        delay = self._chance(done).uniform(0.0, LATEST) if at is None else at
        check_range("the instant within a deployment", delay, 0, 60)
        self.runner.place(module)
        later = Later(delay, act)
        with later, account.watching():  # an error of `act` itself is raised by `later`
            account.run(self.runner.run(module, limit=SHORT, restore=False))
        ended = "" if later.early else ", which had ended"
        account.done += f" {delay:.3f} s into a deployment of {module.name}{ended}"

    @contextmanager
    def _injecting(self, name: str, *, emulated: bool = False) -> Iterator[InjectionAccount]:
        """Give the account of one fault and keep its record, as a step on labgrid's bus.

        Raises `ConfigurationError` on a real board if the fault requires an `emulated` one.
        """
        board = self.board
        if emulated and not board.emulated:
            raise ConfigurationError(
                f"the fault {name} needs QEMU, and board {board.name} is real",
                hint="choose a qemu-* board with --board",
            )
        account, begun = InjectionAccount(board.console.transcript), time.monotonic_ns()
        with step_on_bus(f"fault {name}", "fault", self):
            try:
                yield account
            finally:
                if account.done:
                    self._keep(name, account, begun)

    def _keep(self, name: str, account: InjectionAccount, begun: int) -> None:
        account.transcript.refresh()
        counts = Counter(account.did).items()
        injection = Injection(
            name,
            account.done,
            "; ".join(f"{text} ({count} times)" if count > 1 else text for text, count in counts),
            tuple(account.words),
            self.seed,
            begun,
            time.monotonic_ns(),
            account.transcript.path,
            account.start,
            account.transcript.size,
            account.restarted,
        )
        self.injections.append(injection)
        self._on_injection(injection)
