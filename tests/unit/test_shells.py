"""The guest's shell is whatever the image has: each of Debian's, as its users set it up, on a pty."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import QUICK, ShellLine, shell_line

from hil.errors import ConfigurationError
from hil.guest import CommandTimeout, transfer
from hil.guest.shell import Shell, quote
from hil.image.manifest import ConsoleFacts

ALL = bytes(range(1, 256))
READY = "ready-to-type"  # in each prompt; what is typed to a shell that starts may be lost


@dataclass(frozen=True)
class Flavour:
    """A login shell: how it is started, its start file, its environment, and what it has for `sh`."""

    command: tuple[str, ...]
    start_file: str = ""
    text: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    sh: str = "dash"


BASHRC = (
    "PS1='\\[\\e[1;32m\\]\\u@\\h \\w "
    + READY
    + "\\$\\[\\e[0m\\] '\nHISTFILE=~/.history\nalias echo='echo alias' ls='ls -l'\n"
)
PRECMD = "precmd() { print -P '%F{red}before'; }\npreexec() { print run; }\n"
ZSHRC = (
    f"PROMPT='%F{{green}}%n {READY}%# %f'\nRPROMPT='%T on the right'\nHISTFILE=~/.history SAVEHIST=100 HISTSIZE=100\n"
)
FLAVOURS = {
    "dash": Flavour(("dash", "-i"), environment=(("PS1", f"{READY}# "),)),
    "ash": Flavour(("busybox", "ash", "-i"), environment=(("PS1", f"{READY}# "),), sh="busybox"),
    "bash": Flavour(("bash", "-i"), ".bashrc", BASHRC),
    "bash as sh": Flavour(("bash", "-i"), ".bashrc", BASHRC, sh="bash"),
    "bash vi": Flavour(
        ("bash", "-i"), ".bashrc", BASHRC + "set -o vi\nset -uf\nPROMPT_COMMAND='echo before'\n", sh="bash"
    ),
    "bash emacs": Flavour(
        ("bash", "-i"),
        ".bashrc",
        BASHRC
        + "set -o emacs -o histexpand\nbind 'set enable-bracketed-paste on'\nexport PROMPT_COMMAND='echo before'\n"
        "export TMOUT=8 ENV=~/.profile\nshopt -s histappend cdspell autocd\nunset HISTFILE\nreadonly HISTFILE\n",
        sh="bash",
    ),
    "bash without editor": Flavour(("bash", "--noediting", "-i"), ".bashrc", BASHRC),
    "mksh": Flavour(("mksh", "-i"), environment=(("PS1", f"{READY}# "),), sh="mksh"),
    "mksh vi": Flavour(
        ("mksh", "-i"), ".mkshrc", f"PS1='{READY} ! $PWD $ '\nset -o vi\nHISTFILE=~/.history\nset -u\n", sh="mksh"
    ),
    "mksh emacs": Flavour(("mksh", "-i"), ".mkshrc", f"PS1='{READY}$ '\nset -o emacs\nalias unset=echo\n"),
    "zsh": Flavour(("zsh", "-i"), ".zshrc", ZSHRC),
    "zsh as sh": Flavour(("zsh", "-i"), ".zshrc", ZSHRC, sh="zsh"),
    "zsh vi": Flavour(
        ("zsh", "-i"), ".zshrc", ZSHRC + PRECMD + "bindkey -v\nsetopt correct_all nounset share_history\n"
    ),
    "zsh bare": Flavour(("zsh", "-f", "-i"), environment=(("PS1", f"{READY}# "),)),
}


def login(directory: Path, flavour: Flavour) -> AbstractContextManager[ShellLine]:
    """A line with the flavour's shell at its prompt."""
    programs, home = directory / "bin", directory / "home"
    for made in (programs, home):
        made.mkdir()
    target = shutil.which(flavour.sh)
    assert target, f"{flavour.sh} is not installed; ./bootstrap installs it"
    (programs / "sh").symlink_to(target)
    if flavour.start_file:
        (home / flavour.start_file).write_text(flavour.text)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", **dict(flavour.environment)}
    return shell_line(directory, list(flavour.command), environment=environment)


@pytest.fixture(scope="module", params=FLAVOURS)
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShellLine]:
    with login(tmp_path_factory.mktemp("shells"), FLAVOURS[request.param]) as made:
        made.console.wait_for(READY.encode(), timeout=QUICK)
        yield made


@pytest.fixture(scope="module")
def shell(line: ShellLine) -> Shell:
    return Shell(line.console, ConsoleFacts())


