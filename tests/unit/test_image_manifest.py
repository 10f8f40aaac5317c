"""Manifests: what is right is read, what is wrong is named with file, line and key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.errors import ConfigurationError
from hil.host import project
from hil.host.project import Project
from hil.image import fields, manifest

GOOD = """\
schema = 1
name = "mini"
title = "A small image"
hypervisor = "Xen"

[files.kernel]
path = "kernel.bin"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"

[files.disk]
path = "disk.bin"
sha256 = "1111111111111111111111111111111111111111111111111111111111111111"

[machine]
arguments = ["-kernel", "{kernel}"]

[[machine.load]]
file = "disk"
address = 0x50000000

[[stages]]
name = "kernel"
marker = "Booting"
limit = 10

[[stages]]
name = "login"
marker = "login: "
limit = 5.5
"""


def write(directory: Path, text: str, name: str = "mini") -> Path:
    path = directory / f"{name}.toml"
    path.write_text(text)
    return path


def test_good(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    read = manifest.load(path)
    assert read.path == path
    assert [stage.limit for stage in read.stages] == [10.0, 5.5]
    assert read.machine.file_names() == {"kernel", "disk"}
    assert read.machine.emulator == "qemu-system-aarch64"
    assert read.console.prompt == "# "


def test_the_projects_own() -> None:
    for name in manifest.available():
        read = manifest.find(name)
        assert read.console.login in [stage.marker for stage in read.stages]


@pytest.mark.parametrize(
    ("before", "after", "line", "datum"),
    [
        ('title = "A', 'titel = "A', 3, "titel: "),
        ("limit = 5.5", "limits = 5.5", 29, "stages[1].limits: "),
        ("limit = 10", "limit = -1", 24, "stages[0].limit: "),
        ("limit = 10", "", 21, "stages[0].limit: "),
        ('file = "disk"', 'file = "disc"', None, "disc"),
        (
            "address = 0x50000000",
            'address = "0x50000000"',
            19,
            "machine.load[0].address: ",
        ),
        ('"{kernel}"', '"{kernle}"', None, "kernle"),
        ('000000"', '00000X"', 8, "files.kernel.sha256: "),
        ("[machine]", "[machine]\nemulater = 'q'", 15, "machine.emulater: "),
        ("schema = 1", "schema = 2", 1, "schema: "),
        ('hypervisor = "Xen"', 'hypervisor = "Xen"\nbuild = "reference"', None, "build"),
        ("[machine]", "[console]\nforeign = ['(']\n[machine]", 15, "console.foreign[0]: "),
        ("[machine]", "[agent]\nseal_option = '--seal'\n[machine]", 15, "agent.seal_option: "),
        ("[machine]", "[agent]\nsuccess = 'good'\n[machine]", 15, "agent.success: "),
        ('name = "login"', 'name = "kernel"', None, "stages"),
    ],
)
def test_wrong(tmp_path: Path, before: str, after: str, line: int | None, datum: str) -> None:
    assert before in GOOD
    path = write(tmp_path, GOOD.replace(before, after))
    with pytest.raises(ConfigurationError) as caught:
        manifest.load(path)
    assert (f"{path}:{line}: {datum}" if line else f"{path}: ") in caught.value.message
    assert datum in caught.value.message


PINS = """
[pins]
controller = "pl061"
inputs = { BUTTON = 0 }
outputs = { LED = 4, HEATER = 7 }
"""


def test_pins(tmp_path: Path) -> None:
    read = manifest.load(write(tmp_path, GOOD + PINS))
    assert read.pins is not None
    assert read.pins.inputs == {"BUTTON": 0}
    assert read.pins.lines == {"BUTTON": 0, "LED": 4, "HEATER": 7}
    assert manifest.load(write(tmp_path, GOOD)).pins is None


def test_pins_of_the_projects_own() -> None:
    """Agent and runner of both images are the same, and so are the pins."""
    reference, plain = manifest.find("reference"), manifest.find("plain-linux")
    assert reference.pins == plain.pins
    assert reference.pins is not None
    assert len(reference.pins.lines) == 8
    assert manifest.agent_of(reference).pins_option == "--pins={pins}" == manifest.agent_of(plain).pins_option


def test_pins_are_those_of_the_image() -> None:
    """The runner's table and the device tree have the names, directions and lines of the manifest."""
    pins = manifest.find("reference").pins
    assert pins is not None
    sources = project.packaged("images") / "reference"
    rows = [line.split() for line in (sources / "pins").read_text().splitlines() if line[0] != "#"]
    assert [name for name, _, _ in rows] == list(pins.lines)
    assert {name: int(line) for name, direction, line in rows if direction == "in"} == pins.inputs
    assert {name: int(line) for name, direction, line in rows if direction == "out"} == pins.outputs
    names = re.findall(r"gpio-line-names = (.*);", (sources / "partition.dts").read_text())
    assert [re.findall('"(.*?)"', line) for line in names] == [sorted(pins.lines, key=pins.lines.__getitem__)]


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("inputs =", "input =", "pins.input: unknown key; did you mean 'inputs'?"),
        ('controller = "pl061"', "", "pins.controller: this key is missing"),
        ("HEATER = 7", "HEATER = 4", "pins: LED and HEATER have the same line, 4"),
        ("HEATER = 7", "HEATER = 0", "pins: BUTTON and HEATER have the same line, 0"),
        ("HEATER = 7", "BUTTON = 7", "pins: BUTTON is both an input and an output"),
        ("HEATER = 7", "HEATER = 8", "pins: HEATER has line 8, but pl061 has the lines 0 to 7"),
        ("HEATER = 7", "HEATER = -1", "pins.outputs.HEATER: "),
        ("HEATER = 7", "HEATER = 7.0", "pins.outputs.HEATER: "),
        ("HEATER = 7", "Heater = 7", "capital letters"),
        ("HEATER = 7", "AI0 = 7", "AI0 is the name of an analogue channel"),
        ("inputs = { BUTTON = 0 }\noutputs = { LED = 4, HEATER = 7 }", "", "pins: no pin"),
        ("HEATER = 7", "LED = 7", "TOML"),
    ],
)
def test_wrong_pins(tmp_path: Path, before: str, after: str, problem: str) -> None:
    assert before in PINS
    path = write(tmp_path, GOOD + PINS.replace(before, after))
    with pytest.raises(ConfigurationError) as caught:
        manifest.load(path)
    assert problem in caught.value.message
    assert str(path) in caught.value.message


