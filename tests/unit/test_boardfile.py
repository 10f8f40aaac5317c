"""Board files: what is wrong in one is told by file, line and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hil.board import boardfile, selection
from hil.board.board import Board
from hil.board.qemu_driver import HilQemuDriver
from hil.board.serial_driver import HilSerialDriver
from hil.board.strategy import HilStrategy
from hil.errors import ConfigurationError, InfrastructureError

GOOD = """\
imports: [hil.labgrid]
images:
  main: image.toml
targets:
  main:
    drivers:
      HilQemuDriver: {}
      HilStrategy: {}
"""
IMAGE = """\
schema = 1
name = "image"
title = "An image"
hypervisor = "none"
[files.kernel]
path = "kernel"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
[machine]
arguments = ["-machine", "none"]
[[stages]]
name = "login"
marker = "login: "
limit = 1
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "image.toml").write_text(IMAGE)
    (tmp_path / "kernel").touch()
    return tmp_path


def write(directory: Path, text: str | bytes) -> str:
    path = directory / "board.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_a_good_board_file_gives_its_drivers_and_image(directory: Path) -> None:
    with Board(write(directory, GOOD)) as board:
        assert (board.name, board.emulated, board.up, board.report) == ("board", True, False, None)
        assert isinstance(board.power, HilQemuDriver)
        assert isinstance(board.strategy, HilStrategy)
        assert board.line is board.power
        assert board.manifest.title == "An image"


def test_the_project_s_boards_are_labgrid_environments() -> None:
    for name in selection.available():
        env = boardfile.environment(selection.find(name))
        if boardfile.remote_place(env) is not None or not boardfile.emulated(selection.find(name)):
            continue  # its resources are somewhere else
        target = env.get_target("main")
        assert target is not None
        assert {HilQemuDriver, HilStrategy} <= {type(driver) for driver in target.drivers}
    assert "qemu-reference" in selection.available()


def test_a_board_of_the_project_can_be_opened() -> None:
    with Board("qemu-reference") as board:
        assert board.manifest.name == "reference"
        assert not board.up
        for use in (lambda: board.console, lambda: board.qemu):
            with pytest.raises(InfrastructureError, match="qemu-reference|console"):
                use()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "board.yaml"),
        ("targets: [", "board.yaml"),
        (b"\xff\xfe\x00", "board.yaml"),
        ("just words\n", "board.yaml"),
        ("- a\n- list\n", "board.yaml"),
        ("- HilQemuDriver: {}\n", "targets, imports"),
        ("imports: [hil.labgrid]\n", "'main'"),
        ("targets: {}\n", "board.yaml:1: "),
        ("targets:\n", "'main'"),
        ("targets: []\n", "'main'"),
        ("targets:\n  main:\n", "board.yaml:2"),
        (GOOD.replace("main:\n    dr", "mian:\n    dr"), "board.yaml:4: "),
        (GOOD.replace("targets:", "tragets:"), r"board.yaml:4: .*'tragets'.*'targets'"),
        (
            GOOD.replace("HilQemuDriver", "HilQmeuDriver"),
            r"board.yaml:7: .*'HilQmeuDriver'.*'HilQemuDriver'",
        ),
        (
            GOOD.replace("Driver: {}", "Driver: {imgae: main}"),
            r"board.yaml:7: .*HilQemuDriver.*'imgae'",
        ),
        (
            GOOD.replace("    drivers:", "    divers:"),
            r"board.yaml:6: .*'divers'.*'drivers'",
        ),
        (
            GOOD.replace("    drivers:", "    resources:\n      RawSerialPrt: {}\n    drivers:"),
            r"board.yaml:7: .*'RawSerialPrt'",
        ),
        (GOOD.replace("hil.labgrid", "hil.nothing"), "hil.nothing"),
        (GOOD.replace("hil.labgrid", "./nothing.py"), "nothing.py"),
        (GOOD.replace("imports: [hil.labgrid]", "imports: 5"), "board.yaml"),
        (GOOD.replace("Driver: {}", "Driver: {image: 5}"), "HilQemuDriver"),
        (GOOD.replace("Driver: {}", "Driver: {arguments: -snapshot}"), "HilQemuDriver"),
        (GOOD.replace("Driver: {}", "Driver: {arguments: [1]}"), "HilQemuDriver"),
        (GOOD.replace("Driver: {}", "Driver: 5"), r"board.yaml:7: .*HilQemuDriver"),
        (GOOD.replace("Driver: {}", "Driver:"), "board.yaml"),
        (
            GOOD.replace("      HilQemuDriver: {}\n      HilStrategy: {}\n", "      - HilQemuDriver\n"),
            "board.yaml:7: ",
        ),
        (GOOD.replace("      HilQemuDriver: {}\n", ""), "adding-a-board.md"),
        (GOOD.replace("image.toml", "nothing.toml"), "nothing.toml"),
        (GOOD.replace("  main: image.toml\n", "  other: image.toml\n"), "'main'"),
        (GOOD.replace("images:\n  main: image.toml\n", ""), "'main'"),
        (GOOD.replace("  main: image.toml\n", ""), r"board.yaml:2: images"),
        (GOOD.replace("image.toml", "!template $LG_NOWHERE/image.toml"), "LG_NOWHERE"),
    ],
)
def test_what_is_wrong_in_a_board_file_is_told(directory: Path, text: str | bytes, told: str) -> None:
    path = write(directory, text)
    with pytest.raises(ConfigurationError) as caught:
        Board(path).close()
    assert re.search(told, str(caught.value))
    assert path in str(caught.value) or "nothing.toml" in told


