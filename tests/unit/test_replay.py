"""A recording in place of a machine: suites, diagnosis and verdicts on it, and its refusal to play anything else."""

from __future__ import annotations

import gzip
import os
import re
import select
import shutil
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import QUICK, held, no_more_than, shell_line, until
from test_transcript_tools import record

from hil.board.board import Board
from hil.cli import main
from hil.console import Console, LineClosed, LineTimeout, Transcript
from hil.console.recording import Recording
from hil.console.replay import Player
from hil.errors import BootError, ConfigurationError, InfrastructureError
from hil.guest import Guest
from hil.guest.shell import Shell
from hil.image.manifest import ConsoleFacts
from hil.measure import link
from hil.wasm import Runner
from hil.wasm.health_check import check_health
from hil.wasm.verdict import exited

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tests" / "recordings"
SMOKE = RECORDINGS / "reference-smoke.raw"
SEL4 = ROOT / "images" / "wasmedge-sel4.toml"
HELLO = ROOT / "wasm_samples" / "hello.wasm"

pytest_plugins = ["pytester"]

IMAGE = """\
schema = 1
name = "recorded"
title = "A recorded machine"
hypervisor = "none"
[files.kernel]
path = "nowhere.bin"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
[machine]
arguments = ["-kernel", "{kernel}"]
[[stages]]
name = "start"
marker = "starts"
limit = 10
[[stages]]
name = "login"
marker = "login: "
limit = 10
[[stages]]
name = "shell"
marker = "# "
limit = 10
"""
BOOT = [
    (0, "@", "1700000000"),
    (0.2, "<", b"machine starts\r\n"),
    (0.6, "<", b"login: "),
    (0.7, ">", b"root\n"),
    (0.9, "<", b"root\r\n# "),
]


def board_file(directory: Path, transcript: Path, image: Path | str = IMAGE, *, speed: float | str = 0) -> Path:
    """A replay board; `image` is a manifest's file or its text."""
    if isinstance(image, str):
        (directory / "recorded.toml").write_text(image)
        image = directory / "recorded.toml"
    path = directory / "replay.yaml"
    path.write_text(
        f"imports: [hil.labgrid]\nimages: {{main: {image}}}\ntargets:\n  main:\n    drivers:\n"
        f"      HilReplayDriver: {{transcript: {transcript}, speed: {speed}}}\n      HilStrategy: {{}}\n"
    )
    return path


@pytest.fixture
def replayed(tmp_path: Path) -> Iterator[Callable[..., Board]]:
    made: list[Board] = []

    def make(*arguments: object, **options: object) -> Board:
        path = board_file(tmp_path, *arguments, **options)  # type: ignore[arg-type]
        made.append(Board(str(path), transcripts=tmp_path / "transcripts"))
        return made[-1]

    yield make
    for board in made:
        board.close()


@pytest.fixture
def player(tmp_path: Path) -> Iterator[Callable[..., tuple[Player, socket.socket]]]:
    """Makes a player of the events given, and our end of its line."""
    opened: list[tuple[Player, socket.socket]] = []

    def make(*events: object, speed: float = 0.0) -> tuple[Player, socket.socket]:
        playing = Player(Recording(record(tmp_path, *events)), speed)  # type: ignore[arg-type]
        ours = socket.socket(fileno=playing.port)
        ours.settimeout(QUICK)
        opened.append((playing, ours))
        return opened[-1]

    yield make
    for playing, ours in opened:
        playing.close()
        ours.close()
        assert not playing.playing


def take(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := line.recv(size - len(data))):
        data += more
    return data


def silent(line: socket.socket, seconds: float = 0.05) -> bool:
    return not select.select([line], [], [], seconds)[0]


# the player


def test_what_was_an_answer_waits_for_what_was_sent(player: Callable[..., tuple[Player, socket.socket]]) -> None:
    _, line = player(
        (0, "<", b"login: "), (1, ">", b"root\n"), (1, "<", b"Password: "), (2, ">", b"x\n"), (2, "<", b"# ")
    )
    assert take(line, 7) == b"login: "
    assert silent(line)
    line.sendall(b"ro")
    assert silent(line), "as much was not sent yet"
    line.sendall(b"ot\nx\n")  # typed ahead
    assert take(line, 12) == b"Password: # "
    assert silent(line), "the line stays open"


