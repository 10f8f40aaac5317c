"""Work that is done later, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from hil.errors import InfrastructureError


class Later:
    """Does `act` in a thread, `seconds` after the block is entered; leaving the block waits for it.

    An error of `act` is raised at the end of the block. `early` is true if `act` began before the block ended.
    """

    def __init__(self, seconds: float, act: Callable[[], object], *, limit: float = 90.0) -> None:
        self._seconds, self._act, self._limit = seconds, act, limit
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
        self._thread.join(self._seconds + self._limit)
        if self._thread.is_alive():
            raise InfrastructureError(f"a fault was not made within {self._limit:g} s")
        if self._error is not None:
            raise self._error
