"""A real build of the reference image in an empty cache: slow, and it needs a Debian mirror."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from hil.image import build, ensure, manifest, store, tools
from hil.image.progress import Silent

missing = [package for tool, package in tools.DEBIAN_PACKAGES.items() if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing), reason=f"needs the Debian packages {' '.join(missing)}"),
]


def test_cold_warm_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    described = manifest.find("reference")
    assert store.open(described) is None

    began = time.monotonic()
    cold = build.build(described, progress=Silent())
    assert time.monotonic() - began < 180
    assert {"xen-hypervisor-4.20-arm64", "libwasmedge0", "busybox-static"} <= set(cold.record["packages"])
    assert set(cold.record["toolchain"]) == {"aarch64-linux-gnu-gcc", "dtc", "lz4"}

    began = time.monotonic()
    warm = ensure(described, Silent())
    assert time.monotonic() - began < 1
    assert warm == cold
    store.verify(warm)

    again = build.build(described, progress=Silent(), force=True)
    assert again.digest == cold.digest, "the same packages and sources gave other bytes"
    paths = {path.name for path in (tmp_path / "hil").iterdir()}
    assert paths == {"images", "lock", "packages"}
