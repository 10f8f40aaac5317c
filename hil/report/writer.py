"""Write Allure's result files, also with text that is not valid UTF-8, and without ending the run on a full disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from allure_commons import hookimpl, plugin_manager
from allure_commons.logger import AllureFileLogger
from allure_pytest import utils

from hil.text import storable_data


class Writer(AllureFileLogger):
    """Allure's own writer, extended to text that UTF-8 cannot encode.

    `problem` is the first disk error; empty without one.
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
    """Replace Allure's own writer; return the new one and a function to undo it. None where Allure is inactive."""
    original = next((plugin for plugin in plugin_manager.get_plugins() if type(plugin) is AllureFileLogger), None)
    if original is None:
        return None
    writer = Writer(original)
    plugin_manager.unregister(original)
    plugin_manager.register(writer)
    digest = utils.md5
    utils.md5 = lambda *parts: digest(*storable_data(parts))  # parameters may not be UTF-8

    def undo() -> None:
        utils.md5 = digest
        plugin_manager.unregister(writer)
        plugin_manager.register(original)

    return writer, undo
