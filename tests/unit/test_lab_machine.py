"""The command line of an emulated board that starts with U-Boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.errors import ConfigurationError, InfrastructureError
from hil.image import manifest
from hil.image.store import Image
from hil.lab import machine


@pytest.fixture
def image(tmp_path: Path) -> Image:
    found = manifest.find("reference")
    files = {name: tmp_path / name for name in found.machine.file_names()}
    return Image(found, tmp_path, files, "digest", {})


def test_the_machine_is_the_image_s_and_its_files_are_not_in_it(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "UBOOT", tmp_path / "u-boot.bin")
    with pytest.raises(InfrastructureError, match="u-boot-qemu"):
        machine.command(image, tftp=tmp_path, serial=tmp_path / "line")
    machine.UBOOT.touch()
    command = machine.command(image, tftp=tmp_path / "a,b", serial=tmp_path / "line")
    assert command[0] == "qemu-system-aarch64"
    arguments = image.manifest.machine.arguments
    assert command[1:10] == [*arguments[:9]], "processor, memory and devices"
    assert not {"-kernel", "-dtb"} & set(command)
    assert not any("loader" in word or str(path) in word for word in command for path in image.files.values())
    assert command[command.index("-bios") + 1] == str(machine.UBOOT)
    assert any(word.endswith(f"tftp={tmp_path}/a,,b") for word in command)
    assert f"socket,id=hil-console,path={tmp_path}/line" in command


def test_an_image_for_another_emulator_is_refused(image: Image, tmp_path: Path) -> None:
    other = image.manifest.machine.model_copy(update={"emulator": "qemu-system-riscv64"})
    image = Image(image.manifest.model_copy(update={"machine": other}), image.directory, image.files, "digest", {})
    with pytest.raises(ConfigurationError, match="qemu-system-riscv64"):
        machine.command(image, tftp=tmp_path, serial=tmp_path)
