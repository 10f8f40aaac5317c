"""The writer of Allure's result files: any text can be stored, and a full disk does not end the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from allure_commons import hookimpl, plugin_manager
from allure_commons.logger import AllureFileLogger
from allure_pytest import utils

from hil.text import storable_data


class Writer(AllureFileLogger):
    """Allure's own writer, for text that UTF-8 cannot hold, too.

    `problem` is the first error of the disk; empty where all was written.
    """

    def __init__(self, original: AllureFileLogger) -> None:
        self._report_dir = original._report_dir
        self.problem = ""

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.problem = self.problem or f"cannot write {error.filename or self._report_dir}: {error.strerror}"

    def _report_item(self, item: Any) -> None:
        with self._writing():
            super()._report_item(storable_data(item))  # type: ignore[no-untyped-call]

    @hookimpl
    def report_attached_file(self, source: Any, file_name: str) -> None:
        with self._writing():
            super().report_attached_file(source, file_name)  # type: ignore[no-untyped-call]

    @hookimpl
    def report_attached_data(self, body: Any, file_name: str) -> None:
        data = body.encode("utf-8", "backslashreplace") if isinstance(body, str) else body
        with self._writing():
            super().report_attached_data(data, file_name)  # type: ignore[no-untyped-call]


def replace_writer() -> tuple[Writer, Callable[[], None]] | None:
    """Put a `Writer` in the place of Allure's own; return it and what undoes it. None where there is none."""
    original = next((one for one in plugin_manager.get_plugins() if type(one) is AllureFileLogger), None)
    if original is None:
        return None
    writer = Writer(original)
    plugin_manager.unregister(original)
    plugin_manager.register(writer)
    digest = utils.md5
    utils.md5 = lambda *parts: digest(*storable_data(parts))  # of parameters, which may not be UTF-8

    def undo() -> None:
        utils.md5 = digest
        plugin_manager.unregister(writer)
        plugin_manager.register(original)

    return writer, undo
