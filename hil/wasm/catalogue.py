"""The names of the sample modules and their cases, read quickly."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hil.errors import ConfigurationError
from hil.host.project import packaged

SAMPLES_DIR = packaged("wasm_samples")
LANGUAGES = "languages"
"""The directory of the samples that has a directory for each language, with its script `build`."""


def languages() -> list[str]:
    """Return the names of the languages, sorted."""
    return sorted(path.parent.name for path in SAMPLES_DIR.glob(f"{LANGUAGES}/*/build"))


def sample_cases(directory: Path | str = SAMPLES_DIR) -> list[tuple[str, str]]:
    """Return the name of each sample with the name of each of its cases, from `samples.toml` in `directory`.

    Reads nothing but the names, and quickly: `Samples` checks the file. Raises `ConfigurationError` for a file
    without them.
    """
    with _reading(Path(directory) / "samples.toml") as samples:
        return [(sample["name"], case["name"]) for sample in samples for case in sample["case"]]


def on_demand(directory: Path | str = SAMPLES_DIR) -> dict[str, str]:
    """Return the samples without a file beside `samples.toml`, with a line about each; see `hil.wasm.on_demand`.

    Raises `ConfigurationError` as `sample_cases`.
    """
    with _reading(Path(directory) / "samples.toml") as samples:
        return {sample["name"]: sample["about"] for sample in samples if sample.get("on_demand")}


@contextmanager
def _reading(path: Path) -> Iterator[list[dict[str, Any]]]:
    try:
        yield tomllib.loads(path.read_text("utf-8-sig"))["sample"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
