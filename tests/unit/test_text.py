"""What strangers wrote, printed: on a terminal, in a pipe, in errors; and their files, read."""

from __future__ import annotations

import os
import pty
import sys
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner

from hil import Clock, Series
from hil.cli import main
from hil.cli.common import out
from hil.errors import ConfigurationError, Evidence, HilError
from hil.history.rows import RecordedRun, Run
from hil.history.store import History
from hil.host import foreign
from hil.measure import results
from hil.measure.bounds_file import Bounds
from hil.nightly import plan, state, summary
from hil.text import printable, printable_line, storable

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b2J\x7f\r\u202e\u2028\u2066\u200e\udcb0\ud83d\0"
SHOWN = "\\x1b]0;owned\\x07\\x1b[2J\\x9b2J\\x7f\\r\\u202e\\u2028\\u2066\\u200e\\xb0\\ud83d\\x00"


def acts(text: str) -> set[str]:
    """The characters of `text` that a terminal does not just show."""
    return {one for one in text if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - set(
        "\n\t\u200c\u200d"
    )


def test_what_acts_on_a_terminal_is_shown() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("one\ttwo\r\nthree é 漢 🙂 \u200d") == "one\ttwo\r\nthree é 漢 🙂 \u200d"
    assert printable_line("one\r\ntwo\t") == "one\\r\\ntwo\\t"
    assert storable("a\0\udcff\x1b") == "a\\x00\\xff\x1b"


def test_nothing_gets_through() -> None:
    every = "".join(map(chr, range(0x110000)))
    # marks of single scripts that show something, as the Arabic number sign does
    shown = {chr(one) for one in (*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, *range(0x110BD, 0x1D17B))}
    assert not acts(printable(every)) - shown
    assert len(printable_line(every).splitlines()) == 1
    storable(every).encode()


def test_an_error_does_not_act() -> None:
    evidence = Evidence(Path("t"), (EVIL, "\nhil: all is well"))
    told = str(HilError(f"it said {EVIL}", hint=EVIL, stage=EVIL, evidence=evidence))
    assert not acts(told)
    assert "  | \\nhil: all is well" in told.splitlines()


def test_the_command_s_terminal_does_not_act(capsys: pytest.CaptureFixture[str]) -> None:
    out.print(EVIL)
    assert capsys.readouterr().out == f"{SHOWN}\n"


def test_a_history_s_texts_do_not_act(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with History(path, write=True) as history:
        history.add(RecordedRun(Run("r", "", EVIL, "", EVIL, 1.0, 2.0, 0, "done", {})))
    for options in ([], ["--json"]):
        done = CliRunner().invoke(main, ["history", "list", *options, "--history", str(path)])
        assert done.exit_code == 0
        assert not acts(done.output)
        assert "owned" in done.output


def test_a_night_s_summary_does_not_act(tmp_path: Path) -> None:
    night = state.begin(
        tmp_path, state.NightState(plan=EVIL, began=1e9, state="did not run", why=f"{EVIL}\nwhat to do")
    )
    state.write(tmp_path / "s.md", summary.not_run(night))
    assert not acts((tmp_path / "s.md").read_text())
    (again,) = state.nights(tmp_path)
    assert again.state.plan == storable(EVIL)


@pytest.mark.parametrize(("raw", "told"), [(False, b"a\r\n\\x1b[2J\\xff"), (True, b"a\r\n\x1b[2J\xff")])
def test_a_module_s_output_is_escaped_on_a_terminal_only(raw: bool, told: bytes) -> None:
    code = f"from hil.cli.runs import _write; _write(b'a\\n\\x1b[2J\\xff', raw={raw})"
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", code])
    said = b""
    while True:
        try:
            data = os.read(terminal, 100)
        except OSError:  # Linux's end of a terminal
            break
        if not data:
            break
        said += data
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)
    assert said == told


# files of others


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"1234")
    (tmp_path / "link").symlink_to("good")
    os.mkfifo(tmp_path / "pipe")
    assert foreign.read(tmp_path / "good", 4) == b"1234"
    assert foreign.read(tmp_path / "link", 4, links=True) == b"1234"
    for name, limit in (("good", 3), ("link", 4), ("pipe", 4), (".", 4), ("x" * 300, 4), ("a\0b", 4)):
        with pytest.raises(OSError, match=".") as error:
            foreign.read(tmp_path / name, limit)
        assert foreign.why(error.value)
    with pytest.raises(OSError, match="regular"):
        foreign.read("/dev/zero", 10, links=True)


@pytest.mark.parametrize("data", [b"", b"{", b"1e999", b"-1e999", b"NaN", b"[Infinity]", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_plain_json_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        foreign.decode(data)


def test_a_byte_order_mark_is_read_over_in_what_editors_write(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    plan_file = tmp_path / "p.toml"
    plan_file.write_bytes(
        mark + b'limit = 5\r\n[[job]]\r\nname = "a"\r\nsuites = ["smoke"]\r\nboards = ["qemu-reference"]\r\n'
    )
    assert [run.name for run in plan.load(plan_file).runs] == ["a-qemu-reference"]
    bounds_file = tmp_path / "b.toml"
    bounds_file.write_bytes(mark + b"bound = []\n")
    Bounds(bounds_file)
    file = tmp_path / "r.jsonl"
    one = Series("q", "x", [1.0], Clock("c", 1e-9))
    file.write_bytes(mark + results.render(one))
    results.write(file, one)
    assert len(results.load(file).series) == 2
    assert results.is_ours(file)


def test_json_is_read_as_it_can_be_kept() -> None:
    assert foreign.decode(b'\xef\xbb\xbf{"a\\u0000": ["\xb0\\ud83d", 1.5, null, true]}') == {
        "a\\x00": ["\\xb0\\ud83d", 1.5, None, True]
    }


@pytest.mark.parametrize("value", [-1, 1e17, float("inf"), float("nan"), True, "1", None, 10**400])
def test_no_moment_is_beyond_the_calendar(value: object) -> None:
    with pytest.raises(ValueError, match="."):
        foreign.moment(value)


def test_what_the_system_says_of_a_name_is_the_user_s_to_correct() -> None:
    done = CliRunner().invoke(main, ["results", "show", "x" * 300])
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert issubclass(ConfigurationError, HilError)
