"""`hil board new` writes a board file that loads, by flags, by asking, and of what a place has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from hil.board import boardfile, selection
from hil.board.draft import Resource, Uboot, draft, of_place
from hil.cli import main
from hil.errors import ConfigurationError

POWER = ("--power", "netio:pdu.lab:3")
SERIAL = ("--serial", "raw:serial.lab:2001")
UBOOT = ("--prompt", "=> ", "--boot-command", "bootm ${loadaddr}")


def new(path: Path, *words: str, **options: Any) -> Result:
    return CliRunner().invoke(main, ["board", "new", str(path), *words], **options)


def main_target(path: Path) -> dict[str, Any]:
    boardfile.environment(path)
    content: dict[str, Any] = yaml.safe_load(path.read_text())["targets"]["main"]
    return content


def test_flags_make_a_board_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    load = ("--load", "xen=0x40400000", "--load", "kernel=${loadaddr}")
    result = new(path, *POWER, *SERIAL, *UBOOT, *load, "--tftp", "/srv/tftp", "--image", "reference")
    assert result.exit_code == 0, result.output
    assert "hil board boot --board" in result.output
    target = main_target(path)
    assert target["resources"] == [
        {"NetworkPowerPort": {"model": "netio", "host": "pdu.lab", "index": 3}},
        {"NetworkSerialPort": {"host": "serial.lab", "port": 2001, "protocol": "raw", "speed": 115200}},
        {"TFTPProvider": {"internal": "/srv/tftp/", "external": ""}},
    ]
    assert target["drivers"]["HilStrategy"]["load"] == {"xen": 0x40400000, "kernel": "${loadaddr}"}
    assert "0x40400000" in path.read_text()
    assert target["drivers"]["UBootDriver"]["boot_command"] == "bootm ${loadaddr}"
    image = yaml.safe_load(path.read_text())["images"]["main"]
    assert image == "reference"
    assert [one.name for one in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_file_that_is_there_is_not_overwritten_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    refused = new(path, *POWER, *SERIAL, "--no-uboot")
    assert refused.exit_code == 2
    assert "--force" in refused.output
    assert path.read_text() == "mine"
    assert new(path, *POWER, "--serial", "/dev/ttyUSB0", "--no-uboot", "--force").exit_code == 0
    assert "RawSerialPort" in str(main_target(path)["resources"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "--power is missing"),
        (POWER, "--serial is missing"),
        (("--power", "pdu", *SERIAL), "MODEL:HOST:INDEX"),
        ((*POWER, "--serial", "ttyUSB0"), "'ttyUSB0'"),
        ((*POWER, *SERIAL, "--image", "nothing"), "'nothing'"),
        ((*POWER, *SERIAL, "--load", "kernel"), "FILE=ADDRESS"),
        ((*POWER, *SERIAL, *UBOOT, "--load", "kernel=0"), "--tftp"),
        ((*POWER, "--place", "p"), "--place"),
    ],
)
def test_what_is_missing_or_wrong_is_told(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    result = new(tmp_path / "mine.yaml", *words)
    assert result.exit_code == 2, result.output
    assert told in result.output
    assert not list(tmp_path.iterdir())


def test_names_that_are_none_are_refused(tmp_path: Path) -> None:
    assert "'x y'" in new(Path("../x y"), *POWER, *SERIAL).output
    assert "nowhere/mine.yaml" in new(tmp_path / "nowhere" / "mine.yaml", *POWER, *SERIAL, "--no-uboot").output


def test_what_would_not_load_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise ConfigurationError(f"{path} is none")

    monkeypatch.setattr(boardfile, "environment", refuse)
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    assert new(path, *POWER, *SERIAL, "--no-uboot", "--force").exit_code == 2
    assert [one.read_text() for one in tmp_path.iterdir()] == ["mine"]


def test_a_terminal_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = {"Power": "netio:pdu.lab:3", "Serial": "/dev/ttyUSB0", "Does": "y", "Files": "", "U-Boot's prompt": "u> "}

    def prompt(question: str, *, default: str | None, **_: object) -> str | None:
        asked.append(question)
        return next((answer for word, answer in answers.items() if question.startswith(word)), default)

    monkeypatch.setattr("hil.cli.newboard.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.setattr("hil.cli.newboard.click.prompt", prompt)
    path = tmp_path / "mine.yaml"
    assert new(path).exit_code == 0
    assert len(asked) == 8
    assert main_target(path)["drivers"]["UBootDriver"] == {
        "prompt": "u> ",
        "init_commands": [],
        "boot_command": "run bootcmd",
    }


def test_a_wrong_answer_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        "",
        "nosuch:pdu.lab:3",
        "netio:pdu.lab:3",
        "ttyUSB0",
        "raw:s.lab:1",
        "refrence",
        "reference",
        "maybe",
        "y",
    ]
    answers += ["kernel=1", "", "=> ", "boot"]
    given = iter(answers)
    monkeypatch.setattr("hil.cli.newboard.on_terminal", lambda: True)
    monkeypatch.setattr("hil.cli.newboard.click.prompt", lambda *_, **__: next(given))
    done = new(tmp_path / "mine.yaml")
    assert done.exit_code == 0, done.output
    assert list(given) == []
    for wrong in ("'nosuch'", "netio_kshell", "'ttyUSB0'", "'refrence'", "'maybe'", "TFTP server"):
        assert wrong in done.stderr
    assert main_target(tmp_path / "mine.yaml")["drivers"]["UBootDriver"]["boot_command"] == "boot"


class Place:
    """A place that takes all of one group."""

    def getmatch(self, path: tuple[str, str, str, str]) -> SimpleNamespace | None:
        return SimpleNamespace(rename="console" if path[2] == "NetworkSerialPort" else None) if path[1] == "g" else None


def test_what_the_coordinator_knows_of_a_place() -> None:
    classes = ("NetworkSerialPort", "NetworkPowerPort", "RemoteTFTPProvider")
    group = {str(number): SimpleNamespace(cls=cls) for number, cls in enumerate(classes)}
    other = {"x": SimpleNamespace(cls="NetworkSerialPort")}
    session = SimpleNamespace(places={"p": Place()}, resources={"exporter": {"g": group, "other": other}})
    coordinator: Any = SimpleNamespace(session=session, address="lab")
    assert of_place(coordinator, "p") == [
        Resource("NetworkPowerPort", "1"),
        Resource("NetworkSerialPort", "console"),
        Resource("RemoteTFTPProvider", "2"),
    ]
    with pytest.raises(ConfigurationError, match=r"(?s)'q'.*: p"):
        of_place(coordinator, "q")


def test_a_place_s_resources_choose_the_drivers(tmp_path: Path) -> None:
    resources = [
        Resource("NetworkSiSPMPowerPort", "power"),
        Resource("NetworkSerialPort", "a"),
        Resource("NetworkSerialPort", "b"),
        Resource("RemoteTFTPProvider", "tftp"),
        Resource("RemoteAndroidUSBFastboot", "fastboot"),
    ]
    path = tmp_path / "image.yaml"
    path.write_text(draft("image.toml", resources, place="p", uboot=Uboot("=> ", "boot", {"kernel": 0x1000})))
    target = main_target(path)
    assert target["resources"] == {"RemotePlace": {"name": "p"}}
    assert list(target["drivers"]) == [
        "SiSPMPowerDriver",
        "HilSerialDriver",
        "TFTPProviderDriver",
        "UBootDriver",
        "HilStrategy",
    ]
    assert target["drivers"]["HilSerialDriver"] == {"bindings": {"port": "a"}}
    assert "could be: b" in path.read_text()
    assert "fastboot" in path.read_text()
    with pytest.raises(ConfigurationError, match="place p .*serial .* NetworkSiSPMPowerPort"):
        draft("image.toml", resources[:1], place="p")


@pytest.mark.parametrize("name", selection.available())
def test_the_project_s_own_board_files_load_and_say_what_was_proven(name: str) -> None:
    path = selection.find(name)
    boardfile.environment(path)
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert sum(line.startswith(("# Proven: ", "# Unproven: ")) for line in comment) == 1
    assert (Path(path.parent) / yaml.safe_load(path.read_text())["images"]["main"]).is_file()


def test_the_list_says_what_was_proven() -> None:
    listed = CliRunner().invoke(main, ["board", "list", "--json"])
    proven = {row["name"]: row["proven"] for row in yaml.safe_load(listed.output)}
    assert proven["tx2"] == "no"
    assert proven["qemu-uboot"].startswith("from power-on through U-Boot")
