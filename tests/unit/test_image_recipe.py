"""Recipes of images: what they may say, what decides the key, and the file trees made of them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.errors import ConfigurationError
from hil.host import project, tools
from hil.host.project import Project
from hil.image import build as builder
from hil.image import manifest, recipe
from hil.image.cpio import Tree
from hil.image.packages import CAN_DRIVERS, Packages

GOOD = """
copies = ["kernel"]
[initramfs.linux]
contents = ["agent", "samples", "runner"]
files = { "init" = "init", "etc" = "etc", "etc/hostname" = "name" }
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's directory of images with the recipe `mine`, and no need for a compiler."""
    monkeypatch.setattr(tools, "version", lambda tool: f"{tool} 1")
    directory = tmp_path / "images" / "mine"
    (directory / "etc").mkdir(parents=True)
    for name in ("init", "name", "etc/hostname", "etc/passwd"):
        (directory / name).write_text(name)
    (directory / "init").chmod(0o755)
    (directory / recipe.RECIPE).write_text(GOOD)
    with project.used(Project(tmp_path)):
        yield tmp_path / "images"


def made(build: str = "mine") -> recipe.Recipe:
    return recipe.recipe(manifest.find("plain-linux").model_copy(update={"build": build}))


def test_the_projects_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "version", lambda tool: f"{tool} 1")
    known = {name: recipe.recipe(manifest.find(name)) for name in recipe.recipes()}
    assert {"reference", "plain-linux"} <= set(known)
    assert len({one.key for one in known.values()}) == len(known)
    plain, reference = known["plain-linux"].plan, known["reference"].plan
    assert "xen" not in plain.copies
    together = {part for one in reference.initramfs.values() for part in one.contents} - {"event driver"}
    assert {part for one in plain.initramfs.values() for part in one.contents} == together


def test_an_unknown_recipe_is_told_with_those_there_are(root: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        made("mien")
    assert "plain-linux.toml: build: " in caught.value.message
    assert "'mien'" in caught.value.message
    assert "'mine'" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('"kernel"', '"kernle"', "recipe.toml:2: copies[0]: "),
        ('"runner"]', '"runer"]', "recipe.toml:4: initramfs.linux.contents[2]: "),
        ("copies", "copied", "recipe.toml:2: copied: "),
        ('"init" = "init"', '"init" = "inti"', "inti"),
        ('["kernel"]', '["kernel"', "TOML"),
    ],
)
def test_a_wrong_recipe_is_told(root: Path, before: str, after: str, told: str) -> None:
    path = root / "mine" / recipe.RECIPE
    assert before in GOOD
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(ConfigurationError) as caught:
        made()
    assert told in caught.value.message
    assert str(path) in caught.value.message


def test_the_key_follows_what_the_image_is_made_of(root: Path) -> None:
    keys = [made().key]
    assert made().key == keys[0]
    (root / "mine" / "etc/passwd").write_text("other")
    keys.append(made().key)
    (root / "mine" / "name").chmod(0o755)
    keys.append(made().key)
    (root / "mine" / recipe.RECIPE).write_text(GOOD.replace(', "samples"', ""))
    keys.append(made().key)
    shutil.copytree(root / "mine", root / "other")
    keys.append(made().key)
    assert len(set(keys)) == 4
    assert keys[4] == keys[3], "another recipe is nothing to this one"


def test_a_file_tree_holds_what_its_recipe_says(root: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    (parts / "lib").mkdir(parents=True)
    for name in ("busybox", "lib/libwasmedge.so.0", "lib/ld.so"):
        (parts / name).write_text(name)
    (parts / "lib/libwasmedge.so").symlink_to("libwasmedge.so.0")
    for name in ("agent", "runner", "own.wasm"):
        (tmp_path / name).write_text(name)
    one = made()
    tree = builder._filled(
        one.plan.initramfs["linux"], one.directory, Packages(parts, {}, {}), tmp_path, [tmp_path / "own.wasm"]
    )
    out = io.BytesIO()
    tree.write(out)
    files = entries(out.getvalue())
    assert files["init"] == (0o755, b"init")
    assert files["etc/hostname"] == (0o644, b"name"), "what comes later in the recipe wins"
    assert files["etc/passwd"] == (0o644, b"etc/passwd")
    assert files["usr/bin/wasmedge_emit"] == (0o755, b"agent")
    assert files["usr/bin/runner"] == (0o755, b"runner")
    assert files["usr/bin/own.wasm"] == (0o644, b"own.wasm")
    assert {"lib/libwasmedge.so.0", "lib/ld.so"} <= set(files)
    assert not {"lib/libwasmedge.so", "lib/xen-evtchn.ko"} & set(files)


def test_can_drivers_come_with_the_bit_rate(tmp_path: Path) -> None:
    (tmp_path / "can").mkdir()
    for name in CAN_DRIVERS:
        (tmp_path / "can" / f"{name}.ko").write_text(name)
    (tmp_path / "can-up").write_text("can-up")
    described, parts, tree = manifest.find("reference"), Packages(tmp_path, {}, {}), Tree()
    builder._add_can(tree, described, parts, tmp_path)
    out = io.BytesIO()
    tree.write(out)
    files = entries(out.getvalue())
    interface, bitrate, *drivers = files["etc/can"][1].decode().split()
    assert (interface, bitrate) == ("can0", "500000")
    assert [files[path.removeprefix("/")][1].decode() for path in drivers] == list(CAN_DRIVERS)
    assert files["usr/sbin/can-up"] == (0o755, b"can-up")
    with pytest.raises(ConfigurationError, match=r"\[can\] is missing"):
        builder._add_can(tree, described.model_copy(update={"can": None}), parts, tmp_path)


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """The regular files of a newc archive: mode and content by path."""
    at, found = 0, {}
    while at < len(archive):
        mode, size, name = (int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in (1, 6, 11))
        begin = at + (110 + name + 3) // 4 * 4
        if mode >> 12 == 0o10:
            found[archive[at + 110 : at + 109 + name].decode()] = (mode & 0o777, archive[begin : begin + size])
        at = begin + (size + 3) // 4 * 4
    return found
