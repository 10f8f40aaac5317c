# SPDX-License-Identifier: Apache-2.0
"""The samples in other languages: each is compiled by the script `languages/LANGUAGE/build`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from builder.shared import HERE, Failure, run

DIRECTORY = HERE / "languages"
SECONDS = 900  # some toolchains are downloaded first, others compile a standard library
QUERY_SECONDS = 60
# The home, the cache and the network's settings: nothing of these gets into a module.
KEPT = ("HOME", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE")
KEPT_BEGINNINGS = ("PIP_", "NPM_CONFIG_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


def names() -> list[str]:
    """Return the languages, sorted."""
    return sorted(path.parent.name for path in DIRECTORY.glob("*/build"))


def versions(language: str) -> dict[str, str]:
    """Return what decides about the bytes of a module in `language`, by name.

    Raises `Failure` with status 2 and the names of the missing packages if the toolchain is not at hand.
    """
    lines = _run(language, "--versions", seconds=QUERY_SECONDS).splitlines()
    found = dict(line.split(" ", 1) for line in lines if " " in line)
    if not found or len(found) != len(lines):
        raise Failure(f"languages/{language}/build --versions: each line must be `NAME VERSION`: {lines}")
    return found


def build(sample: dict[str, Any], module: Path) -> None:
    """Build the sample into the file `module`. Raises `Failure`, with status 2 for a missing toolchain."""
    # The source is named relative to the working directory, so that no path gets into the module.
    _run(sample["language"], sample["source"].removeprefix("src/"), str(module), scratch=module.parent)
    if not module.is_file():
        raise Failure(f"languages/{sample['language']}/build wrote no {module.name}")


def _run(language: str, *arguments: str, scratch: Path | None = None, seconds: int = SECONDS) -> str:
    script = DIRECTORY / language / "build"
    if not script.is_file():
        raise Failure(f"there is no language {language!r}; the languages are: {', '.join(names())}", 2)
    kept = {key: text for key, text in os.environ.items() if key in KEPT or key.upper().startswith(KEPT_BEGINNINGS)}
    return run(["/bin/sh", str(script), *arguments], HERE / "src", scratch, kept, seconds)
