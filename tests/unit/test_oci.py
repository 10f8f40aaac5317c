"""Modules out of OCI layouts and registries: what is taken, what is refused, and in which words."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import re
import socket
import stat
import subprocess
import sys
import tarfile
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from limits import HANG
from registries import say, served

from hil.cli import main
from hil.errors import ConfigurationError, InfrastructureError
from hil.host.archives import Budget
from hil.oci import connection
from hil.oci.cache import Cache
from hil.oci.manifests import REF_NAME, TITLE
from hil.oci.reference import digest_of
from hil.wasm import Samples, oci
from hil.wasm.oci import Reference, artifact
from hil.wasm.samples import SAMPLES_DIR

WASM = b"\0asm\1\0\0\0"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.wasm.config.v0+json"
TAR = "application/vnd.oci.image.layer.v1.tar"
BRISK = 5.0  # seconds of processor time, far more than anything here needs
ABSENT = f"sha256:{'0' * 64}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No cache and no credentials of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path


class Made:
    """A layout in the making."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifests: list[dict[str, Any]] = []
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        value = hashlib.sha256(data).hexdigest()
        (self.path / "blobs/sha256" / value).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{value}", "size": len(data), **more}

    def file(self, descriptor: dict[str, Any]) -> Path:
        return self.path / "blobs" / descriptor["digest"].replace(":", "/")

    def manifest(self, *layers: dict[str, Any], config: Any = None, **more: Any) -> dict[str, Any]:
        config = config or self.blob(b"{}", CONFIG)
        text = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **more}
        return self.blob(json.dumps(text).encode(), MANIFEST)

    def index(self, *manifests: dict[str, Any]) -> dict[str, Any]:
        text = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        return self.blob(json.dumps(text).encode(), INDEX)

    def list(self, *manifests: dict[str, Any], tag: str | None = None) -> Made:
        self.manifests += [{**each, "annotations": {REF_NAME: tag}} if tag else each for each in manifests]
        text = {"schemaVersion": 2, "manifests": self.manifests}
        (self.path / "index.json").write_text(json.dumps(text))
        return self

    def module(self, data: bytes = WASM, title: str = "m.wasm", kind: str = artifact.WASM[0]) -> dict[str, Any]:
        return self.blob(data, kind, annotations={TITLE: title} if title else {})

    def tar(self, path: Path) -> Path:
        with tarfile.open(path, "w") as archive:
            archive.add(self.path, arcname=".")
        return path


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "layout")


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def custom(text: bytes) -> bytes:
    """A module that differs from others by a custom section."""
    return WASM + bytes([0, len(text) + 1, len(text)]) + text


# ---- references ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci://localhost:5000/hello", ("oci", "localhost:5000", "hello", "latest", None)),
        ("oci://ghcr.io/team/a_b/c-d:1.0", ("oci", "ghcr.io", "team/a_b/c-d", "1.0", None)),
        (f"oci://r.example/m@{ABSENT}", ("oci", "r.example", "m", None, ABSENT)),
        (f"oci+http://r.example:80/m:v@{ABSENT}", ("oci+http", "r.example:80", "m", "v", ABSENT)),
        ("oci+https://[::1]:5/m:v", ("oci+https", "[::1]:5", "m", "v", None)),
        ("oci-layout:dir", ("oci-layout", "dir", "", None, None)),
        ("oci-layout:/a/b.tar:v1", ("oci-layout", "/a/b.tar", "", "v1", None)),
        (f"oci-layout:/a@b:v1@{ABSENT}", ("oci-layout", "/a@b", "", "v1", ABSENT)),
    ],
)
def test_a_reference_is_read_and_written(text, expected):
    reference = Reference.parse(text)
    assert (reference.scheme, reference.store, reference.repository, reference.tag, reference.digest) == expected
    assert str(reference) == text.replace("hello", "hello:latest")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("oci://", "'' is not a registry's HOST"),
        ("oci:///m", "'' is not a registry's HOST"),
        ("oci://host", "'' is not a repository's name"),
        ("oci://user:word@host/m", "is not a digest"),
        ("oci://host/Hello", "'Hello' is not a repository's name"),
        ("oci://host/../../etc", "is not a repository's name"),
        ("oci://host/a//b", "is not a repository's name"),
        ("oci://host/m?x=1", "is not a repository's name"),
        ("oci://host/m:", "'' is not a tag"),
        ("oci://host/m:a/b", "'a/b' is not a tag"),
        (f"oci://host/m:{'a' * 129}", "is not a tag"),
        ("oci://host/m@sha256:12", "'sha256:12' is not a digest"),
        (f"oci://host/m@{ABSENT}0", "is not a digest"),
        (f"oci://host/m@sha256:{'A' * 64}", "is not a digest"),
        (f"oci://host/m@md5:{'a' * 32}", "is not a digest"),
        ("oci://ho st/m", "'ho st' is not a registry's"),
        ("oci-layout:", "it names no path"),
        ("oci-layout:dir@sha256:12", "'sha256:12' is not a digest"),
    ],
)
def test_a_wrong_reference_is_refused_in_words(text, told):
    with pytest.raises(ConfigurationError, match=f"(?s){told}.*@sha256:DIGEST"):
        oci.load(text)


