"""The user's directories: home, cache, data and state, as in the XDG base directory specification."""

from __future__ import annotations

import os
from pathlib import Path

from hil.errors import ConfigurationError


def home() -> Path:
    """Return the user's home directory. Raises `ConfigurationError` for a user without one."""
    try:
        return Path.home()
    except RuntimeError as error:
        raise ConfigurationError(
            f"user {os.getuid()} has no home directory: HOME is not set and the system does not list the user",
            hint="set HOME, or XDG_CACHE_HOME, XDG_DATA_HOME and XDG_STATE_HOME, to writable directories",
        ) from error


def expanded(path: Path) -> Path:
    """Return `path` with a leading `~` replaced. Raises `ConfigurationError` if that home does not exist."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"cannot find the home directory in {path}", hint="give an absolute path") from error


def xdg(variable: str, default: str) -> Path:
    """Return `hil` in the directory that the environment `variable` names; `default` is relative to the home.

    A relative path in the variable is ignored, as XDG requires. Raises `ConfigurationError` without a home.
    """
    base = os.environ.get(variable, "")
    return (Path(base) if os.path.isabs(base) else home() / default) / "hil"


def cache_root() -> Path:
    """Return the project's cache directory. It may not exist yet."""
    return xdg("XDG_CACHE_HOME", ".cache")


def data_root() -> Path:
    """Return the project's directory among the user's data. It may not exist yet."""
    return xdg("XDG_DATA_HOME", ".local/share")
