"""The names of the sample modules and their cases, for tests that are parametrised with them."""

from __future__ import annotations

import tomllib
from pathlib import Path

from hil.errors import ConfigurationError
from hil.host.project import packaged

SAMPLES_DIR = packaged("wasm_samples")


def sample_cases(directory: Path | str = SAMPLES_DIR) -> list[tuple[str, str]]:
    """Return the name of each sample with the name of each of its cases, from `samples.toml` in `directory`.

    Reads nothing but the names, and quickly: `Samples` checks the file. Raises `ConfigurationError` for a file
    without them.
    """
    path = Path(directory) / "samples.toml"
    try:
        samples = tomllib.loads(path.read_text("utf-8-sig"))["sample"]
        return [(sample["name"], case["name"]) for sample in samples for case in sample["case"]]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