@given(st.text(max_size=40))
@example("host/m:latest\n")
def test_whatever_is_typed_is_a_reference_or_refused(text):
    try:
        reference = Reference.parse(f"oci://{text}")
    except ConfigurationError:
        return
    assert Reference.parse(str(reference)) == reference
    assert not set(reference.repository) & set(" ?#%@\\\n")
    assert ".." not in reference.repository


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("oci://localhost/m", True),
        ("oci://LOCALHOST:1/m", True),
        ("oci://127.0.0.2:1/m", True),
        ("oci://[::1]:1/m", True),
        ("oci://[::1]/m", True),
        ("oci+https://localhost/m", False),
        ("oci+http://r.example/m", True),
        ("oci://localhost.example/m", False),
        ("oci://127.0.0.1.example/m", False),
        ("oci://r.example/m", False),
    ],
)
def test_only_this_machine_is_spoken_to_without_tls_unless_it_is_said(text, plain):
    assert Reference.parse(text).plain is plain


# ---- layouts ----


@pytest.mark.parametrize("kind", artifact.WASM)
@pytest.mark.parametrize("form", ["directory", "tar"])
def test_a_module_in_a_layout(made, tmp_path, kind, form):
    made.list(made.manifest(made.module(custom(b"one"), "one.wasm", kind)), tag="v1")
    path = made.path if form == "directory" else made.tar(tmp_path / "layout.tar")
    digest = made.manifests[0]["digest"]
    for where in (path, str(path), f"oci-layout:{path}", f"oci-layout:{path}:v1", f"oci-layout:{path}@{digest}"):
        module = oci.load(where)
        assert (module.name, module.data, module.path) == ("one.wasm", custom(b"one"), None)
        assert module.source.endswith(f"@{digest}")
        assert oci.load(module.source) == module
    assert Samples()(str(path)).sha256 == Samples()(f"oci-layout:{path}").sha256 == module.sha256


def test_a_path_stays_a_path(tmp_path):
    path = SAMPLES_DIR / "hello.wasm"
    module = oci.load(path)
    assert module == oci.load(str(path))
    assert (module.source, module.path) == (str(path), path)
    with pytest.raises(ConfigurationError, match="module"):
        oci.load(str(tmp_path / "none.tar"))


def test_tags_are_told_apart(made):
    for tag in ("v1", "v2"):
        made.list(made.manifest(made.module(custom(tag.encode()))), tag=tag)
    assert oci.load(f"oci-layout:{made.path}:v2").data == custom(b"v2")
    with pytest.raises(ConfigurationError, match=r"(?s)'v3'.*v1, v2"):
        oci.load(f"oci-layout:{made.path}:v3")
    with pytest.raises(ConfigurationError, match=r"(?s)\b2 manifests.*\n  v1 .*\n  v2 "):
        oci.load(made.path)


def test_a_path_with_colons_is_not_cut(made, tmp_path):
    odd = made.path.rename(tmp_path / "odd:v1")
    made.path = odd
    made.list(made.manifest(made.module()), tag="v2")
    assert oci.load(f"oci-layout:{odd}").data == oci.load(f"oci-layout:{odd}:v2").data == WASM


def test_of_an_index_the_one_for_wasi_is_taken(made):
    arm = {**made.manifest(made.blob(b"elf", TAR)), "platform": {"os": "linux", "architecture": "arm64"}}
    wasm = {**made.manifest(made.module()), "platform": {"os": "wasip1", "architecture": "wasm"}}
    made.list(made.index(made.index(arm, wasm)), tag="v")  # nested once, as buildx exports it
    assert oci.load(made.path).data == WASM


def test_an_index_without_or_with_several_for_wasi_is_told(made):
    arm = {**made.manifest(made.blob(b"elf", TAR)), "platform": {"os": "linux", "architecture": "arm64"}}
    made.list(made.index(arm), tag="arm")
    with pytest.raises(ConfigurationError, match=r"(?s)wasi/wasm.*linux/arm64"):
        oci.load(made.path)
    two = [
        {**made.manifest(made.module(custom(bytes([n])))), "platform": {"os": "wasi", "architecture": "wasm"}}
        for n in range(2)
    ]
    made.list(made.index(*two), tag="two")
    with pytest.raises(ConfigurationError, match=r"(?s)\b2 manifests\b.*digest"):
        oci.load(f"oci-layout:{made.path}:two")
    assert oci.load(f"oci-layout:{made.path}@{two[1]['digest']}").data == custom(b"\1")
    deep = made.index(made.index(made.index(made.index(two[0]))))
    made.list(deep, tag="deep")
    with pytest.raises(ConfigurationError, match=r"\b3\b"):
        oci.load(f"oci-layout:{made.path}:deep")


