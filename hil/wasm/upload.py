"""The hint about modules whose upload takes long because they hold symbol names or debug information."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from hil.text import printable_line
from hil.wasm.module import Module, symbols_size

LONG = 10.0  # seconds of the host
_hinted: set[str] = set()


@contextmanager
def timed(module: Module) -> Iterator[None]:
    """Warn, once for each name of a module, if the block takes longer than `LONG` and stripping would shorten it."""
    begin = time.monotonic()
    yield
    seconds = time.monotonic() - begin
    if seconds <= LONG or module.name in _hinted or not (symbols := symbols_size(module.data)):
        return
    _hinted.add(module.name)
    warnings.warn(
        f"the upload of {printable_line(module.name)} took {seconds:.0f} s, and {symbols} of its {len(module.data)} "
        "bytes are symbol names and debug information. Strip it: link with -Wl,--strip-all (clang) or set "
        'strip = true in [profile.release] (cargo). With "--fresh module" the tests of a file share one upload.',
        stacklevel=4,
    )