def test_all_problems_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("title", "titel").replace("limit = 10", "limit = 0"))
    with pytest.raises(ConfigurationError) as caught:
        manifest.load(path)
    assert len(caught.value.message.splitlines()) == 3  # unknown, missing, not positive


def test_not_toml(tmp_path: Path) -> None:
    path = write(tmp_path, "schema = = 1")
    with pytest.raises(ConfigurationError, match="line 1"):
        manifest.load(path)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        manifest.load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        manifest.load(tmp_path / "bytes.toml")


def test_overlap() -> None:
    manifest.check_overlaps({"a": (0, 16), "b": (16, 16)})
    with pytest.raises(ValueError, match=r"a .*17 bytes.* 0x0.* b .*0x10"):
        manifest.check_overlaps({"b": (16, 16), "a": (0, 17)})


def test_two_files_at_one_address(tmp_path: Path) -> None:
    more = "[[machine.load]]\nfile = 'kernel'\naddress = 0x50000000\n[[stages]]"
    path = write(tmp_path, GOOD.replace("[[stages]]", more, 1))
    with pytest.raises(ConfigurationError, match="0x"):
        manifest.load(path)


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Path]:
    """The directory of images of a project."""
    with project.used(Project(tmp_path, searched={"images": (tmp_path,)})):
        yield tmp_path


def test_find_suggests(images: Path) -> None:
    write(images, GOOD)
    assert manifest.find("mini").name == "mini"
    with pytest.raises(ConfigurationError) as caught:
        manifest.find("mimi")
    assert "'mimi'" in caught.value.message
    assert "'mini'" in (caught.value.hint or "")


def test_name_is_the_files(images: Path) -> None:
    write(images, GOOD, "other")
    with pytest.raises(ConfigurationError, match="'mini'"):
        manifest.find("other")


def test_placeholders() -> None:
    assert fields.placeholders("file={disk.img},x") == {"disk.img"}
    assert fields.placeholders('{"driver": "virtio"}') == set()
    assert fields.fill("a={b},c", {"b": "x{b}"}) == "a=x{b},c"


def test_an_image_without_an_agent_runs_no_modules(tmp_path: Path) -> None:
    read = manifest.load(write(tmp_path, GOOD))
    assert read.agent is None
    with pytest.raises(ConfigurationError, match="mini"):
        manifest.agent_of(read)
    given = manifest.load(write(tmp_path, GOOD + "[agent]\n"))
    assert manifest.agent_of(given).command == "wasmedge_emit"


def test_every_image_of_the_project_says_whether_it_has_an_agent() -> None:
    for name in manifest.available():
        assert manifest.find(name).agent is not None


BUSES = """
[can]
bus = "canbus0"

[analogue]
inputs = 2
"""
WITH_CAN = GOOD.replace('"{kernel}"]', '"{kernel}", "-object", "can-bus,id=canbus0"]')


def test_can_and_analogue(tmp_path: Path) -> None:
    read = manifest.load(write(tmp_path, WITH_CAN + BUSES))
    assert read.can is not None
    assert (read.can.bus, read.can.bitrate) == ("canbus0", 500_000)
    assert read.analogue is not None
    assert (read.analogue.inputs, read.analogue.outputs) == (2, 8)
    none = manifest.load(write(tmp_path, GOOD))
    assert (none.can, none.analogue) == (None, None)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('bus = "canbus0"', "", "can.bus: this key is missing"),
        ('bus = "canbus0"', 'bus = "can bus"', "can.bus: "),
        ('bus = "canbus0"', 'bus = "other"', "machine.arguments have no `can-bus,id=other`"),
        ('bus = "canbus0"', 'bus = "canbus0"\nbitrate = 2000000', "can.bitrate: "),
        ('bus = "canbus0"', 'bus = "canbus0"\nbitrate = "500k"', "can.bitrate: "),
        ("inputs = 2", "inputs = 9", "analogue.inputs: "),
        ("inputs = 2", "input = 2", "analogue.input: unknown key; did you mean 'inputs'?"),
        ("inputs = 2", "inputs = 0\noutputs = 0", "analogue: inputs and outputs are both 0"),
    ],
)
def test_wrong_can_and_analogue(tmp_path: Path, before: str, after: str, problem: str) -> None:
    assert before in BUSES
    with pytest.raises(ConfigurationError) as caught:
        manifest.load(write(tmp_path, WITH_CAN + BUSES.replace(before, after)))
    assert problem in caught.value.message


def test_can_and_analogue_of_the_projects_own() -> None:
    reference, plain = manifest.find("reference"), manifest.find("plain-linux")
    assert reference.can == plain.can is not None
    assert reference.analogue == plain.analogue is not None