def test_several_wasm_layers_are_named(made):
    made.list(made.manifest(made.module(WASM, "a.wasm"), made.module(custom(b"x"), "b.wasm")))
    with pytest.raises(ConfigurationError, match=r"\b2 wasm layers.*a\.wasm .*, b\.wasm "):
        oci.load(made.path)


def test_what_is_no_module_is_refused(made):
    made.list(made.manifest(made.blob(b"text", "text/plain")), tag="text")
    made.list(made.manifest(), tag="empty")
    made.list(made.manifest(made.module(b"\x7fELF")), tag="elf")
    made.list(made.manifest(made.blob(packed({"m.wasm": WASM}), TAR)), tag="rootfs")  # of who knows what
    for tag, told in (
        ("text", "text/plain"),
        ("empty", "no layers"),
        ("elf", "ELF"),
        ("rootfs", "wasm layer"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            oci.load(f"oci-layout:{made.path}:{tag}")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("../../etc/pass wd", "pass_wd.wasm"),
        ("/abs/m.wasm", "m.wasm"),
        (".hidden.wasm", "hidden.wasm"),
        ("-rf.wasm", "rf.wasm"),
        ("..", "module.wasm"),
        ("a" * 300 + ".wasm", "a" * 59 + ".wasm"),
        ("$(reboot).wasm", "__reboot_.wasm"),
        ("", "layout.wasm"),
    ],
)
def test_a_title_is_no_more_than_a_name(made, title, name):
    made.list(made.manifest(made.module(title=title)))
    assert oci.load(made.path).name == name


# ---- images whose root file system holds the module ----


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_compat_image(made, pack):
    layers = [
        made.blob(pack(packed({"./old.wasm": custom(b"old"), "dir/two.wasm": WASM, "readme": b"x"})), f"{TAR}+gzip"),
        made.blob(pack(packed({"app.wasm": custom(b"app"), ".wh.old.wasm": b"", "dir/.wh..wh..opq": b""})), TAR),
    ]
    image = "application/vnd.oci.image.config.v1+json"
    annotated = made.manifest(*layers, annotations={artifact.VARIANT: "compat-smart"})
    platform = made.blob(b'{"os": "wasi", "architecture": "wasm"}', image)
    made.list(annotated, tag="annotated").list(made.manifest(*layers, config=platform), tag="platform")
    for tag in ("annotated", "platform"):
        module = oci.load(f"oci-layout:{made.path}:{tag}")
        assert (module.name, module.data) == ("app.wasm", custom(b"app"))
    made.list(made.manifest(layers[0], annotations={artifact.VARIANT: "compat"}), tag="two")
    with pytest.raises(ConfigurationError, match=r"\b2 files .*/dir/two\.wasm, /old\.wasm"):
        oci.load(f"oci-layout:{made.path}:two")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x1f\x8bnothing", "unpacked"),
        (gzip.compress(packed({"m.wasm": WASM}))[:-9], "unpacked"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), r"tar\+gzip"),
        (gzip.compress(bytes(artifact.MODULE_LIMIT + 1)), "64 MiB"),
    ],
    ids=["not gzip", "cut", "zstd", "bomb"],
)
def test_a_layer_that_does_not_unpack(made, data, told):
    made.list(made.manifest(made.blob(data, f"{TAR}+gzip"), annotations={artifact.VARIANT: "compat"}))
    with pytest.raises(ConfigurationError, match=told):
        oci.load(made.path)


def test_a_sparse_file_in_a_layer_is_as_long_as_it_says(made, tmp_path):
    with (tmp_path / "m.wasm").open("wb") as file:
        file.truncate(1 << 40)
    subprocess.run(["tar", "-cSf", "sparse.tar", "m.wasm"], cwd=tmp_path, check=True, timeout=HANG)
    layer = made.blob((tmp_path / "sparse.tar").read_bytes(), TAR)
    made.list(made.manifest(layer, annotations={artifact.VARIANT: "compat"}))
    with pytest.raises(ConfigurationError, match=r"/m\.wasm"):
        oci.load(made.path)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, max(0, size)
    text = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if size < 0:  # as base-256 has it
        text[124:136] = b"\xff" * 4 + size.to_bytes(8, "big", signed=True)
        text[148:156] = b" " * 8
        text[148:156] = f"{sum(text):06o}\0 ".encode()
    return bytes(text)


def pax(**records: str) -> bytes:
    text = b""
    for name, value in records.items():
        line = f" {name.replace('__', '.')}={value}\n"
        text += f"{len(line) + 2}{line}".encode()
    return header("pax", len(text), tarfile.XHDTYPE) + text + bytes(-len(text) % 512)