@pytest.mark.parametrize("speed", [1, 4])
def test_the_pace_is_the_recorded_one(player: Callable[..., tuple[Player, socket.socket]], speed: float) -> None:
    begin = time.monotonic()
    _, line = player((0, "@", "1"), (0.2, "<", b"a"), (0.5, "<", b"b"), (5, ">", b"x"), (5.3, "<", b"c"), speed=speed)
    times = []
    for _ in range(2):
        take(line, 1)
        times.append((time.monotonic() - begin) * speed)
    assert silent(line, 0.02)
    sent = time.monotonic()
    line.sendall(b"x")
    take(line, 1)
    times.append((time.monotonic() - sent) * speed)
    for measured, recorded in zip(times, (0.2, 0.5, 0.3), strict=True):
        assert recorded - 0.005 <= measured < recorded + 0.25 * speed


def test_nonces_are_those_of_this_run_wherever_the_chunks_end(
    player: Callable[..., tuple[Player, socket.socket]],
) -> None:
    def seal(nonce: bytes) -> bytes:
        text = b"hil-seal v=1 nonce=%s verdict=exited" % nonce
        return b"%s sum=%08X\r\n" % (text, zlib.crc32(text))

    old, new = b"0123456789abcdef", b"fedcba9876543210"
    garbled = seal(old).replace(b"exited", b"EXITED")
    answer = b"@abcdef01.1<\n" + seal(old) + garbled + b"abcdef0123 stays, a1234567 too\n"
    command = b"echo '@'%s.1'<'; run --seal=%s a1234567\n"
    _, line = player(
        (0, ">", command % (b"abcdef01", old)),
        *((1 + number, "<", answer[number : number + 1]) for number in range(len(answer))),
        speed=1e6,
    )
    line.sendall(command % (b"12345678", new))
    played = take(line, len(answer))
    assert played == b"@12345678.1<\n" + seal(new) + garbled.replace(old, new) + b"abcdef0123 stays, a1234567 too\n"


@pytest.mark.parametrize(
    ("recorded", "sent", "told"),
    [
        (b"id -u\n", b"id\n", '"id"|"id -u" at {index}:1'),
        (b"one\ntwo\nthree\n", b"one\ntwice\n", '"twice"|"two" at {index}:1'),
        (b"run 10000000\n", b"run 20000000\n", '"run 20000000"'),
        (b"ab abcdef01\n", b"ab abcdefgh\n", '"ab abcdefgh"'),
        (b"ab abcdef01\n", b"ab abcdef01234\n", '"ab abcdef01234"'),
        (b"a1 aaaaaaaa aaaaaaaa\n", b"a1 bbbbbbbb cccccccc\n", '"a1 bbbbbbbb cccccccc"'),
        (b"x" * 500 + b"A\n", b"x" * 500 + b"B\n", 'xxxB"'),
        (b"go\n", b"go\nmore\x03", '"more\\x03"'),
    ],
)
def test_anything_else_ends_the_replay_naming_both(
    player: Callable[..., tuple[Player, socket.socket]], tmp_path: Path, recorded: bytes, sent: bytes, told: str
) -> None:
    playing, line = player((0, ">", recorded), (3600, "<", b"much later"), speed=1)
    line.sendall(sent)
    assert line.recv(100) == b"", "at once, whatever is still to be played"
    said = playing.explain_end()
    assert str(tmp_path / "board.raw") in said
    assert all(part in said for part in told.format(index=tmp_path / "board.tsv").split("|"))
    assert len(said) < 600


def test_both_directions_at_once_do_not_wait_for_each_other(
    player: Callable[..., tuple[Player, socket.socket]],
) -> None:
    data = os.urandom(4 << 20)
    _, line = player((0, "<", data), (1, ">", data), (2, "<", data))
    sender = threading.Thread(target=line.sendall, args=(data,))
    sender.start()
    time_out = time.monotonic() + QUICK
    assert take(line, 2 * len(data)) == 2 * data
    sender.join(max(0.0, time_out - time.monotonic()))
    assert not sender.is_alive()


