"""What a built image is made of, and the key that names the result in the cache."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from hil.errors import ConfigurationError
from hil.image import packages, tools
from hil.image.manifest import IMAGES_DIR, Manifest

BUILDERS = ("reference",)
SOURCES = IMAGES_DIR / "reference"
SAMPLES = IMAGES_DIR.parent / "wasm_samples"
TOOLS = ("aarch64-linux-gnu-gcc", "dtc", "lz4")

_CODE = ("build.py", "cpio.py", "packages.py", "recipe.py")


@dataclass(frozen=True)
class Recipe:
    """`key` is the digest (hexadecimal SHA-256) of all that decides what the image's bytes are.

    The versions of the Debian packages are not in it: they are known after a build, see its record.
    """

    key: str
    toolchain: dict[str, str]
    sources: tuple[Path, ...]
    samples: tuple[Path, ...]


def recipe(manifest: Manifest) -> Recipe:
    """Return the recipe of the image; ConfigurationError if nobody builds such."""
    if manifest.build not in BUILDERS:
        raise ConfigurationError(
            f"{manifest.path or manifest.name}: build: there is no builder {manifest.build!r}",
            hint=f"the builders are: {', '.join(BUILDERS)}",
        )
    toolchain = {tool: tools.version(tool) for tool in TOOLS}
    sources = tuple(sorted(path for path in SOURCES.rglob("*") if path.is_file()))
    samples = tuple(sorted(SAMPLES.glob("*.wasm")))
    digest = hashlib.sha256()
    facts = [manifest.machine.model_dump(mode="json"), toolchain, packages.SUITE, packages.PACKAGES]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    here = Path(__file__).parent
    for path in (*(here / name for name in _CODE), *sources, *samples):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content}  {path.relative_to(here.parents[1])}\n".encode())
    return Recipe(digest.hexdigest(), toolchain, sources, samples)