@pytest.mark.parametrize(
    ("text", "emulated"), [(GOOD, True), (GOOD.replace("HilQemu", "HilReplay"), False), ("", False)]
)
def test_its_text_tells_whether_a_board_is_emulated(directory: Path, text: str, emulated: bool) -> None:
    assert boardfile.emulated(Path(write(directory, text))) is emulated


@pytest.mark.parametrize("text", ["targets: [", b"\xff"])
def test_of_a_text_that_is_none_that_is_told_as_well(directory: Path, text: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"board\.yaml"):
        boardfile.emulated(Path(write(directory, text)))


def test_all_problems_are_told_at_once(directory: Path) -> None:
    broken = GOOD.replace("Strategy: {}", "Strategy: {a: 1}").replace("Driver: {}", "Driver: {a: 1, b: 2}")
    with pytest.raises(ConfigurationError) as caught:
        boardfile.environment(Path(write(directory, broken)))
    assert [line.split(": ")[0][-2:] for line in caught.value.message.splitlines()] == [":7", ":7", ":8"]


@pytest.mark.parametrize("image", [None, "other.toml"])
def test_an_image_given_by_hand_wins(directory: Path, image: str | None) -> None:
    (directory / "other.toml").write_text(IMAGE.replace("An image", "Another").replace('"image"', '"other"'))
    given = str(directory / image) if image else None
    with Board(write(directory, GOOD), image=given) as board:
        assert board.manifest.title == ("Another" if image else "An image")


def test_an_image_given_by_hand_needs_no_images_section(directory: Path) -> None:
    text = GOOD.replace("images:\n  main: image.toml\n", "")
    with Board(write(directory, text), image=str(directory / "image.toml")) as board:
        assert board.manifest.name == "image"


@pytest.mark.parametrize("image", ["nothing", "nothing.toml", "refrence"])
def test_an_unknown_image_is_told(directory: Path, image: str) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing|'reference'"):
        Board(write(directory, GOOD), image=image)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("qemu-refrence", "'qemu-reference'"),
        ("qemu-reference.bounds", "qemu-uboot"),
        ("", "qemu-uboot"),
        ("../boards/qemu-reference", "qemu-uboot"),
        ("nowhere/board.yaml", "nowhere/board.yaml"),
    ],
)
def test_an_unknown_board_is_told_with_near_names(name: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        selection.find(name)
    assert told in str(caught.value)


SERIAL = """\
imports: [hil.labgrid]
images:
  main: image.toml
targets:
  main:
    resources:
      RawSerialPort: {port: /dev/null, speed: 115200}
    drivers:
      ManualPowerDriver: {name: power}
"""


def test_an_environment_of_labgrid_s_own_drivers_is_completed(directory: Path) -> None:
    with Board(write(directory, SERIAL)) as board:
        assert not board.emulated
        assert isinstance(board.line, HilSerialDriver)
        with pytest.raises(ConfigurationError, match="board board"):
            board.qemu  # noqa: B018


@pytest.mark.parametrize(
    "missing", ["      ManualPowerDriver: {name: power}\n", "      RawSerialPort: {port: /dev/null, speed: 115200}\n"]
)
def test_a_board_without_power_or_line_is_told_what_it_needs(directory: Path, missing: str) -> None:
    section = "    drivers:\n" if "Power" in missing else "    resources:\n"
    with pytest.raises(ConfigurationError, match="adding-a-board.md"):
        Board(write(directory, SERIAL.replace(section + missing, "")))