def test_a_broken_recording_ends_the_line_with_the_reason(
    player: Callable[..., tuple[Player, socket.socket]], tmp_path: Path
) -> None:
    playing, line = player((0, "<", b"good"), (1, "?", "unknown kinds are for later versions"), (2, "<", b""))
    assert take(line, 4) == b"good"
    assert silent(line)
    index = tmp_path / "board.tsv"
    index.write_text(index.read_text() + "rubbish\n")
    playing = Player(Recording(index))
    with socket.socket(fileno=playing.port) as line:
        assert take(line, 100) == b"good"
    assert f"{index}:4:" in playing.explain_end()
    playing.close()


# a live session, recorded and played


def test_a_shell_session_plays_as_it_was(tmp_path: Path) -> None:
    commands = [
        "echo one; echo two >&2",
        "printf 'no newline'",
        "cat <<'.'\n" + "x" * 900 + "\n.",
        "(exit 7)",
    ]
    facts = ConsoleFacts()
    with shell_line(tmp_path) as line:
        shell = Shell(line.console, facts)
        recorded = [shell.run(command) for command in commands]
        path = line.console.transcript.path
    for _ in range(3):  # with other nonces each time
        player = Player(Recording(path))
        with Console(player.port, Transcript.create(tmp_path, "again"), explain_end=player.explain_end) as console:
            console.wait_for(b"# ", timeout=QUICK)
            shell = Shell(console, facts)
            played = [shell.run(command) for command in commands]
            assert [(run.output, run.status) for run in played] == [(run.output, run.status) for run in recorded]
            with pytest.raises(LineClosed, match=r"other|wire-.*\.raw"):
                shell.run("other")
        player.close()


# the board


def test_boot_stages_come_at_the_recorded_times(replayed: Callable[..., Board], tmp_path: Path) -> None:
    board = replayed(record(tmp_path, *BOOT), speed=1)
    report = board.boot()
    assert [stage.name for stage in report.stages] == ["start", "login", "shell"]
    # the answer to the login comes at once here: its 0.1 s of thinking are not played
    for stage, recorded in zip(report.stages, (0.2, 0.6, 0.8), strict=True):
        assert recorded - 0.005 <= stage.seconds < recorded + 0.25
    assert board.up
    assert not board.emulated


def test_at_speed_0_a_boot_is_immediate_and_can_be_repeated(replayed: Callable[..., Board], tmp_path: Path) -> None:
    board = replayed(record(tmp_path, (0, "@", "1"), *((at * 1000, *rest) for at, *rest in BOOT[1:])))
    for _ in range(2):
        assert board.boot().seconds < QUICK
        assert board.power.get()
        board.power.on()
        assert board.console.transcript.tail() == ("machine starts", "login: root", "# ")
    board.power.cycle()
    board.console.wait_for(b"login: ", timeout=QUICK)
    board.off()
    assert not board.power.get()
    with pytest.raises(InfrastructureError, match="the machine is off"):
        board.console  # noqa: B018


def test_the_transcript_is_looked_for_beside_the_board_file(replayed: Callable[..., Board], tmp_path: Path) -> None:
    record(tmp_path, *BOOT)
    assert replayed("board.raw").boot().image == "recorded"


def test_many_replays_leave_nothing_behind(replayed: Callable[..., Board], tmp_path: Path) -> None:
    board = replayed(record(tmp_path, *BOOT))
    board.boot()
    board.off()
    before = held()
    for _ in range(5):
        board.boot()
        board.off()
    assert no_more_than(before)


def test_the_end_of_the_recorded_line_is_the_end_of_this_one(replayed: Callable[..., Board], tmp_path: Path) -> None:
    board = replayed(record(tmp_path, *BOOT, (1, "!", "Connection reset by peer")))
    board.boot()
    with pytest.raises(LineClosed, match=r"board\.raw.*Connection reset by peer"):
        board.console.wait_for(b"never", timeout=QUICK)
    until(lambda: not board.up)


