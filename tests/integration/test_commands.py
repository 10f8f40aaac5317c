"""The commands as their users type them: exit statuses, texts, and nothing left behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from limits import HANG
from support import until

ROOT = Path(__file__).parents[2]
HIL = [sys.executable, "-c", "from hil.cli import main; main()"]
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]


def run(command, *, env=None, timeout=HANG):
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, timeout=timeout, capture_output=True, text=True
    )


def processes_with(mark):
    """Pids and commands of all processes whose environment holds `mark`: everything a command started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry.name, (entry / "cmdline").read_bytes().replace(b"\0", b" ")[:80]))
    return found


def gone(mark, limit=HANG):
    deadline = time.monotonic() + limit
    while (left := processes_with(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.mark.parametrize(
    ("arguments", "status", "out", "err"),
    [
        (["hello.wasm"], 0, "hello, sel4\n1+2-3*4 = -9\n", "exited(0)"),
        (["exit.wasm", "42"], 42, "", "exited(42)"),
        (["trap.wasm", "unreachable"], 65, "before the trap\n", "failed(unreachable)"),
    ],
    ids=["hello", "exit", "trap"],
)
def test_run(arguments, status, out, err):
    done = run([*HIL, "run", f"wasm_samples/{arguments[0]}", *arguments[1:]])
    assert (done.returncode, done.stdout) == (status, out), done.stderr
    assert err in done.stderr


def test_a_new_module_is_built_and_its_test_is_green(tmp_path):
    done = run([*HIL, "new-module", "motor", "--into", str(tmp_path)])
    assert done.returncode == 0, done.stderr
    done = run([tmp_path / "build"])
    if done.returncode == 2:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    done = run([*PYTEST, tmp_path / "test_motor.py", "--board", "qemu-reference"])
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.slow  # a cold boot; test_run has a restored board
def test_run_in_a_forced_boot_and_from_a_snapshot_print_the_same():
    hello = "hello.wasm"
    restored, booted = (run([*HIL, "run", *more, hello]) for more in ([], ["--boot"]))
    assert (restored.returncode, restored.stdout, restored.stderr) == (0, booted.stdout, booted.stderr)


@pytest.mark.slow  # a cold boot; tests/unit/test_cli.py has the same of a small machine
def test_boot_as_json():
    done = run([*HIL, "board", "boot", "--json"])
    stages = [row["stage"] for row in json.loads(done.stdout)["stages"]]
    assert stages[0] == "guest kernel"
    assert stages[-2:] == ["login", "shell"]


def test_the_realtime_suite_passes_and_fails_with_a_useful_text(tmp_path):
    """In one run, by the board's own bounds but one."""
    own, bound = (ROOT / "boards/qemu-reference.bounds.toml").read_text(), 'limit = "55 ms"\nmarginal = "48 ms"\n'
    assert own.count(bound) == 1
    tight = tmp_path / "tight.toml"
    tight.write_text(own.replace(bound, 'limit = "100 us"\n'))
    selected = ["-m", "board", "-k", "hello or 64", "--hil-bounds", str(tight)]
    done = run([*PYTEST, "suites/realtime", *selected])
    assert done.returncode == 1
    assert "clock: virtual time" in done.stdout, "by default, on whatever host"
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert re.search(r"PASS: p50 is \S+ ms, limit 8 ms", done.stdout), done.stdout
    assert re.search(r"FAIL: p50 is \S+ ms, limit 100 us", done.stdout), done.stdout
    assert "worst samples" in done.stdout
    assert re.search(r"console, .*\.raw:\d+ to line \d+", done.stdout)


def test_no_emulator_is_said_with_the_remedy(tmp_path):
    for tool in ("aarch64-linux-gnu-gcc", "dtc", "lz4"):  # what the image's key is made of
        (tmp_path / tool).symlink_to(subprocess.check_output(["which", tool], text=True).strip())
    done = run([*PYTEST, "suites/realtime", "-m", "board", "-k", "hello"], env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert "qemu-system-aarch64 is not installed" in done.stdout
    assert "qemu-system-arm" in done.stdout


SIGNALS, MOMENTS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL), ("start", "boot", "tests")
ALWAYS = set(zip(SIGNALS, MOMENTS, strict=True))  # each signal and each moment once; the other pairs are slow


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        pytest.param(*pair, marks=[] if pair in ALWAYS else pytest.mark.slow, id=f"{pair[1]}-{pair[0].name}")
        for pair in itertools.product(SIGNALS, MOMENTS)
    ],
)
def test_nothing_is_left_behind(number, moment, tmp_path):
    mark = f"hil-mark-{os.getpid()}-{number}-{moment}"
    env = {**os.environ, "HIL_MARK": mark, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [*PYTEST, "suites/deploy", "-v", *(["--hil-no-snapshots"] if moment == "boot" else [])]
    output = tmp_path / "output"
    with output.open("wb") as file:
        child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT)

    def come() -> bool:
        assert child.poll() is None, output.read_text()
        if moment == "start":
            return b"test session starts" in output.read_bytes()
        if moment == "boot":
            return any(b"qemu-system" in line for _, line in processes_with(mark))
        return b"PASSED" in output.read_bytes()

    until(come, HANG)
    child.send_signal(number)
    assert child.wait(HANG) != 0
    output.unlink()
    assert gone(mark) == []
    left = [path for path in tmp_path.rglob("*") if not path.relative_to(tmp_path).parts[0].startswith("pytest-of-")]
    assert left == []


def test_report_is_one_file_that_needs_no_network(tmp_path):
    results, page = tmp_path / "results", tmp_path / "report.html"
    tests = run([*PYTEST, "suites/smoke", "--alluredir", str(results)])
    assert tests.returncode == 0, tests.stdout
    done = run([*HIL, "report", str(results), "-o", str(page)])
    assert (done.returncode, done.stdout.strip()) == (0, str(page)), done.stderr
    text = page.read_text()
    assert "googletagmanager" not in text
    assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="https?:', text)
    facts = (results / "environment.properties").read_text()
    assert re.search(r"image\.sha256 = [0-9a-f]{64}", facts)
    names = {json.loads(path.read_text())["name"] for path in results.glob("*-result.json")}
    assert "test_runner_answers[qemu-reference]" in names
    attached = {
        item["name"]
        for path in results.glob("*-result.json")
        for item in json.loads(path.read_text()).get("attachments", [])
    }
    assert {"console", "executions (1)"} <= attached