COMMANDS: list[tuple[str | bytes, bytes, int]] = [
    ("echo hello", b"hello\n", 0),
    ("(exit 239)", b"", 239),
    ("printf 'a\\r\\nb\\001\\000\\377'", b"a\r\nb\x01\x00\xff", 0),
    ("echo one\necho two; false", b"one\ntwo\n", 1),
    ("cat <<'E'\n# \nE", b"# \n", 0),
    ("echo 'it''s !done! !! !$ ^a^b $(echo x) `echo y`' \"!\"", b"its !done! !! !$ ^a^b $(echo x) `echo y` !\n", 0),
    ("# nothing", b"", 0),
    ("printf '%s' 'a\tb' | od -An -tx1", b" 61 09 62\n", 0),
    ("printf 'δ temp 21°C 名 😀\\n'", "δ temp 21°C 名 😀\n".encode(), 0),
    ("for i in 1 2 3\ndo\necho $i\ndone", b"1\n2\n3\n", 0),
    ("x='a b'; set -- $x; echo $# no-such-*", b"2 no-such-*\n", 0),
    ("(exit 3); return 5", b"", 5),
    ("echo " + "y" * 5000, b"y" * 5000 + b"\n", 0),
    ("printf '%s' '" + "!'\\''\\" * 2000 + "'", b"!'\\" * 2000, 0),
    (b"printf '%s\\n' '\x03\x04\x1a\xff\xfe'", b"\x03\x04\x1a\xff\xfe\n", 0),
    (b"printf '%s\\n' 'x%s%%\\n\xe9'", b"x%s%%\\n\xe9\n", 0),
    (b"echo end \xe9", b"end \xe9\n", 0),
]
ARGUMENTS = [ALL, ALL[::-1], b"-n\n\n", b"\x03\necho INJECTED\n", b"\x1b[200~x\x1b[201~"]


def test_a_command_does_the_same_in_every_shell(shell: Shell) -> None:
    for command, output, status in COMMANDS:
        result = shell.run(command, timeout=QUICK)
        assert (result.output, result.status) == (output, status), command
    assert shell.retyped == 0


def test_any_byte_arrives_in_an_argument(shell: Shell) -> None:
    for data in ARGUMENTS:
        result = shell.run(quote(["printf", "%s", data]), timeout=QUICK)
        assert (result.output, result.status) == (data, 0)


def test_a_command_that_does_not_end_is_interrupted(shell: Shell) -> None:
    for command in ("sleep 60", "cat"):
        with pytest.raises(CommandTimeout) as caught:
            shell.run(command, timeout=0.2)
        assert caught.value.recovered
        assert shell.run("echo back", timeout=QUICK).output == b"back\n"


def test_a_syntax_error_is_a_result(shell: Shell) -> None:
    assert shell.run("if; then", timeout=QUICK).status
    assert shell.run("echo alive", timeout=QUICK).text == "alive\n"


def test_what_the_shell_knows_ends_no_command(shell: Shell) -> None:
    for command in ("set", "typeset -f", "env", "trap", "export -p"):
        shell.run(command + "; echo last", timeout=QUICK)
        assert shell.run(command + "; echo last", timeout=QUICK).text.endswith("last\n")


def test_a_file_with_any_name_goes_there_and_back(shell: Shell, line: ShellLine) -> None:
    path = os.fsencode(line.home) + b"/" + ALL.replace(b"/", b"")[:240]
    content = bytes(range(256)) * 40
    assert transfer.put(shell, content, os.fsdecode(path))
    assert Path(os.fsdecode(path)).read_bytes() == content
    assert transfer.get(shell, os.fsdecode(path)) == content


def test_a_session_leaves_the_environment_and_the_history_clean(shell: Shell, line: ShellLine) -> None:
    left = shell.run("env | grep -E '^(ENV|HISTFILE|PROMPT_COMMAND|TMOUT)='", timeout=QUICK)
    assert left.output == b""
    for file in line.home.glob(".*history"):
        assert b"exec" not in file.read_bytes()


@pytest.mark.parametrize("name", FLAVOURS)
def test_a_session_opens_on_a_half_typed_command(tmp_path: Path, name: str) -> None:
    with login(tmp_path, FLAVOURS[name]) as line:
        line.console.wait_for(READY.encode(), timeout=QUICK)
        line.console.write(b"if echo 'half\na comm")
        session = Shell(line.console, ConsoleFacts())
        assert session.run("echo fine", timeout=QUICK).output == b"fine\n"
        assert Shell(line.console, ConsoleFacts()).run("echo again", timeout=QUICK).output == b"again\n"


@pytest.mark.parametrize("name", FLAVOURS)
def test_a_loop_of_the_shell_itself_is_interrupted(tmp_path: Path, name: str) -> None:
    """BusyBox's ash now and then loses all signals in such a loop; a board with such a shell is dirty.

    Therefore up to three shells are tried; without an interrupt all would fail.
    """
    for number in range(3):
        (directory := tmp_path / str(number)).mkdir()
        with login(directory, FLAVOURS[name]) as line:
            line.console.wait_for(READY.encode(), timeout=QUICK)
            session = Shell(line.console, ConsoleFacts())
            with pytest.raises(CommandTimeout) as caught:
                session.run("while :; do :; done", timeout=0.2)
            assert session.lost is not caught.value.recovered
            if caught.value.recovered:
                assert session.run("echo back", timeout=QUICK).output == b"back\n"
                return
    pytest.fail(f"none of the shells {name} was interrupted")


def test_what_no_command_can_hold_is_refused(shell: Shell) -> None:
    for command in ("echo a\0b", b"echo a\0b", "echo \ud83d"):
        with pytest.raises(ConfigurationError, match=r"NUL|\\ud83d"):
            shell.run(command)