def test_a_wrong_command_is_told_with_the_place_in_the_recording(
    replayed: Callable[..., Board], tmp_path: Path
) -> None:
    board = replayed(SMOKE, ROOT / "images" / "reference.toml")
    guest = Guest(board)
    board.health_check = lambda _: check_health(guest)
    board.fresh()
    link.of(guest)  # as a session does
    check_health(guest)
    assert guest.run("id -u").lines == ["0"]
    check_health(guest)
    row = next(row for row, text in enumerate(SMOKE.with_suffix(".tsv").open(), 1) if "command -v" in text)
    with pytest.raises(LineClosed) as caught:
        guest.run("ls /")
    said = str(caught.value)
    assert re.search(r"ls /.*command -v wasmedge_emit", said)
    assert f"reference-smoke.tsv:{row}\n" in said
    assert caught.value.evidence


def test_a_deployment_is_judged_on_a_recording(replayed: Callable[..., Board]) -> None:
    board = replayed(SMOKE, ROOT / "images" / "reference.toml")
    guest = Guest(board)
    board.health_check = lambda _: check_health(guest)
    board.fresh()
    link.of(guest)
    for command in ("id -u", "command -v wasmedge_emit"):
        check_health(guest)  # as the suite did before each test
        guest.run(command)
    check_health(guest)
    run = Runner(guest).run(HELLO)
    assert (run.verdict, run.intact) == (exited(0), True)
    assert run.lines == ["hello, sel4", "1+2-3*4 = -9"]


def test_suites_run_on_a_recording_without_an_emulator(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "suites" / "smoke" / "test_smoke.py", pytester.path)
    board = board_file(pytester.path, SMOKE, ROOT / "images" / "reference.toml")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "empty"))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # labgrid's and hypothesis's take seconds
    result = pytester.runpytest_subprocess(
        "-p", "hil.plugin", "-p", "no:cacheprovider", "--board", str(board), "-k", "not files", timeout=120
    )
    result.assert_outcomes(passed=4, deselected=1)
    assert not (pytester.path / "empty").exists(), "no image was built"


@pytest.fixture
def flood(tmp_path: Path) -> Path:
    path = tmp_path / "flood.raw"
    path.write_bytes(gzip.decompress((RECORDINGS / "boot-hang-vppi-flood.raw.gz").read_bytes()))
    return path


def test_a_boot_that_drowned_is_diagnosed_from_its_bytes_alone(
    replayed: Callable[..., Board], flood: Path, tmp_path: Path
) -> None:
    manifest = SEL4.read_text()
    assert manifest.count("limit = 60") > 0
    board = replayed(flood, manifest.replace("limit = 60", "limit = 1", 1))
    with pytest.raises(BootError, match=r"VMM .*VPPI IRQ 27 dropped") as caught:
        board.boot()
    assert caught.value.stage == "guest kernel"
    assert caught.value.origin == "image"


def test_bytes_alone_play_whatever_is_sent(replayed: Callable[..., Board], tmp_path: Path) -> None:
    path = tmp_path / "alone.raw"
    path.write_bytes(b"machine starts\r\nlogin: \r\n# ")
    path.with_suffix(".tsv").write_text("0.1\tmachine starts\n")  # another tool's
    board = replayed(path, speed=1)
    board.boot()
    board.console.write(b"anything\n" * 10_000)
    with pytest.raises(LineTimeout, match="'never'"):
        board.console.wait_for(b"never", timeout=0.05)
    assert board.up


def test_the_command_line_boots_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    board = board_file(tmp_path, record(tmp_path, *BOOT), IMAGE + "[agent]\n")
    shown = CliRunner().invoke(main, ["board", "boot", "--board", str(board)])
    assert shown.exit_code == 0, shown.output
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:4]] == ["start", "login", "shell"]
    module = CliRunner().invoke(main, ["run", "--board", str(board), str(HELLO)])
    assert module.exit_code == 71
    assert "nothing more" in module.stderr.replace("\n", " ")


@pytest.mark.parametrize("speed", ["-1", "fast", ".inf", ".nan"])
def test_a_speed_that_is_none_is_refused(tmp_path: Path, speed: str) -> None:
    path = board_file(tmp_path, record(tmp_path, *BOOT), speed=speed)
    with pytest.raises(ConfigurationError, match="speed"):
        Board(str(path))


def test_a_transcript_that_is_not_there_is_told(replayed: Callable[..., Board], tmp_path: Path) -> None:
    board = replayed(tmp_path / "nothing.raw")
    for act in (board.boot, board.image):
        with pytest.raises(ConfigurationError, match=r"nothing\.raw"):
            act()
    board.off()