EVIL = {
    "negative": header("x", -512),
    "negative after a file": header("a.wasm", 0) + header("b", -1024),
    "negative pax header": header("x", -512, tarfile.XHDTYPE) + bytes(512),
    "negative long name": header("x", -512, tarfile.GNUTYPE_LONGNAME) + bytes(512),
    "negative by pax": pax(size="-512") + header("x", 0),
    "pax chain": pax(comment="x") * 2000 + header("x", 0),
    "digits": header("pax", 1 << 20, tarfile.XHDTYPE) + b"1" * (1 << 20) + header("x", 0),
    "sparse without end": pax(GNU__sparse__major="1", GNU__sparse__minor="0") + header("x.wasm", 512) + b"9" * 512,
    "long name": header("x", 1 << 20, tarfile.GNUTYPE_LONGNAME) + b"x" * (1 << 20),
    "many": header("x", 0) * (artifact.MEMBERS + 1),
}


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
@pytest.mark.parametrize("form", ["layer", "layout"])
def test_an_evil_archive_is_refused_soon(made, tmp_path, evil, form):
    begin = time.thread_time()
    where = made.path
    if form == "layer":
        layer = made.blob(evil + bytes(1024), TAR)
        made.list(made.manifest(layer, annotations={artifact.VARIANT: "compat"}))
    else:
        where = tmp_path / "evil.tar"
        where.write_bytes(evil + bytes(1024))
    with pytest.raises(ConfigurationError, match=re.escape(str(where))):
        oci.load(where)
    assert time.thread_time() - begin < BRISK


def test_an_image_has_few_layers_of_a_bounded_size(made, monkeypatch):
    layer = made.blob(gzip.compress(packed({"m.wasm": WASM}) + bytes(1 << 20)), f"{TAR}+gzip")
    many = made.manifest(*[layer] * 300, annotations={artifact.VARIANT: "compat"})
    several = made.manifest(*[layer] * 3, annotations={artifact.VARIANT: "compat"})
    made.list(many, tag="many").list(several, tag="several")
    with pytest.raises(ConfigurationError, match="300 layers"):
        oci.load(f"oci-layout:{made.path}:many")
    assert oci.load(f"oci-layout:{made.path}:several").data == WASM
    monkeypatch.setattr(artifact, "ALL_LAYERS_LIMIT", 2 << 20)
    with pytest.raises(ConfigurationError, match="all .*layers"):
        oci.load(f"oci-layout:{made.path}:several")


def test_a_layer_of_empty_gzip_members_costs_no_more_than_its_budget(made, monkeypatch):
    monkeypatch.setattr(Budget.__init__, "__defaults__", (0.2,))  # seconds
    layer = made.blob(gzip.compress(b"") * 200_000, f"{TAR}+gzip")
    made.list(made.manifest(layer, annotations={artifact.VARIANT: "compat"}))
    begin = time.thread_time()
    with pytest.raises(ConfigurationError, match="layers"):
        oci.load(made.path)
    assert time.thread_time() - begin < BRISK


def test_titles_do_not_act_on_a_terminal(made):
    made.list(made.manifest(made.module(title="\x1b[2J\na"), made.module(WASM + b"\0\1a", title="\u202eb")))
    with pytest.raises(ConfigurationError) as told:
        oci.load(made.path)
    assert not set(str(told.value)) & set("\x1b\u202e")


def test_links_in_a_layer_are_not_files(made):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("a.wasm", tarfile.SYMTYPE), ("b.wasm", tarfile.LNKTYPE), ("c.wasm", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    made.list(made.manifest(made.blob(out.getvalue(), TAR), annotations={artifact.VARIANT: "compat"}))
    with pytest.raises(ConfigurationError, match=r"\b0 files "):
        oci.load(made.path)


# ---- tampering ----


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("form", ["directory", "tar"])
def test_one_flipped_byte_is_seen(made, tmp_path, form):
    layer = made.module(custom(b"one"))
    made.list(made.manifest(layer))
    for victim in (made.file(layer), made.file(made.manifests[0])):
        kept = victim.read_bytes()
        flip(victim)
        path = made.path if form == "directory" else made.tar(tmp_path / "layout.tar")
        with pytest.raises(ConfigurationError, match=f"sha256:{victim.name}.* sha256:"):
            oci.load(path)
        victim.write_bytes(kept)
    assert oci.load(made.path).data == custom(b"one")


@pytest.mark.parametrize(("change", "told"), [(1, r"\b9 bytes.*\b8\b"), (-1, r"\b7 bytes")])
def test_a_wrong_size_is_seen(made, change, told):
    layer = made.module()
    made.list(made.manifest({**layer, "size": layer["size"] + change}))
    with pytest.raises(ConfigurationError, match=told):
        oci.load(made.path)


def test_a_pinned_digest_decides_not_the_tag(made):
    one, two = (made.manifest(made.module(custom(word))) for word in (b"one", b"two"))
    made.list(one, tag="v1").list(two, tag="v2")
    assert oci.load(f"oci-layout:{made.path}:v2@{one['digest']}").data == custom(b"one")
    with pytest.raises(ConfigurationError, match=f"blobs/sha256/{'0' * 64}"):
        oci.load(f"oci-layout:{made.path}:v2@{ABSENT}")


def test_huge_blobs_are_refused_unread(made):
    layer = made.module()
    with made.file(layer).open("r+b") as file:
        file.truncate(1 << 40)  # sparse: reading it would take hours
    made.list(made.manifest({**layer, "size": 1 << 40}), tag="said")
    made.list(made.manifest(layer), tag="unsaid")
    began = time.thread_time()
    with pytest.raises(ConfigurationError, match="1099511627776 bytes.*64 MiB"):
        oci.load(f"oci-layout:{made.path}:said")
    with pytest.raises(ConfigurationError, match=r"\b8 bytes"):
        oci.load(f"oci-layout:{made.path}:unsaid")
    with made.file(made.manifests[1]).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigurationError, match="4 MiB"):
        oci.load(f"oci-layout:{made.path}@{made.manifests[1]['digest']}")
    with (made.path / "index.json").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigurationError, match=r"index\.json"):
        oci.load(made.path)
    assert time.thread_time() - began < BRISK


