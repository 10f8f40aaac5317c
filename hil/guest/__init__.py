"""The guest Linux: a shell that runs commands and takes files over a line with other writers."""

from typing import TYPE_CHECKING

from hil.lazy import lazy_names

if TYPE_CHECKING:
    from hil.guest.guest import Guest
    from hil.guest.result import CommandTimeout, Result
else:
    __getattr__ = lazy_names(__name__)

__all__ = ["CommandTimeout", "Guest", "Result"]
