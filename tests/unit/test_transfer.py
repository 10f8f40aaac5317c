"""Files to and from the guest: whole or not at all, over a line that loses and adds bytes."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import ShellLine

from hil.console import Console, LineClosed, Transcript
from hil.console.recording import Recording
from hil.console.replay import Player
from hil.errors import GuestError, InfrastructureError
from hil.guest import channel, parts, receiving
from hil.guest.channel import Channel, Direction
from hil.guest.shell import Shell
from hil.guest.transfer import digest_in_guest, get, put
from hil.image.manifest import ConsoleFacts

FACTS = ConsoleFacts(foreign=(r"\[ *\d+\.\d{6}\] .*",))
PRINTK = b"[    3.383214] random: fast init done\r\n"
BIG = random.Random(5).randbytes(120_000)  # does not compress: several parts


@pytest.fixture
def shell(tty_shell: ShellLine) -> Shell:
    return Shell(tty_shell.console, FACTS)


@pytest.fixture
def typing(shell: Shell) -> Shell:
    """A shell on a line that is known not to be clean."""
    shell.channel = Channel(Direction(clean=False), Direction(clean=False), xz=True)
    return shell


def commands(tty_shell: ShellLine) -> list[str]:
    """The framed commands that were typed."""
    return [text for text in tty_shell.typed() if text.startswith("_h ")]


def once(pattern: bytes, change: Callable[[re.Match[bytes]], bytes], times: int = 1) -> Callable[[bytes], bytes]:
    """Changes the first matches in the stream, chunk by chunk."""
    left = [times]

    def apply(data: bytes) -> bytes:
        if left[0] and (found := re.search(pattern, data)):
            left[0] -= 1
            return data[: found.start()] + change(found) + data[found.end() :]
        return data

    return apply


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"\0" * 100_000, bytes(range(256)) * 3, b"no newline\n.\n", b"line\r\n" * 500, BIG],
    ids=["empty", "byte", "zeros", "every byte", "dots", "crlf", "big"],
)
def test_a_file_goes_there_and_back(shell: Shell, tty_shell: ShellLine, data: bytes) -> None:
    path = str(tty_shell.home / "deep" / "er" / "file")
    assert put(shell, data, path)
    assert Path(path).read_bytes() == data
    assert get(shell, path) == data
    assert os.listdir(Path(path).parent) == ["file"], "no temporary file is left"


@pytest.mark.parametrize("name", ["with space/a b", "it's", "$HOME", "*", "ü", "a;b", '"', "\\n"])
def test_any_name_will_do(shell: Shell, tty_shell: ShellLine, name: str) -> None:
    path = tty_shell.home / name
    assert put(shell, b"data", str(path))
    assert path.read_bytes() == b"data"
    assert get(shell, str(path)) == b"data"
    assert len([found for found in tty_shell.home.rglob("*") if found.is_file()]) == 1


def test_what_is_there_already_is_not_sent_again(shell: Shell, tty_shell: ShellLine) -> None:
    path = tty_shell.home / "file"
    assert put(shell, b"data", str(path))
    stamp = path.stat().st_mtime_ns
    assert not put(shell, b"data", str(path))
    assert path.stat().st_mtime_ns == stamp
    assert put(shell, b"other", str(path))
    assert path.read_bytes() == b"other"


def test_a_relative_name_is_in_the_shell_s_directory(shell: Shell, tty_shell: ShellLine) -> None:
    assert put(shell, b"data", "here")
    assert (tty_shell.home / "here").read_bytes() == b"data"


def test_a_place_that_cannot_be_written_is_the_guest_s_error(shell: Shell, tty_shell: ShellLine) -> None:
    (tty_shell.home / "file").touch()
    with pytest.raises(GuestError, match=r"status [12]\b"):
        put(shell, b"data", str(tty_shell.home / "file" / "below"))
    assert os.listdir(tty_shell.home) == ["file"]


def test_a_directory_is_no_file_to_put(shell: Shell, tty_shell: ShellLine) -> None:
    (tty_shell.home / "there").mkdir()
    with pytest.raises(GuestError) as caught:
        put(shell, b"data", str(tty_shell.home / "there"))
    assert "directory" in caught.value.message
    assert list((tty_shell.home / "there").iterdir()) == []


def test_a_name_may_be_as_long_as_can_be(shell: Shell, tty_shell: ShellLine) -> None:
    path = tty_shell.home / ("n" * 255)
    put(shell, b"data", str(path))
    assert get(shell, str(path)) == b"data"
    assert [one.name for one in tty_shell.home.iterdir()] == [path.name]


def test_a_full_file_system_is_told_and_cleaned_up(shell: Shell, tty_shell: ShellLine) -> None:
    shell.run("ulimit -f 16")  # 8 KiB, as dash counts
    with pytest.raises((GuestError, InfrastructureError), match="room|full"):
        put(shell, BIG, str(tty_shell.home / "file"))
    assert os.listdir(tty_shell.home) == []


def test_a_lost_byte_costs_one_part_and_no_more(typing: Shell, tty_shell: ShellLine) -> None:
    tty_shell.to_shell = once(rb"(\n[A-Za-z0-9+/]{200})[A-Za-z0-9+/]", lambda found: found[1])
    assert put(typing, BIG, str(tty_shell.home / "file"))
    assert (tty_shell.home / "file").read_bytes() == BIG


def test_a_changed_byte_is_noticed(typing: Shell, tty_shell: ShellLine) -> None:
    tty_shell.to_shell = once(rb"(\n[A-Za-z0-9+/]{200})[b-z]", lambda found: found[1] + b"a")
    assert put(typing, BIG, str(tty_shell.home / "file"))
    assert (tty_shell.home / "file").read_bytes() == BIG


def noisy(seed: int, rate: float) -> Callable[[bytes], bytes]:
    """Flips or drops bytes at random, as a bad line does."""
    chance = random.Random(seed)

    def apply(data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if chance.random() >= rate:
                out.append(byte)
            elif chance.random() < 0.5:
                out.append(byte ^ 1 << chance.randrange(8))
        return bytes(out)

    return apply


def test_a_line_that_flips_and_drops_bytes_delivers_all_the_same(shell: Shell, tty_shell: ShellLine) -> None:
    tty_shell.to_shell = noisy(1, 1e-4)
    path = str(tty_shell.home / "file")
    assert put(shell, BIG, path)
    assert (tty_shell.home / "file").read_bytes() == BIG


def test_a_part_whose_answer_was_lost_is_not_sent_again_and_again(
    typing: Shell, tty_shell: ShellLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = parts.send
    sent = []

    def deaf(shell: Shell, part: bytes, *rest: Any) -> str:
        answer = send(shell, part, *rest)
        sent.append(len(part))
        return "garbled" if len(sent) in (2, 5) else answer

    monkeypatch.setattr(parts, "send", deaf)
    path = str(tty_shell.home / "file")
    assert put(typing, BIG, path)
    assert Path(path).read_bytes() == BIG
    assert sum(sent) < len(BIG) + 3 * channel.LARGEST_TYPED


def test_a_part_that_was_written_over_another_is_found_and_only_that_stretch_sent_again(
    typing: Shell, tty_shell: ShellLine
) -> None:
    tty_shell.to_shell = once(rb"seek=128 ", lambda found: b"seek=028 ")
    before = tty_shell.console.transcript.sent
    typed = []
    tty_shell.console.transcript.sent = lambda data: (typed.append(len(data)), before(data))[1]  # type: ignore[method-assign]
    assert put(typing, BIG, str(tty_shell.home / "file"))
    assert (tty_shell.home / "file").read_bytes() == BIG
    assert sum(typed) < (len(BIG) + 3 * channel.LARGEST_TYPED) * 4 / 3


def test_an_upload_that_was_cut_goes_on_where_it_stopped(
    typing: Shell, tty_shell: ShellLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tty_shell.home / "file")
    sent = []
    send = parts.send

    def dies(shell: Shell, part: bytes, temporary: str, offset: int, *rest: Any) -> str:
        if offset > 40_000 and len(sent) < 3:
            raise LineClosed("cut")
        sent.append(offset)
        return send(shell, part, temporary, offset, *rest)

    monkeypatch.setattr(parts, "send", dies)
    with pytest.raises(LineClosed, match="^cut$"):
        put(typing, BIG, path)
    stopped = len(sent)
    sent.append(-1)
    assert put(typing, BIG, path)
    assert Path(path).read_bytes() == BIG
    assert sent[stopped + 1] == sent[stopped - 1] + channel.LARGEST_TYPED, "not from the beginning"


def test_a_line_that_always_corrupts_is_given_up(typing: Shell, tty_shell: ShellLine) -> None:
    tty_shell.to_shell = once(rb"(\n[A-Za-z0-9+/]{200})[b-z]", lambda found: found[1] + b"a", times=10**6)
    with pytest.raises(InfrastructureError, match=r"\b256 bytes.*\b12 tries"):
        put(typing, BIG, str(tty_shell.home / "file"))
    assert os.listdir(tty_shell.home) == []


def test_foreign_lines_in_every_answer_do_no_harm(shell: Shell, tty_shell: ShellLine) -> None:
    tty_shell.to_us = lambda data: data.replace(b"\n", b"\n" + PRINTK)
    path = str(tty_shell.home / "file")
    assert put(shell, BIG, path)
    assert get(shell, path) == BIG
    assert digest_in_guest(shell, path) is not None


def test_what_comes_back_corrupted_is_asked_for_again(typing: Shell, tty_shell: ShellLine) -> None:
    (tty_shell.home / "file").write_bytes(BIG)
    tty_shell.to_us = once(rb"([A-Za-z0-9+/]{70})[b-z]", lambda found: found[1] + b"a")
    assert get(typing, str(tty_shell.home / "file")) == BIG


def test_what_always_comes_back_corrupted_is_given_up(typing: Shell, tty_shell: ShellLine) -> None:
    (tty_shell.home / "file").write_bytes(BIG)
    typing.console.token = lambda size: "0badcafe"
    tty_shell.to_us = once(rb"([A-Za-z0-9+/]{70})[b-z]", lambda found: found[1] + b"a", times=10**6)
    with pytest.raises(InfrastructureError, match=r"\b256 bytes.*\b12 tries"):
        get(typing, str(tty_shell.home / "file"))
    assert typing.run("ls /tmp/*hil@0badcafe* 2>/dev/null").output == b""


def test_an_unknown_writer_in_the_size_is_survived(shell: Shell, tty_shell: ShellLine) -> None:
    (tty_shell.home / "file").write_bytes(b"12345")
    tty_shell.to_us = once(rb"s=5\n", lambda found: b"s=BUG: nobody knows this line\r\n5\n")
    assert get(shell, str(tty_shell.home / "file")) == b"12345"


def test_a_file_that_is_not_there_cannot_be_got(shell: Shell, tty_shell: ShellLine) -> None:
    with pytest.raises(GuestError, match=r"/nothing .*(No such file|cannot open)"):
        get(shell, str(tty_shell.home / "nothing"))


def test_a_file_over_the_limit_is_not_got(shell: Shell, tty_shell: ShellLine) -> None:
    (tty_shell.home / "file").write_bytes(b"x" * 1001)
    with pytest.raises(GuestError, match=r"\b1001 bytes.*\b1000\b"):
        get(shell, str(tty_shell.home / "file"), limit=1000)


def test_the_digest_of_nothing_is_none(shell: Shell, tty_shell: ShellLine) -> None:
    assert digest_in_guest(shell, str(tty_shell.home / "nothing")) is None
    assert digest_in_guest(shell, str(tty_shell.home)) is None


def test_a_small_file_takes_one_command_and_one_that_is_there_too(shell: Shell, tty_shell: ShellLine) -> None:
    put(shell, b"the first of a session", "first")
    before = len(commands(tty_shell))
    assert put(shell, BIG[:30_000], "deep/file")
    assert not put(shell, BIG[:30_000], "deep/file")
    assert len(commands(tty_shell)) == before + 2
    assert max(map(len, tty_shell.typed())) == 30_000 + len(receiving.PAD), "as it is, and once"
    assert (tty_shell.home / "deep" / "file").read_bytes() == BIG[:30_000]


def seven_bits(data: bytes) -> bytes:
    return bytes(byte & 0x7F for byte in data)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\x13", b"").replace(b"\x11", b""),
        lambda data: data.replace(b"\r", b"\n"),
        lambda data: data.replace(b"\xff\xff", b"\xff"),
        seven_bits,
    ],
    ids=["flow control", "line ends", "telnet", "seven bits"],
)
def test_a_line_that_does_not_pass_all_bytes_has_base64(
    shell: Shell, tty_shell: ShellLine, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(receiving, "PROBE_SILENCE", 0.3)
    monkeypatch.setattr(receiving, "REST", 0.3)
    tty_shell.to_shell = change
    assert put(shell, BIG, "file")
    assert (tty_shell.home / "file").read_bytes() == BIG
    assert shell.channel
    assert not shell.channel.there.clean


def test_a_line_that_turns_dirty_has_base64_from_then_on(shell: Shell, tty_shell: ShellLine) -> None:
    put(shell, b"clean", "first")
    tty_shell.to_shell = seven_bits
    assert put(shell, BIG, "file")
    assert (tty_shell.home / "file").read_bytes() == BIG
    tty_shell.to_shell = lambda data: data
    before = len(tty_shell.typed())
    assert put(shell, BIG[1:], "other")
    assert all(text.isascii() for text in tty_shell.typed()[before:])


def test_answers_over_a_line_of_seven_bits_come_as_base64(shell: Shell, tty_shell: ShellLine) -> None:
    (tty_shell.home / "file").write_bytes(BIG)
    tty_shell.to_us = seven_bits
    assert get(shell, "file") == BIG
    assert shell.channel
    assert not shell.channel.back.clean


def test_bytes_that_a_line_adds_or_loses_are_not_taken_for_commands(
    shell: Shell, tty_shell: ShellLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "SILENCE", 0.5)
    monkeypatch.setattr(receiving, "REST", 0.5)
    put(shell, b"clean", "first")
    data = BIG[:20_000] + b"\ntouch wrong\n" * 20
    for change in (lambda found: found[0] + b"y" * 200, lambda found: found[0][200:]):
        tty_shell.to_shell = once(b"(?s)" + re.escape(BIG[1000:1300]), change)
        assert put(shell, data, "file")
        assert (tty_shell.home / "file").read_bytes() == data
        (tty_shell.home / "file").unlink()
    assert sorted(os.listdir(tty_shell.home)) == ["first"]


@pytest.mark.parametrize("program", ["stty", "dd"])
def test_a_guest_that_cannot_receive_bytes_as_they_are_has_base64(
    shell: Shell, tty_shell: ShellLine, program: str
) -> None:
    real = shell.run(f"command -v {program}").text.strip()
    option = "fullblock" if program == "dd" else "raw"
    shell.run(f'{program}(){{ case $* in *{option}*)return 1;;esac;{real} "$@";}}', check=True)
    assert put(shell, BIG[:5000], "file")
    assert (tty_shell.home / "file").read_bytes() == BIG[:5000]


def test_what_a_hypervisor_takes_for_itself_is_not_sent_as_it_is(shell: Shell, tty_shell: ShellLine) -> None:
    data = BIG[:3000] + b"\x01" * 3 + BIG[3000:6000]
    assert put(shell, data, "file")
    assert (tty_shell.home / "file").read_bytes() == data
    assert not [text for text in tty_shell.typed() if "\x01\x01\x01" in text]


def test_transfers_are_replayed_from_their_recording(shell: Shell, tty_shell: ShellLine, tmp_path: Path) -> None:
    (tmp_path / "replayed").mkdir()

    def transfers(shell: Shell) -> bytes:
        assert put(shell, BIG, "file")
        assert put(shell, BIG[:1000] * 20, "other")
        assert not put(shell, BIG[:1000] * 20, "other")
        return get(shell, "other")

    assert transfers(shell) == BIG[:1000] * 20
    player = Player(Recording(tty_shell.console.transcript.path))
    try:
        with Console(player.port, Transcript.create(tmp_path / "replayed", "again")) as console:
            assert transfers(Shell(console, FACTS)) == BIG[:1000] * 20
    finally:
        player.close()


def test_parts_stay_small(shell: Shell, tty_shell: ShellLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "LARGEST", 1024)
    shell.channel = Channel(Direction(clean=True, fixed=True), Direction(clean=True), xz=True)
    assert put(shell, BIG[:5500], str(tty_shell.home / "file"))
    assert (tty_shell.home / "file").read_bytes() == BIG[:5500]
    assert max(map(len, tty_shell.typed())) == 1024 + len(receiving.PAD)