@pytest.mark.parametrize(
    "digest",
    ["sha256:../../../etc/passwd", f"sha256:{'A' * 64}", "sha256:", f"md5:{'a' * 32}", f"{ABSENT}\n", "../x:y"],
)
def test_a_digest_in_a_manifest_is_never_a_path(made, digest):
    made.list(made.manifest({**made.module(), "digest": digest}))
    with pytest.raises(ConfigurationError, match=r"layers\.0\.digest"):
        oci.load(made.path)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (b"", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b'"text"', "JSON"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "schemaVersion"),
        (b'{"schemaVersion": 2}', "both or neither"),
        (b'{"schemaVersion": 2, "layers": [], "manifests": []}', "both or neither"),
        (b'{"schemaVersion": 2, "layers": [{}]}', "layers.0.mediaType"),
        (b'{"schemaVersion": 2, "layers": [{"mediaType": "a", "digest": "%b", "size": "1"}]}', "layers.0.size"),
        (b'{"schemaVersion": 2, "layers": [{"mediaType": "a", "digest": "%b", "size": -1}]}', "layers.0.size"),
        (b'{"schemaVersion": 2, "layers": [{"mediaType": "a", "digest": "%b", "size": true}]}', "layers.0.size"),
    ],
)
def test_a_document_that_is_none(made, document, told):
    made.list(made.blob(document.replace(b"%b", ABSENT.encode()), MANIFEST))
    with pytest.raises(ConfigurationError, match=told):
        oci.load(made.path)


def test_links_in_a_layout(made, tmp_path):
    """In a directory a link is followed, as some build tools make them: the digest decides. In a tar it is none."""
    layer = made.module()
    made.list(made.manifest(layer))
    blob = made.file(layer)
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    assert oci.load(made.path).data == WASM
    with pytest.raises(ConfigurationError, match=f"blobs/sha256/{blob.name}"):
        oci.load(made.tar(tmp_path / "layout.tar"))
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(ConfigurationError, match=f"blobs/sha256/{blob.name}"):
        oci.load(made.path)
    blob.unlink()
    blob.symlink_to("/dev/zero")
    with pytest.raises(ConfigurationError, match="regular file"):
        oci.load(made.path)


def test_names_in_a_tar_lead_nowhere(made, tmp_path):
    made.list(made.manifest(made.module()))
    path = made.tar(tmp_path / "layout.tar")
    with tarfile.open(path, "a") as archive:
        for name in ("../escaped", "/escaped", "blobs/sha256/../../../escaped"):
            archive.addfile(tarfile.TarInfo(name))
    before = sorted(tmp_path.rglob("*"))
    assert oci.load(path).data == WASM
    assert sorted(tmp_path.rglob("*")) == before


def test_a_tar_that_is_none(made, tmp_path, monkeypatch):
    path = tmp_path / "layout.tar"
    for data, told in (
        (b"no tar" * 100, "tar"),
        (packed({"x": b""}), "oci-layout"),
    ):
        path.write_bytes(data)
        with pytest.raises(ConfigurationError, match=told):
            oci.load(path)
    made.list(made.manifest(made.module()))
    whole = made.tar(path).read_bytes()
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(ConfigurationError, match=r"tar"):
        oci.load(path)
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ConfigurationError, match=re.escape(str(path))):
        oci.load(path)
    path.write_bytes(whole)
    monkeypatch.setattr("hil.oci.layout.MEMBERS", 3)
    with pytest.raises(ConfigurationError, match="3 files"):
        oci.load(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match="layout.tar"):
        oci.load(f"oci-layout:{path}")


