"""The completion of the shells: what a user gets who types a part of a command and the tabulator."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pexpect
import pytest
from limits import HANG, processor_time, soonest
from support import QUICK

from hil.cli.completion import split
from hil.places import listing

ROOT = Path(__file__).resolve().parents[2]
PROJECT = """\
[tool.hil]
board = "bench"
"""
HIL = """\
#!/bin/sh
# completes as hil does; as a command it shows its words
if [ -n "$_HIL_COMPLETE" ]; then exec {python} -c 'from hil.cli import main; main(prog_name="hil")'; fi
if [ "$1" = completion ]; then exec {python} -c 'from hil.cli import main; main(prog_name="hil")' "$@"; fi
printf '<%s>' "$@"; echo '.'
"""
LIGHT = """
import sys
from hil.cli import main
try:
    main(prog_name="hil")
finally:
    print(sorted({"grpc", "labgrid", "matplotlib", "numpy", "pydantic", "qemu", "scipy", "yaml"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of a user, with a `hil` on the path that shows its words."""
    root = tmp_path_factory.mktemp("project")
    (root / "pyproject.toml").write_text(PROJECT)
    for file in (
        "boards/bench.yaml",
        "boards/my board.yaml",
        "modules/blink.wasm",
        "modules/my mod.wasm",
        "modules/blink.txt",
        "all.toml",
    ):
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).touch()
    (root / "reports" / "nights" / "2026-11-28").mkdir(parents=True)
    program = root / "bin" / "hil"
    program.parent.mkdir()
    program.write_text(HIL.format(python=sys.executable))
    program.chmod(0o755)
    return root


def environment(project: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{project / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LG_COORDINATOR": "127.0.0.1:1",  # nobody listens
        "TERM": "dumb",
        "HOME": str(project),
        **more,
    }


class Shell:
    """A real shell on a terminal, in the project, with the completion that `hil completion` prints."""

    def __init__(self, project: Path, command: list[str], *setup: str) -> None:
        self._spawned = pexpect.spawn(
            command[0],
            command[1:],
            env=environment(project, PS1="$ "),
            cwd=str(project),
            encoding="utf-8",
            timeout=HANG,
            dimensions=(200, 500),
        )
        for line in (*setup, f'eval "$(hil completion {Path(command[0]).name})"', "printf '%s\\n' rea''dy"):
            self._spawned.sendline(line)
        self._spawned.expect("ready\r?\n")

    def words(self, typed: str) -> list[str]:
        """Return the words of the command after `typed`, the tabulator and return."""
        self._spawned.send(f"{typed}\t")
        self._spawned.sendline("")
        self._spawned.expect(r"\n((?:<[^\n]*>)?)\.\r?\n")
        return re.findall("<([^>]*)>", self._spawned.match[1])

    def close(self) -> None:
        self._spawned.close(force=True)


@pytest.fixture(scope="module", params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest, project: Path) -> Iterator[Shell]:
    path = shutil.which(request.param)
    if path is None:
        pytest.skip(f"no {request.param}")
    if request.param == "bash":
        made = Shell(project, [path, "--norc", "--noprofile", "-i"], "bind 'set enable-bracketed-paste off'")
    else:
        made = Shell(
            project, [path, "-f", "-i"], "unsetopt zle_bracketed_paste prompt_cr; autoload -U compinit; compinit -D"
        )
    yield made
    made.close()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("hil board boot --rep", ["board", "boot", "--repeat"]),
        ("hil board boot --board ben", ["board", "boot", "--board", "bench"]),
        ("hil board boot --board=qemu-u", ["board", "boot", "--board=qemu-uboot"]),
        ("hil board boot --board my", ["board", "boot", "--board", "my board"]),
        ("hil compare image:plain", ["compare", "image:plain-linux"]),
        ("hil fault inject panic line-s", ["fault", "inject", "panic", "line-stall"]),
        ("hil run modules/my", ["run", "modules/my mod.wasm"]),
        ("hil run modules/b", ["run", "modules/blink.wasm"]),
        ("hil review 20", ["review", "2026-11-28"]),
        ("hil nope ", ["nope"]),
    ],
)
def test_a_shell_completes(shell: Shell, typed: str, words: list[str]) -> None:
    assert shell.words(typed) == words


def complete(project: Path, line: str, kind: str = "bash", **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / "bin" / "hil"],
        env=environment(project, COMP_LINE=line, _HIL_COMPLETE=f"{kind}_complete", **more),
        cwd=project,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )


def found(project: Path, line: str, kind: str = "bash", **more: str) -> list[str]:
    done = complete(project, line, kind, **more)
    assert (done.returncode, done.stderr) == (0, "")
    return [part for part in done.stdout.splitlines() if part]


def test_fish_gets_each_word_with_its_help(project: Path) -> None:
    """fish itself is not needed: its script passes these lines on."""
    assert found(project, "hil boa", "fish") == ["board\tThe boards that tests run on."]
    assert found(project, "hil run mod", "fish") == ["modules/"]
    assert found(project, "hil run --board=ben", "fish") == ["--board=bench"]
    script = subprocess.run(
        [project / "bin" / "hil", "completion", "fish"],
        env=environment(project),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if fish := shutil.which("fish"):
        subprocess.run([fish, "--no-execute"], input=script, text=True, check=True)
    assert "complete --no-files --command hil --arguments '(_hil_completion)'" in script.splitlines()


def test_nothing_wrong_reaches_the_user_who_completes(project: Path, tmp_path: Path) -> None:
    broken = tmp_path / "pyproject.toml"
    broken.write_text("[tool.hil]\nbored = 1\n")
    (tmp_path / "bin").symlink_to(project / "bin")
    assert found(tmp_path, "hil board boot --board ") == []
    broken.write_text("[tool.hil\n")
    assert found(tmp_path, "hil board boot --board ") == []
    for line in (
        "hil run --board",
        "hil run nothing/",
        "hil 'run",
        "hil run --help ",
        "hil --version ",
        "hil nope x ",
        "",
    ):
        found(project, line)


def test_names_that_no_line_can_hold_are_left_out(tmp_path: Path, project: Path) -> None:
    (tmp_path / "bin").symlink_to(project / "bin")
    (tmp_path / "boards").mkdir()
    for name in ("good.yaml", "go\nod.yaml", "go\x1b[2J.yaml", "go\udcff.yaml"):
        (tmp_path / "boards" / name).touch()
    assert found(tmp_path, "hil board boot --board go") == ["plain\tgood"]
    assert found(tmp_path, "hil board boot --board boards/") == ["path\tboards/good.yaml"]


class Coordinator:
    """What answers as labgrid's coordinator does to a request for its places."""

    def __init__(self) -> None:
        from labgrid.remote.generated import labgrid_coordinator_pb2 as messages

        def answer(request: object, context: object) -> object:
            places = [messages.Place(name=f"box-{number}", tags={"lab": "box"}) for number in (1, 2)]
            return messages.GetPlacesResponse(places=places)

        method = grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=messages.GetPlacesRequest.FromString,
            response_serializer=messages.GetPlacesResponse.SerializeToString,
        )
        self.server = grpc.server(futures.ThreadPoolExecutor(1))
        handler = grpc.method_handlers_generic_handler("labgrid.Coordinator", {"GetPlaces": method})
        self.server.add_generic_rpc_handlers((handler,))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()


def test_places_are_those_of_the_running_coordinator(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LIMIT", QUICK)
    coordinator = Coordinator()
    try:
        address = coordinator.address
        assert set(listing.places(address, QUICK)) == {"box-1", "box-2"}
        line = "hil board boot --board "
        assert found(project, f"{line}place:b", "fish", LG_COORDINATOR=address) == ["place:box-1", "place:box-2"]
        assert found(project, f"{line}place:b", LG_COORDINATOR=address) == ["plain\tbox-1", "plain\tbox-2"]
        assert found(project, f"{line}+", "fish", LG_COORDINATOR=address) == ["+lab=box"]
        assert found(project, f"{line}p", "fish") == [], "there is no coordinator"
    finally:
        coordinator.server.stop(None)


def test_a_coordinator_that_does_not_answer_costs_a_second() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert listing.places(address, 0.2) == {}
    assert listing.places("127.0.0.1:x") == {}


def test_completion_is_quick(project: Path) -> None:
    def once() -> float:
        with processor_time() as spent:
            assert "plain\tbench" in found(project, "hil board boot --board ")
        return spent()

    assert soonest(once, 0.4, tries=5) < 0.4
    light = subprocess.run(
        [sys.executable, "-c", LIGHT],
        env=environment(project, COMP_LINE="hil board boot --board ", _HIL_COMPLETE="bash_complete"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert light.stdout.splitlines()[-1] == "[]", light.stderr


def test_a_line_is_split_at_the_cursor() -> None:
    assert split("hil board ") == ["hil", "board", ""]
    assert split("hil 'my mod") == ["hil", "my mod"]
    assert split(r"hil my\ mo") == ["hil", "my mo"]
