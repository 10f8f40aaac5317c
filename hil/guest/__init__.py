"""The guest Linux: a shell that runs commands and takes files, over a line shared with other writers."""

from hil.guest.guest import Guest
from hil.guest.shell import CommandTimeout, Result

__all__ = ["CommandTimeout", "Guest", "Result"]
