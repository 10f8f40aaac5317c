"""A real build of the reference image in an empty cache: slow, and it needs a Debian mirror."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from limits import processor_time

from hil.host import packages
from hil.host.progress import Progress
from hil.image import build, ensure, manifest, store

needed = [
    tool for tool in packages.TOOLS if "build" in tool.purposes and not tool.files and tool.name != packages.LIBRARY
]
missing = [tool.debian for tool in needed if shutil.which(tool.name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing), reason=f"needs the Debian packages {' '.join(missing)}"),
]


def test_cold_warm_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = manifest.find("reference")
    usual = ensure(described, Progress())  # one build; other tests use it, too
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.open(described) is None

    with processor_time() as spent:
        cold = build.build(described, progress=Progress())
    assert spent() < 180
    assert {"xen-hypervisor-4.20-arm64", "libwasmedge0", "busybox-static"} <= set(cold.record["packages"])
    assert set(cold.record["toolchain"]) == {"aarch64-linux-gnu-gcc", "dtc", "lz4"}

    with monkeypatch.context() as patch:
        patch.setattr(build, "build", None)
        assert ensure(described, Progress()) == cold
    store.verify(cold)

    if usual.record["packages"] != cold.record["packages"]:  # the mirror had others then
        usual = build.build(described, progress=Progress(), force=True)
    assert usual.digest == cold.digest, "the same packages and sources gave other bytes"
    paths = {path.name for path in (tmp_path / "hil").iterdir()}
    # a slow build leaves digests of its files, too
    assert paths - {"digests"} == {"images", "lock", "packages"}
