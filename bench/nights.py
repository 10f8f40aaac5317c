"""Does the overview name what became worse, and nothing else? Usage: nights.py [NIGHTS [DIRECTORY]]

Really runs NIGHTS nights (30) of the smoke suite in real time on three emulated boards, two of which boot each time,
and of a part of the realtime suite in virtual time, out of a copy of the project in DIRECTORY (made for it), into
which four things are planted:

- a step: from night 2/5 on the runner works 5 ms more before it begins a module;
- a slow drift: from night 3/5 on it takes 1 % more time each night to receive a module;
- a flaky boot: the board `flaky` has too little memory in two nights;
- a dead board: the machine of the board `dark` is gone in the last nights.

Ends with status 1 unless the last night's findings are these four.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
HIL = [sys.executable, "-c", "from hil.cli import main; main()"]
LIMIT = 1800.0  # seconds for a night
PLAN = """
limit = 25
parallel = 2
retries = 0
keep = { gib = 40, nights = 400 }

[[job]]
name = "smoke"
suites = ["smoke"]
boards = ["qemu-reference"]

[[job]]
name = "boots"
suites = ["smoke/test_smoke.py::test_agent_is_present", "smoke/test_smoke.py::test_runner_answers"]
boards = ["flaky.yaml", "dark.yaml"]
options = ["--hil-no-snapshots"]

[[job]]
name = "realtime"
suites = ["realtime"]
boards = ["qemu-reference"]
options = ["--clock", "virtual", "-k", "hello or 64 or 256"]
"""
RUNNER = Path("images/reference/runner.c")
SPIN = "for (volatile uint64_t spin = 0; spin < {}; spin++)\n\t\t;\n\t"
PLANTS = {"step": "state = RUNNING;\n\tif (worker.pid < 0)", "drift": "received += size;"}  # before what in the runner
SMALL, GONE = ["-m", "96M"], ["-machine", "nothing"]


def plant(project: Path, original: str, step: bool, drift: int) -> None:
    """Write the runner's source as it is in that night."""
    source = original
    for name, turns in (("step", "350000" * step), ("drift", f"size * {drift} / 32" * bool(drift))):
        place = PLANTS[name]
        assert source.count(place) == 1, f"the runner has changed, there is no place for the {name}"
        if turns:
            source = source.replace(place, SPIN.format(turns) + place)
    (project / RUNNER).write_text(source)


def board(project: Path, directory: Path, name: str, arguments: list[str]) -> None:
    text = (project / "boards" / "qemu-reference.yaml").read_text().replace("../images", str(project / "images"))
    assert "HilQemuDriver: {" in text
    (directory / f"{name}.yaml").write_text(
        text.replace("HilQemuDriver: {", f"HilQemuDriver: {{arguments: {json.dumps(arguments)}, ", 1)
    )
    shutil.copy(project / "boards" / "qemu-reference.bounds.toml", directory / f"{name}.bounds.toml")


def main(count: int, directory: Path) -> int:
    project = directory / "project"
    if not project.exists():
        subprocess.run(["git", "clone", "-q", str(ROOT), str(project)], check=True)
    original = (ROOT / RUNNER).read_text()
    plan = directory / "bench.toml"
    plan.write_text(PLAN)
    environment = {**os.environ, "PYTHONPATH": str(project)}
    step, drift, flaky, dead = count * 2 // 5, count * 3 // 5, {count // 3, count * 3 // 4}, count * 9 // 10
    for number in range(1, count + 1):
        plant(project, original, number >= step, max(0, number - drift + 1))
        board(project, directory, "flaky", SMALL if number in flaky else [])
        board(project, directory, "dark", GONE if number >= dead else [])
        began = time.monotonic()
        command = [*HIL, "nightly", plan.name, "--directory", "nights", "--new"]
        done = subprocess.run(command, cwd=directory, env=environment, timeout=LIMIT, capture_output=True, text=True)
        title = next((line for line in done.stdout.splitlines() if line.startswith("# ")), done.stderr[-300:])
        print(f"{number:3}/{count} {time.monotonic() - began:4.0f} s  {title}", flush=True)
    done = subprocess.run(
        [*HIL, "review", "--json", "--history", "nights/history.sqlite"],
        cwd=directory, env=environment, timeout=LIMIT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    print(done.stdout)
    kinds = sorted(found["kind"] for found in json.loads(done.stdout)["findings"])
    print(f"planted: step at night {step}, drift from {drift}, flaky boots in {sorted(flaky)}, dead from {dead}")
    return kinds != ["dead board", "drift", "flaky boot", "step"]


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    if len(sys.argv) > 2:
        raise SystemExit(main(number, Path(sys.argv[2]).absolute()))
    with tempfile.TemporaryDirectory(prefix="hil-nights-") as made:
        raise SystemExit(main(number, Path(made)))
