"""Variables and directories for modules: what is refused before anything is sent, what arrives, what comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from agents import GIVING, SEALING, line, make, module
from click.testing import CliRunner
from support import ShellLine

from hil import Preopen
from hil.cli import main
from hil.errors import ConfigurationError, RunnerError
from hil.guest import CommandTimeout
from hil.guest.receiving import PAD
from hil.image import manifest
from hil.wasm import Runner
from hil.wasm import runner as runner_module
from hil.wasm.guest_files import fetch
from hil.wasm.preopens import directories_of, unpacked
from hil.wasm.trees import read_tree, write_back
from hil.wasm.verdict import exited, failed

__all__ = ["line"]
SHOWN = "write(repr(env).encode() + b' '); write(repr({at: (os.path.basename(d), m) for at, (d, m) in dirs.items()}).encode()); end()"
TREE = """
for at, (guest, _) in sorted(dirs.items()):
    for root, names, files in sorted(os.walk(guest)):
        for name in sorted(names) + sorted(files):
            path = os.path.join(root, name)
            shown = open(path, 'rb').read() if name in files else 'directory'
            write(f'{at} {os.path.relpath(path, guest)} {shown}\\r\\n'.encode())
end()
"""
CHANGES = """
d = dirs['out'][0]
os.remove(d + '/gone')
os.makedirs(d + '/new/deep')
open(d + '/new/deep/bytes', 'wb').write(bytes(range(256)))
open(d + '/odd \\n name', 'wb').write(b'')
open(d + '/kept', 'ab').write(b'+')
os.symlink('/etc/passwd', d + '/link')
end()
"""


@pytest.fixture
def runner(line: ShellLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(runner_module, "MODULES", str(tmp_path / "modules"))
    return make(line, GIVING)


def test_variables_and_directories_reach_the_agent_in_order(runner: Runner) -> None:
    run = runner.run(
        module(SHOWN),
        env={"B": "two words = $HOME", "A": b"\xff", "E": ""},
        files={"x": b""},
        preopens=[Preopen("out", writable=True)],
    )
    expected = ["B=two words = $HOME", "A=\udcff", "E="], {"out": ("0", "rw"), "/": ("1", "ro")}
    assert run.text == f"{expected[0]!r} {expected[1]!r}"


def test_files_arrive_with_their_directories_and_are_removed_after_the_run(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "host" / "sub").mkdir(parents=True)
    (tmp_path / "host" / "sub" / "f").write_bytes(b"\0\xff")
    files = {"a/b/c.json": b"{}", "empty/": b"", "one": tmp_path / "host" / "sub" / "f", "all": tmp_path / "host"}
    run = runner.run(module(TREE), files=files)
    assert run.text.split("\r\n") == [
        "/ a directory",
        "/ all directory",
        "/ empty directory",
        "/ one b'\\x00\\xff'",
        "/ a/b directory",
        "/ a/b/c.json b'{}'",
        "/ all/sub directory",
        "/ all/sub/f b'\\x00\\xff'",
        "",
    ]
    assert run.files == {}
    assert not Path(f"{runner_module.MODULES}-run").exists()


def test_files_stay_beside_their_module_where_uploads_are_too_many(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "UPLOADED", 1)
    for number in range(3):
        assert runner.run(module(f"{TREE}#{number}"), files={"n": b"%d" % number}).output == b"/ n b'%d'\r\n" % number


def test_what_a_module_leaves_in_a_writable_directory_comes_back(runner: Runner) -> None:
    out = Preopen("out", {"gone": b"1", "kept": b"2"}, writable=True)
    run = runner.run(module(CHANGES), preopens=[out], files={"in": b"not fetched"})
    assert run.verdict == exited(0)
    assert run.files == {"out/new/deep/bytes": bytes(range(256)), "out/odd \n name": b"", "out/kept": b"2+"}
    again = runner.run(module("end(code=1)"), preopens=[out])
    assert (again.verdict, again.files) == (exited(1), {"out/gone": b"1", "out/kept": b"2"}), "no run sees another's"


def test_files_are_sent_once_and_a_started_module_leaves_its_own(runner: Runner, line: ShellLine) -> None:
    data = Preopen("d", {"log": b"0" * 900}, writable=True)
    runner.run(module("end()"), preopens=[data])
    before = len(line.typed())
    code = "open(dirs['d'][0] + '/log', 'w').write(env[0]); write(b'ready\\r\\n'); time.sleep(60)"
    with runner.start(module(code), ready="ready", env={"K": "v"}, preopens=[data]) as running:
        pass
    typed = line.typed()
    sent = [number for number in range(1, len(typed)) if typed[number].endswith(PAD.decode())]
    (archive,) = (number for number in sent if "files.tar" in typed[number - 1])
    assert archive < before
    assert running.execution is not None
    if running.execution.seal is None:  # this stand-in ends without one at ^C
        with pytest.raises(RunnerError, match=r"did not come back: failed\(aborted\)"):
            _ = running.execution.files
    code = "open(dirs['d'][0] + '/log', 'w').write(env[0]); end()"
    with runner.start(module(code), ready=None, env={"K": "v"}, preopens=[data]) as running:
        assert running.wait().files == {"d/log": b"K=v"}


def test_files_that_did_not_come_back_are_an_error_when_they_are_read(runner: Runner) -> None:
    out = [Preopen("out", writable=True)]
    words = "wasmedge_emit: files of the module: x/../y: no plain relative path"
    run = runner.run(module(f"print({words!r}, flush=True); end(status=248)"), preopens=out)
    assert run.verdict == exited(0)
    with pytest.raises(RunnerError, match=r"m\.wasm did not come back: x/\.\./y: no plain relative path"):
        _ = run.files
    words = "wasmedge_emit: the directories need 9 KiB of memory, the runner gives 8 KiB"
    run = runner.run(module(f"print({words!r}); sys.exit(247)"), preopens=out)
    assert run.verdict == failed(words)
    with pytest.raises(RunnerError, match="9 KiB"):
        _ = run.files


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"env": {"A=B": "1"}}, "'A=B' is no name"),
        ({"env": {"": "1"}}, "'' is no name"),
        ({"env": {"A": "a\0b"}}, "variable A is"),
        ({"env": {"A": 1}}, "variable A is"),
        ({"env": ["A=1"]}, "env is"),
        ({"files": {"../x": b""}}, r"'\.\./x' is no path"),
        ({"files": {"/x": b""}}, "'/x' is no path"),
        ({"files": {"a//b": b""}}, "'a//b' is no path"),
        ({"files": {"n" * 256: b""}}, "is no path"),
        ({"files": {"d/": b"1"}}, "d/ in directory '/' has contents"),
        ({"files": {"a": b"", "a/b": b""}}, "a in directory '/' is both a file and a directory"),
        ({"files": {"a": "text"}}, "a in directory '/' is"),
        ({"files": {"a": Path("/nothing/there")}}, "cannot read /nothing/there"),
        ({"files": {"a": Path("/dev/zero")}}, "/dev/zero is neither a file nor a directory"),
        ({"files": b"x"}, "the files of directory '/'"),
        ({"files": {"a": b"x" * 1001}}, "1001 bytes; image stand-in takes at most 1000"),
        ({"preopens": [Preopen("a:b")]}, "'a:b' is no path at which"),
        ({"preopens": [Preopen("../a")]}, r"'\.\./a' is no path at which"),
        ({"preopens": [Preopen("")]}, "'' is no path at which"),
        ({"preopens": [Preopen("a/")]}, "'a/' is no path at which"),
        ({"preopens": Preopen()}, "preopens are"),
        ({"preopens": ["a"]}, "is no directory"),
        ({"preopens": [Preopen()], "files": {}}, "two directories of the module are at '/'"),
    ],
)
def test_what_no_module_can_be_given_is_refused_before_it_is_sent(
    runner: Runner, line: ShellLine, given: dict[str, object], problem: str
) -> None:
    before = line.typed()
    with pytest.raises(ConfigurationError, match=problem):
        runner.run(module("end()"), **given)  # type: ignore[arg-type]
    assert line.typed() == before


def test_an_agent_without_the_options_gives_nothing_and_is_sent_nothing(line: ShellLine) -> None:
    runner = make(line, SEALING)
    before = line.typed()
    with pytest.raises(ConfigurationError, match="agent of image stand-in cannot give environment variables"):
        runner.run(module("end()"), env={"A": "1"})
    with pytest.raises(ConfigurationError, match="agent of image stand-in cannot give directories"):
        runner.start(module("end()"), preopens=[Preopen("out", writable=True)])
    assert line.typed() == before


def test_the_images_say_what_their_agents_can() -> None:
    reference, plain, sel4 = map(manifest.find, ("reference", "plain-linux", "wasmedge-sel4"))
    facts = [manifest.agent_of(image) for image in (reference, plain)]
    assert [(fact.env_option, fact.dir_option) for fact in facts] == [
        ("--env={name}={value}", "--dir={guest}:{module}:{mode}")
    ] * 2
    assert (manifest.agent_of(sel4).env_option, manifest.agent_of(sel4).dir_option) == (None, None)


def test_an_archive_is_the_same_for_the_same_files_and_a_wrong_one_is_refused() -> None:
    one, other = (directories_of([Preopen("a", files)], None)[0].archive() for files in ({"x": b"1"}, {"y/x": b"1"}))
    same = directories_of([Preopen("b", {"x": b"1"}, writable=True)], None)[0].archive()
    assert one is not None
    assert other is not None
    assert same is not None
    assert one.sha256 == same.sha256 != other.sha256
    assert directories_of([Preopen("a")], None)[0].archive() is None
    with pytest.raises(ValueError, match="names 'x'"):
        unpacked(one.data, directories_of([Preopen("a")], None))
    with pytest.raises(ValueError, match="damaged"):
        unpacked(b"\xff" * 600, ())


def test_a_tree_of_this_machine_is_read_without_links_and_written_back(tmp_path: Path) -> None:
    (tmp_path / "sub" / "none").mkdir(parents=True)
    for name in ("gone", "same", "sub/changed"):
        (tmp_path / name).write_text(name)
    tree = read_tree(tmp_path)
    assert tree == {"gone": b"gone", "same": b"same", "sub/changed": b"sub/changed", "sub/": b"", "sub/none/": b""}
    written = (tmp_path / "same").stat().st_mtime_ns
    write_back(tmp_path, tree, {"same": b"same", "sub/changed": b"!", "new/x": b"?"})
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "same",
        "sub/changed",
        "new/x",
    }
    assert ((tmp_path / "sub" / "changed").read_bytes(), (tmp_path / "same").stat().st_mtime_ns) == (b"!", written)
    elsewhere = tmp_path.with_name("elsewhere")
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(elsewhere)
    with pytest.raises(ConfigurationError, match="link is a symbolic link"):
        read_tree(tmp_path)
    with pytest.raises(ConfigurationError, match="link has become a symbolic link"):
        write_back(tmp_path, tree, {"link/x": b""})
    assert list(elsewhere.iterdir()) == []
    (elsewhere / "x").write_text("not of the module")
    with pytest.raises(ConfigurationError, match="link has become a symbolic link"):
        write_back(tmp_path, {"same": b"", "link/x": b""}, {})
    assert (elsewhere / "x").exists()
    assert (tmp_path / "same").exists(), "nothing is changed before all is checked"


def test_a_run_without_an_end_leaves_no_files(runner: Runner) -> None:
    directories = directories_of([Preopen("d", {"a": b""}, writable=True)], None)
    evidence = runner.guest.shell.console.evidence()
    overdue = CommandTimeout("no end in 1 s", recovered=True, output=b"", start=0, end=0, evidence=evidence)
    assert fetch(runner.guest, "/none", directories, overdue, "").problem == "no end in 1 s"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--env", "A"], "--env A is no variable"),
        (["--env", "=A"], "--env =A is no variable"),
        (["--dir", "/tmp"], "--dir /tmp names no path"),
        (["--dir", "/nothing:/"], "/nothing is no directory"),
    ],
)
def test_a_wrong_option_of_hil_run_is_named(words: list[str], problem: str) -> None:
    done = CliRunner().invoke(main, ["run", *words, "hello.wasm"])
    assert done.exit_code == 64
    assert problem in done.output
