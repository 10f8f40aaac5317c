"""The store: brought images, built images, digests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from hil.errors import ConfigurationError, InfrastructureError
from hil.image import store
from hil.image.manifest import Manifest

STAGES = ({"name": "login", "marker": "login: ", "limit": 5},)


def manifest(**facts: Any) -> Manifest:
    base = {"schema": 1, "name": "mini", "title": "A small image", "hypervisor": "Xen", "stages": STAGES}
    return Manifest.model_validate(base | facts)


def brought(directory: Path, content: bytes = b"kernel", digest: str | None = None, **machine: Any) -> Manifest:
    path = directory / "ker,nel"
    path.write_bytes(content)
    files = {"kernel": {"path": str(path), "sha256": digest or hashlib.sha256(content).hexdigest()}}
    return manifest(files=files, machine={"arguments": ("-kernel", "{kernel}"), **machine})


def test_brought(tmp_path: Path) -> None:
    image = store.open(brought(tmp_path, load=({"file": "kernel", "address": 0x1000},)))
    assert image is not None
    assert image.command() == [
        "qemu-system-aarch64",
        "-kernel",
        str(tmp_path / "ker,nel"),
        "-device",
        f"loader,file={tmp_path}/ker,,nel,addr=0x1000,force-raw=on",
    ]
    store.verify(image)
    assert len(image.digest) == 64


def test_wrong_digest_of_a_brought_file(tmp_path: Path) -> None:
    image = store.open(brought(tmp_path, digest="0" * 64))
    assert image is not None
    with pytest.raises(ConfigurationError, match=r"ker,nel: its SHA-256 is .* says 0000"):
        store.verify(image)


def test_missing_file(tmp_path: Path) -> None:
    described = brought(tmp_path)
    (tmp_path / "ker,nel").unlink()
    with pytest.raises(ConfigurationError, match=r"files\.kernel: there is no file .*ker,nel"):
        store.open(described)


def test_overlap_of_sizes(tmp_path: Path) -> None:
    area = {"name": "page", "address": 0x1004, "size": 4}
    described = brought(tmp_path, load=({"file": "kernel", "address": 0x1000},), reserved=(area,))
    with pytest.raises(ConfigurationError, match=r"kernel \(6 bytes at 0x1000\) overlaps page"):
        store.open(described)


def built(directory: Path) -> Manifest:
    (directory / "xen").write_bytes(b"xen")
    digest = hashlib.sha256(b"xen").hexdigest()
    record = {"files": {"xen": {"sha256": digest, "size": 3}}, "digest": store.digest_of({"xen": digest})}
    (directory / store.RECORD).write_text(json.dumps(record))
    return manifest(build="reference", machine={"arguments": ("-kernel", "{xen}")})


def test_built(tmp_path: Path) -> None:
    image = store.read(built(tmp_path), tmp_path)
    assert image is not None
    store.verify(image)
    (tmp_path / "xen").write_bytes(b"nex")
    with pytest.raises(InfrastructureError, match=r"xen has changed since it was built"):
        store.verify(image)


def test_not_whole_is_not_there(tmp_path: Path) -> None:
    described = built(tmp_path)
    (tmp_path / "xen").write_bytes(b"longer")
    assert store.read(described, tmp_path) is None
    (tmp_path / "xen").unlink()
    assert store.read(described, tmp_path) is None
    (tmp_path / store.RECORD).write_text("{")
    assert store.read(described, tmp_path) is None


def test_unknown_file_of_a_builder(tmp_path: Path) -> None:
    built(tmp_path)
    described = manifest(build="reference", machine={"arguments": ("-kernel", "{zen}")})
    with pytest.raises(ConfigurationError, match=r"names 'zen', which builder 'reference' does not make"):
        store.read(described, tmp_path)


def test_unknown_builder() -> None:
    described = manifest(build="refrence", machine={"arguments": ()})
    with pytest.raises(ConfigurationError, match="no recipe 'refrence'"):
        store.open(described)


def test_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_root() == tmp_path / "hil"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert store.cache_root() == Path.home() / ".cache/hil"


def test_digest_tells_names_apart() -> None:
    assert store.digest_of({"a": "1", "b": "2"}) == store.digest_of({"b": "2", "a": "1"})
    assert store.digest_of({"a": "1", "b": "2"}) != store.digest_of({"a": "2", "b": "1"})
