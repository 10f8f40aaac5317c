"""The user's directories: home, and those of the XDG base directory specification."""

from __future__ import annotations

import os
from pathlib import Path

from hil.errors import ConfigurationError


def home() -> Path:
    """Return the user's home directory. Raises `ConfigurationError` for a user who has none."""
    try:
        return Path.home()
    except RuntimeError as error:
        raise ConfigurationError(
            f"user {os.getuid()} has no home directory: HOME is not set, and the system does not have the user",
            hint="set HOME, or XDG_CACHE_HOME, XDG_DATA_HOME and XDG_STATE_HOME, to directories that can be written",
        ) from error


def expanded(path: Path) -> Path:
    """Return `path` with a leading `~` replaced. Raises `ConfigurationError` where there is no such home."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"cannot find the home directory in {path}", hint="give an absolute path") from error


def xdg(variable: str, default: str) -> Path:
    """Return the project's directory in the one that the XDG `variable` names, by default `default` in the home.

    As XDG requires, a relative path is ignored. Raises `ConfigurationError` for a user without a home.
    """
    base = os.environ.get(variable, "")
    return (Path(base) if os.path.isabs(base) else home() / default) / "hil"