@pytest.mark.parametrize(("file", "told"), [("oci-layout", "oci-layout"), ("index.json", "index.json")])
def test_a_layout_that_is_not_whole(made, file, told):
    made.list(made.manifest(made.module()))
    (made.path / file).unlink()
    with pytest.raises(ConfigurationError, match=told):
        oci.load(f"oci-layout:{made.path}")


def test_a_layout_of_another_version(made):
    made.list(made.manifest(made.module()))
    (made.path / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(ConfigurationError, match="`imageLayoutVersion` 1"):
        oci.load(made.path)


# ---- the cache ----


def test_the_cache_gives_what_was_put_proven(tmp_path):
    cache = Cache(tmp_path / "c")
    digest = digest_of(b"data")
    assert cache.get(digest, 10) is None
    cache.put(digest, b"data")
    assert cache.get(digest, 4) == b"data"
    assert cache.get(digest, 3) is None
    (path,) = cache.directory.iterdir()
    flip(path)
    assert cache.get(digest, 10) is None
    assert not list(cache.directory.iterdir()), "a damaged blob is not kept"


def test_the_cache_lets_go_of_what_was_used_least_recently(tmp_path):
    cache = Cache(tmp_path / "c", limit=250)
    blobs = [bytes([n]) * 100 for n in range(3)]
    digests = [digest_of(blob) for blob in blobs]
    for number in (0, 1):
        cache.put(digests[number], blobs[number])
        os.utime(cache.directory / digests[number].replace(":", "-"), ns=(number, number))
    assert cache.get(digests[0], 100)
    cache.put(digests[2], blobs[2])
    assert [cache.get(digest, 100) is not None for digest in digests] == [True, False, True]


def test_a_cache_that_cannot_be_written_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file")
    cache.put(ABSENT, b"")
    assert cache.get(ABSENT, 10) is None


# ---- registries: what a bad one does; good ones are in the integration tests ----


def test_a_registry_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(InfrastructureError, match=rf"127\.0\.0\.1:{port}.*refused"):
        oci.load(f"oci://127.0.0.1:{port}/m:v")


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (404, ConfigurationError, "manifest unknown"),
        (403, ConfigurationError, r"403 Forbidden.*\n.*docker login"),
        (401, ConfigurationError, "401"),
        (429, InfrastructureError, "429 Too Many Requests"),
        (500, InfrastructureError, "500 Internal Server Error: manifest unknown"),
        (204, InfrastructureError, "204"),
    ],
)
def test_what_a_registry_refuses(status, error, told):
    body = b'{"errors": [{"code": "X", "message": "manifest unknown"}]}'
    body = b"" if status == 204 else body
    with served(lambda handler: say(handler, status, body)) as (host, _), pytest.raises(error, match=told):
        oci.load(f"oci://{host}/m:v")


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"errors": []}', b'{"errors": "x"}', b"[]", b'{"errors": [1]}'])
def test_a_refusal_without_words(body):
    with served(lambda handler: say(handler, 500, body)) as (host, _), pytest.raises(InfrastructureError, match="500"):
        oci.load(f"oci://{host}/m:v")


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Never silent, never done: no read time-out sees it."""
    while True:
        handler.wfile.write(b"X")
        handler.wfile.flush()
        time.sleep(0.02)


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    drip(handler)


def be_silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.5)


@pytest.mark.parametrize("answer", [drip, drip_body, be_silent])
@pytest.mark.parametrize(("read", "total"), [(0.3, 30.0), (30.0, 0.3)])
def test_a_registry_that_does_not_come_to_an_end(answer, read, total, monkeypatch):
    if answer is not be_silent and total > read:
        total = 0.6
    monkeypatch.setattr(connection, "READ", read)
    monkeypatch.setattr(connection, "TOTAL", total)
    began = time.monotonic()
    with (
        served(answer) as (host, _),
        pytest.raises(InfrastructureError, match=r"0\.[36] s|timed out"),
    ):
        oci.load(f"oci://{host}/m:v")
    assert time.monotonic() - began < 30


def test_an_answer_that_is_cut_short():
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"half")

    with served(cut) as (host, _), pytest.raises(InfrastructureError, match="IncompleteRead"):
        oci.load(f"oci://{host}/m:v")


def test_an_endless_manifest_is_cut():
    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(1 << 20))

    with served(flood) as (host, _):
        with pytest.raises(ConfigurationError, match="4194305 bytes.*4 MiB"):
            oci.load(f"oci://{host}/m:v")
        with pytest.raises(ConfigurationError, match="4 MiB"):
            oci.load(f"oci://{host}/m@{ABSENT}")


def test_a_tag_is_asked_for_once_and_a_blob_once(made):
    """The tag might move between two questions."""
    layer = made.module()
    manifest = made.file(made.manifest(layer)).read_bytes()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        say(handler, 200, manifest if "manifests" in handler.path else WASM)

    with served(answer) as (host, asked):
        for _ in range(2):
            assert oci.load(f"oci://{host}/m:v").data == WASM
    tag, blob = "/v2/m/manifests/v", f"/v2/m/blobs/{layer['digest']}"
    assert [path for path, _ in asked] == [tag, blob, tag]


def test_a_registry_that_lies_is_seen_and_not_cached():
    manifest = b'{"schemaVersion": 2, "layers": []}'
    with served(lambda handler: say(handler, 200, manifest)) as (host, asked):
        for _ in range(2):
            with pytest.raises(InfrastructureError, match=f"{ABSENT}.* sha256:"):
                oci.load(f"oci://{host}/m@{ABSENT}")
    assert [path for path, _ in asked] == [f"/v2/m/manifests/{ABSENT}"] * 2


def credentials(home: Path, key: str, pair: str) -> str:
    kept = base64.b64encode(pair.encode()).decode()
    (home / "docker").mkdir(exist_ok=True)
    (home / "docker/config.json").write_text(json.dumps({"auths": {key: {"auth": kept}}}))
    return f"Basic {kept}"


def test_a_token_is_fetched_with_the_credentials_and_shown(home):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        host = handler.headers["Host"]
        if handler.path.startswith("/token"):
            say(handler, 200, b'{"token": "abc"}')
        elif handler.headers.get("Authorization") != "Bearer abc":
            scope = "repository:a/m:pull"
            say(handler, 401, WWW_Authenticate=f'Bearer realm="http://{host}/token",service="reg",scope="{scope}"')
        else:
            say(handler, 404)

    with served(answer) as (host, asked):
        basic = credentials(home, host, "me:word")
        with pytest.raises(ConfigurationError, match="registry"):
            oci.load(f"oci://{host}/a/m:v")
    assert asked == [
        ("/v2/a/m/manifests/v", None),
        ("/token?scope=repository%3Aa%2Fm%3Apull&service=reg", basic),
        ("/v2/a/m/manifests/v", "Bearer abc"),
    ]


@pytest.mark.parametrize(
    ("challenge", "error", "told"),
    [
        ('Basic realm="x"', ConfigurationError, "password"),
        ('Negotiate realm="x"', InfrastructureError, "Negotiate"),
        ("Bearer", InfrastructureError, "'Bearer'"),
        ('Bearer realm="http://{host}/401"', ConfigurationError, "401"),
        ('Bearer realm="http://{host}/500"', InfrastructureError, "500"),
        ('Bearer realm="http://{host}/200"', InfrastructureError, "token"),
        ('Bearer realm="http://token.example/"', InfrastructureError, "TLS"),
        ('Bearer realm="file:///etc/passwd"', InfrastructureError, "TLS"),
    ],
)
def test_challenges_that_cannot_be_answered(challenge, error, told):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/v2/"):
            say(handler, 401, WWW_Authenticate=challenge.format(host=handler.headers["Host"]))
        else:
            say(handler, int(handler.path[1:4]), b"[]")

    with served(answer) as (host, _), pytest.raises(error, match=told):
        oci.load(f"oci://{host}/m:v")


def test_credentials_are_not_taken_along_to_another_host(home):
    """Nor is a redirect followed that leaves TLS or this host for plain HTTP."""
    with served(lambda handler: say(handler, 200, b"{}")) as (other, seen):

        def answer(handler: BaseHTTPRequestHandler) -> None:
            if handler.headers.get("Authorization"):
                say(handler, 307, Location=f"http://{other}/blob")
            else:
                say(handler, 401, WWW_Authenticate='Basic realm="x"')

        with served(answer) as (host, asked):
            basic = credentials(home, host, "me:word")
            with pytest.raises(InfrastructureError, match="TLS"):
                oci.load(f"oci://{host}/m:v")
    assert [who for _, who in asked] == [None, basic]
    assert seen == []


def token_server(handler: BaseHTTPRequestHandler) -> None:
    host = handler.headers["Host"]
    if handler.path.startswith("/token"):
        say(handler, 200, b'{"access_token": "abc"}')
    elif handler.headers.get("Authorization") != "Bearer abc":
        say(
            handler, 401, WWW_Authenticate=f'Bearer realm="http://{host}/token",service="reg",scope="repository:m:pull"'
        )
    else:
        say(handler, 404)


@pytest.mark.parametrize(
    "kept",
    [
        {"auth": base64.b64encode(b"<token>:it").decode()},
        {"auth": base64.b64encode(b"me:").decode(), "identitytoken": "it"},
        {"identitytoken": "it"},
    ],
)
def test_an_identity_token_is_exchanged_for_one_that_reads(home, kept):
    with served(token_server) as (host, asked):
        (home / "docker").mkdir()
        (home / "docker/config.json").write_text(json.dumps({"auths": {host: kept}}))
        with pytest.raises(ConfigurationError, match="registry"):
            oci.load(f"oci://{host}/m:v")
    (_, (post, who), (_, last)) = asked
    form = dict(parse_qsl(post.split(" ")[2]))
    expected = {"grant_type": "refresh_token", "refresh_token": "it", "service": "reg", "scope": "repository:m:pull"}
    assert form == {**expected, "client_id": form["client_id"]}
    assert (who, last) == (None, "Bearer abc")


def test_an_identity_token_goes_nowhere_else(home):
    with served(lambda handler: say(handler, 200, b"{}")) as (other, seen):

        def answer(handler: BaseHTTPRequestHandler) -> None:
            if handler.path.startswith("/token"):
                say(handler, 307, Location=f"http://{other}/token")
            else:
                say(handler, 401, WWW_Authenticate=f'Bearer realm="http://{handler.headers["Host"]}/token"')

        with served(answer) as (host, _):
            (home / "docker").mkdir()
            (home / "docker/config.json").write_text(json.dumps({"auths": {host: {"identitytoken": "it"}}}))
            with pytest.raises(InfrastructureError, match="307"):
                oci.load(f"oci://{host}/m:v")
    assert seen == []


def test_netrc_is_never_sent(home, monkeypatch):
    """Neither at first nor after a redirect; `oci+http` is where requests would look into the environment."""
    (home / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(home / "netrc"))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("/v"):
            say(handler, 307, Location="/v2/m/manifests/w")
        else:
            say(handler, 404)

    with served(answer) as (host, asked), pytest.raises(ConfigurationError, match="registry"):
        oci.load(f"oci+http://{host}/m:v")
    assert [who for _, who in asked] == [None, None]


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"errors": [{"message": "\x1b]0;owned\x07\\n\\u202ehil: all is well"}]}'],
    ids=["deep", "escapes"],
)
def test_what_a_registry_says_does_not_act(body):
    with served(lambda handler: say(handler, 404, body)) as (host, _), pytest.raises(ConfigurationError) as told:
        oci.load(f"oci://{host}/m:v")
    assert not set(str(told.value)) & set("\x1b\x07\u202e")
    assert "\n" not in told.value.message


def test_a_compressed_answer_is_not_unpacked():
    bomb = gzip.compress(bytes(1 << 20))
    answer = lambda handler: say(handler, 200, bomb, Content_Encoding="gzip")  # noqa: E731
    with served(answer) as (host, _), pytest.raises(InfrastructureError, match="compresse"):
        oci.load(f"oci://{host}/m:v")


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"HOST": {"auth": "%%%"}}}', '{"auths": 1}'])
def test_a_broken_config_is_the_users_to_mend(home, text):
    (home / "docker").mkdir()
    with served(lambda handler: say(handler, 401, WWW_Authenticate='Basic realm="x"')) as (host, _):
        (home / "docker/config.json").write_text(text.replace("HOST", host))
        with pytest.raises(ConfigurationError, match=r"config\.json"):
            oci.load(f"oci://{host}/m:v")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ('read host; echo "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"word\\"}"', None),
        ("exit 1", "none"),
        ("echo nothing", "docker-credential-test"),
    ],
)
def test_a_credential_helper_is_asked(home, monkeypatch, script, told):
    helper = home / "bin/docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    (home / "docker").mkdir()
    (home / "docker/config.json").write_text('{"credsStore": "test"}')

    def answer(handler: BaseHTTPRequestHandler) -> None:
        known = handler.headers.get("Authorization")
        say(handler, 404) if known else say(handler, 401, WWW_Authenticate='Basic realm="x"')

    with served(answer) as (host, asked), pytest.raises(ConfigurationError, match=told or "registry"):
        oci.load(f"oci://{host}/m:v")
    if told is None:
        assert base64.b64decode(str(asked[1][1]).removeprefix("Basic ")) == f"{host}:word".encode()


def test_hil_run_tells_a_reference_as_it_is(made):
    """Not with what rich takes for the name of a picture in it."""
    result = CliRunner().invoke(main, ["run", "oci://localhost:1/m:v"])
    assert result.exit_code == 71
    assert "oci://localhost:1/m:v: " in result.stderr
    made.list(made.manifest(made.module(b"text")), tag="v")
    result = CliRunner().invoke(main, ["run", f"oci-layout:{made.path}:v"])
    assert result.exit_code == 64
    assert f"oci-layout:{made.path}:v@{made.manifests[0]['digest']} is not a WebAssembly module" in result.stderr


def test_nothing_for_registries_is_imported_before_it_is_needed():
    code = "import sys, hil.wasm; sys.exit(any(n in sys.modules for n in ('requests', 'hil.wasm.oci.artifact')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=HANG, check=False).returncode == 0
