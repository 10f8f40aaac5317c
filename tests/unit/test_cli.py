"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner, Result
from limits import HANG
from support import IDLE_STUB, QUICK, children, stub_board, until

from hil import Clock, Series, maximum, ms
from hil.cli import main
from hil.cli.runs import exit_status
from hil.errors import BootError, GuestError, HilError, InfrastructureError, RunnerError
from hil.measure.decision import decide
from hil.measure.results import write
from hil.wasm.guest_files import NONE
from hil.wasm.verdict import exited, failed, faulted, no_agent, silent, stuck

HELLO = Path(__file__).resolve().parents[2] / "wasm_samples" / "hello.wasm"


def hil(*words: str) -> Result:
    before = children(os.getpid())
    result = CliRunner().invoke(main, list(words))
    until(lambda: set(children(os.getpid())) <= set(before))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def commands(group: click.Command, *path: str) -> list[tuple[str, ...]]:
    inner = getattr(group, "commands", {})
    return [path] + [found for name, one in inner.items() for found in commands(one, *path, name)]


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    result = hil(*path, "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    assert len(result.output.splitlines()) > 3


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["board", "boot", "--board", "nothing"], "qemu-reference"),
        (["board", "console"], "terminal"),
        (["image", "info", "refrence"], "'reference'?"),
        (["image", "build", "nothing"], "reference"),
        (["image", "verify", "nothing"], "reference"),
        (["report", "/nowhere"], "/nowhere"),
        (["results", "show", "/nowhere"], "/nowhere: No such file"),
        (["results", "show", __file__], "test_cli.py:1: "),
        (["results", "digest"], "Missing argument 'RESULTS...'"),
        (["plot", "/nowhere"], "/nowhere"),
        (["plot", "/nowhere", "--kind", "pie"], "'pie' is not one of 'histogram'"),
        (["baseline", "record", "/nowhere"], "/nowhere"),
        (["baseline", "compare", "/nowhere", "--min-effect", "-1"], "--min-effect"),
    ],
)
def test_bad_input_is_an_error_on_standard_error_with_status_2(words: list[str], part: str) -> None:
    result = hil(*words)
    assert result.exit_code == 2
    assert part in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "Missing argument 'MODULE'"),
        (["--limit", "0", str(HELLO)], "--limit"),
        (["nothing.wasm"], "nothing.wasm: No such file"),
        (["."], ". "),
        ([__file__], "test_cli.py"),
        (["--board", "qemu-refrence", str(HELLO)], "'qemu-reference'?"),
        (["--image", "refrence", str(HELLO)], "'reference'?"),
        (["--borad", "qemu-plain", str(HELLO)], "--board"),
    ],
)
def test_a_run_that_never_began_has_a_status_of_its_own(words: list[str], part: str) -> None:
    result = hil("run", *words)
    assert result.exit_code == 64, "a module may exit with 1 and 2"
    assert part in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("error", "status"), [(InfrastructureError, 71), (BootError, 72), (GuestError, 72), (RunnerError, 72)]
)
def test_the_status_says_what_kept_a_module_from_running(
    error: type[HilError], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error("no")

    monkeypatch.setattr("hil.cli.runs.powered", fail)
    assert hil("run", str(HELLO)).exit_code == status


@pytest.mark.parametrize("words", [["run", str(HELLO)], ["board", "boot"], ["doctor"]])
def test_ctrl_c_is_130(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    for place in ("hil.cli.runs.powered", "hil.cli.boards.powered", "hil.cli.host_check.run"):
        monkeypatch.setattr(place, interrupt)
    assert hil(*words).exit_code == 130


def test_a_sample_goes_by_its_name() -> None:
    assert "'nothing'" in hil("run", "--board", "nothing", "hello.wasm").stderr
    assert "nothing.wasm: No such file" in hil("run", "--board", "nothing", "nothing.wasm").stderr


def test_samples_are_listed_and_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "'hello.wasm'?" in hil("run", "helo.wasm").stderr
    (tmp_path / "pyproject.toml").write_text("[tool.hil]\n")
    (tmp_path / "wasm_samples").mkdir()
    (tmp_path / "wasm_samples" / "hello.wasm").write_bytes(HELLO.read_bytes())
    monkeypatch.chdir(tmp_path)
    rows = {row["name"]: row for row in json.loads(hil("sample", "list", "--json").stdout)}
    assert rows["hello"]["from"].startswith("project (hides")
    assert rows["args"] | {"about": ""} == {"name": "args", "from": "package", "file": "args.wasm", "about": ""}
    assert rows["args"]["about"]
    assert rows["lang-go"]["file"] == "lang-go.wasm", "also what is built on first use"


def test_headers_and_crates_of_the_host_functions_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = hil("sample", "include").stdout.splitlines()
    assert (Path(line) / "hil_gpio.h").is_file()
    assert (Path(hil("sample", "include", "--rust").stdout.rstrip("\n")) / "hil-gpio" / "Cargo.toml").is_file()


def test_nothing_odd_in_a_message_upsets_it() -> None:
    result = hil("run", "[red]missing[/].wasm")
    assert result.exit_code == 64
    assert "[red]missing[/].wasm" in result.stderr


def test_lists_for_people_and_machines() -> None:
    assert "qemu-reference" in hil("board", "list").stdout
    boards = json.loads(hil("board", "list", "--json").stdout)
    assert {"name", "file"} <= set(boards[0])
    images = json.loads(hil("image", "list", "--json").stdout)
    assert {"name", "from", "title", "hypervisor", "state"} == set(images[0])
    assert "reference" in {image["name"] for image in images}
    assert "\x1b" not in hil("image", "list").stdout, "no colours in a pipe"


def images_in(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `directory` the project, with its images in it."""
    (directory / "pyproject.toml").write_text("[tool.hil]\nimages = '.'\n")
    monkeypatch.chdir(directory)


def test_one_broken_manifest_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_board(tmp_path)
    (tmp_path / "bad.toml").write_text("nmae = 1")
    images_in(tmp_path, monkeypatch)
    images = {row["name"]: row for row in json.loads(hil("image", "list", "--json").stdout)}
    assert "nmae" in images["bad"]["state"]
    assert images["stub"]["state"].startswith("ready, ")


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (exited(0), 0),
        (exited(7), 7),
        (exited(255), 255),
        (exited(256), 255),
        (exited(100_000), 255),
        (failed("x"), 65),
        (failed("x", 0x89), 65),
        (faulted(), 66),
        (silent(), 67),
        (stuck(), 68),
        (no_agent(), 69),
    ],
)
def test_the_exit_status_follows_the_verdict(verdict: object, status: int) -> None:
    assert exit_status(verdict) == status  # type: ignore[arg-type]


def test_a_negative_exit_code_is_never_success() -> None:
    assert exit_status(exited(-1)) & 0xFF != 0
    assert exit_status(exited(-256)) & 0xFF != 0


def test_a_board_is_booted_and_its_stages_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    board = str(stub_board(tmp_path))
    shown = hil("board", "boot", "--board", board)
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:4]] == ["start", "login", "shell"]
    facts = json.loads(hil("board", "boot", "--board", board, "--json").stdout)
    assert [stage["stage"] for stage in facts["stages"]] == ["start", "login", "shell"]
    assert len(list((tmp_path / "transcripts").glob("stub-*.raw"))) == 2


def test_a_boot_that_fails_is_not_the_user_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    board = stub_board(tmp_path)
    manifest = tmp_path / "stub.toml"
    manifest.write_text(manifest.read_text().replace('"# "\nlimit = 20', '"never"\nlimit = 0.2'))
    result = hil("board", "boot", "--board", str(board))
    assert result.exit_code == 1
    assert "BootError (image): " in result.stderr
    assert "'shell'" in result.stderr
    assert "  | stub starts" in result.stderr
    assert "transcript: " in result.stderr


def test_a_brought_image_is_shown_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_board(tmp_path)
    images_in(tmp_path, monkeypatch)
    assert json.loads(hil("image", "info", "stub", "--json").stdout)["files"]["kernel"]["size"] == len(IDLE_STUB)
    assert hil("image", "verify", "stub").exit_code == 0
    (tmp_path / "stub.bin").write_bytes(IDLE_STUB[:-1] + b"!")
    changed = hil("image", "verify", "stub")
    assert changed.exit_code == 2
    assert "stub.bin" in changed.stderr
    assert hil("image", "build", "stub").exit_code == 2


def test_ctrl_c_leaves_no_machine_behind(tmp_path: Path) -> None:
    board = stub_board(tmp_path)
    manifest = tmp_path / "stub.toml"
    manifest.write_text(manifest.read_text().replace('"# "\nlimit = 20', '"never"\nlimit = 60'))
    process = subprocess.Popen(
        [sys.executable, "-c", "from hil.cli import main; main()", "board", "boot", "--board", str(board)],
        env={**os.environ, "HIL_TRANSCRIPTS": str(tmp_path / "transcripts")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said = (tmp_path / "transcripts").glob
        until(lambda: any(b"root" in path.read_bytes() for path in said("*.raw")))
        helpers = children(process.pid)
        everyone = helpers + [child for helper in helpers for child in children(helper)]
        assert len(everyone) == 3, "pump, keeper, QEMU"
        os.killpg(process.pid, signal.SIGINT)
        process.wait(QUICK)
        assert process.returncode not in (0, None)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everyone))
    finally:
        process.kill()
        process.communicate()


def test_run_prints_the_output_on_stdout_and_the_verdict_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = iter([(exited(0), True), (exited(3), True), (failed("unreachable"), True), (exited(0), False)])

    class Fake:
        def __init__(self, *_: object) -> None:
            pass

        def check_size(self, module: object) -> None:
            pass

        def place(self, module: object) -> str:
            return "/tmp/there"

        def run(self, module: object, *arguments: str, limit: float, pins: object, **given: object) -> object:
            assert pins is None
            assert given == {"env": {}, "preopens": []}
            assert (arguments, limit) == (("--flag", "--limit", "10", "--borad"), 2.5)
            verdict, intact = next(outcomes)
            return SimpleNamespace(
                verdict=verdict,
                intact=intact,
                output=b"out\xff\n",
                text="out\ufffd\n",
                diagnostics=("[error] what",),
                transcript=Path("/t"),
                good=verdict.good and intact,
                outputs=NONE,
            )

    class Held:
        manifest = SimpleNamespace(title="t")
        name = "b"
        emulated = True
        no_snapshot_reason = ""

        def __enter__(self) -> Held:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def fresh(self) -> None:
            pass

    monkeypatch.setattr("hil.cli.runs.powered", lambda name, image, seed, snapshots: Held())
    monkeypatch.setattr("hil.wasm.Runner", Fake)
    words = ["run", "--limit", "2.5", str(HELLO), "--flag", "--limit", "10", "--borad"]
    good = hil(*words)
    assert (good.exit_code, good.stdout_bytes) == (0, b"out\xff\n")
    assert "hello.wasm: exited(0)" in good.stderr
    bad = hil(*words)
    assert bad.exit_code == 3
    assert "[error] what" in bad.stderr
    shown = hil(*[*words[:3], "--json", *words[3:]])
    assert shown.exit_code == 65
    assert json.loads(shown.stdout)["verdict"] == "failed(unreachable)"
    garbled = hil(*words)
    assert "garbled" in garbled.stderr
    assert garbled.exit_code != 0, "output that nobody can trust is no success"


def measured(
    path: Path, *samples: float, exact: bool = True, module: str = "a" * 64, subject: str = "hello.wasm"
) -> str:
    clock = Clock("virtual time" if exact else "guest counter", 16e-9, floor=0.0, exact=exact)
    values = {"board": "qemu-reference", "module": f"hello.wasm {module}"}
    one = Series("response time", subject, samples, clock, provenance=values)  # type: ignore[arg-type]
    write(path, one, [decide(maximum <= 2 * ms, one)])
    return str(path)


def test_results_are_shown_for_people_and_machines(tmp_path: Path) -> None:
    path = measured(tmp_path / "r", 1e-3, 1.5e-3)
    shown = hil("results", "show", path)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[1].split() == [
        *("response", "time", "hello.wasm", "2", "1", "ms", "1", "ms", "1.5", "ms", "1.5", "ms", "virtual", "time")
    ]
    assert "PASS: max is 1.5 ms, limit 2 ms" in shown.stdout
    (facts,) = json.loads(hil("results", "show", path, "--json").stdout)
    assert (facts["n"], facts["max"], facts["checks"][0]["outcome"]) == (2, 1.5e-3, "pass")


def test_a_torn_results_file_is_read_with_a_warning(tmp_path: Path) -> None:
    path = measured(tmp_path / "r", 1e-3)
    (tmp_path / "r").write_text((tmp_path / "r").read_text() + '{"quan')
    result = hil("results", "show", path)
    assert result.exit_code == 0
    assert f"{path}:3: " in result.stderr
    assert f"{path}:3: " not in result.stdout


def test_digests_are_equal_for_equal_figures_only(tmp_path: Path) -> None:
    paths = [measured(tmp_path / name, value) for name, value in (("a", 1e-3), ("b", 1e-3), ("c", 2e-3))]
    result = hil("results", "digest", *paths)
    assert result.exit_code == 0
    one, two, three = (line.split("  ") for line in result.stdout.splitlines())
    assert one[0] == two[0] != three[0]
    assert [one[1], two[1], three[1]] == paths
    (tmp_path / "empty").write_text('{"hil-results": 1}\n')
    assert hil("results", "digest", str(tmp_path / "empty")).exit_code == 2, "no figures are equal to none"


def test_plots_are_written_and_named(tmp_path: Path) -> None:
    path = measured(tmp_path / "r", 1e-3, 2e-3)
    measured(tmp_path / "r", 1e-3, 3e-3, subject="other.wasm")
    result = hil("plot", path, "-o", str(tmp_path / "svg"))
    assert result.exit_code == 0
    made = result.stdout.splitlines()
    assert [Path(name).name.rpartition("-")[2] for name in made] == [
        *("histogram.svg", "percentiles.svg", "timeline.svg") * 2,
        "comparison.svg",
    ]
    assert all(Path(name).read_text().startswith("<svg") for name in made)
    only = hil("plot", path, "-o", str(tmp_path / "one"), "--kind", "timeline").stdout.splitlines()
    assert len(only) == len(list((tmp_path / "one").iterdir())) == 2


def test_a_baseline_s_status_is_its_outcome(tmp_path: Path) -> None:
    where = ("--baselines", str(tmp_path / "baselines"))
    good = measured(tmp_path / "good", 1e-3, 2e-3)
    none = hil("baseline", "compare", good, *where)
    assert none.exit_code == 3
    assert "response time of hello.wasm" in none.stdout
    recorded = hil("baseline", "record", good, *where)
    assert recorded.exit_code == 0
    assert Path(recorded.stdout.strip()).parent == tmp_path / "baselines"
    same = hil("baseline", "compare", good, *where)
    assert (same.exit_code, same.stdout.splitlines()[-1]) == (0, "1 same")
    changed = hil("baseline", "compare", measured(tmp_path / "new", 1e-3, 2.1e-3, module="b" * 64), *where)
    assert changed.exit_code == 1
    assert "aaaaaaaaaaaa -> bbbbbbbbbbbb" in changed.stdout
    (facts,) = json.loads(hil("baseline", "compare", str(tmp_path / "new"), *where, "--json").stdout)
    assert (facts["outcome"], facts["first"]["repetition"]) == ("different", 2)


def test_the_smallest_effect_is_in_percent(tmp_path: Path) -> None:
    where = ("--baselines", str(tmp_path / "baselines"))
    hil("baseline", "record", measured(tmp_path / "a", *[1e-3] * 400, exact=False), *where)
    slower = measured(tmp_path / "b", *[1.1e-3] * 400, exact=False)
    assert hil("baseline", "compare", slower, *where).exit_code == 1
    assert hil("baseline", "compare", slower, *where, "--min-effect", "11").exit_code == 0
    few = measured(tmp_path / "c", 1e-3, exact=False)
    hil("baseline", "record", few, *where)
    assert hil("baseline", "compare", few, *where).exit_code == 0, "the same file"
    assert hil("baseline", "compare", measured(tmp_path / "d", 1.1e-3, exact=False), *where).exit_code == 3


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from hil.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print({'numpy', 'scipy', 'matplotlib', 'labgrid', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG)
    assert done.stdout.endswith("set()\n")
