"""pytest's other plugins beside ours: does it start, collect and run suites/smoke, and does the neighbour still work?

    python bench/neighbours.py [--directory DIR] [--board NAME] [PLUGIN...]

For each plugin, and for all together but one, it copies this virtual environment (by hard links) to DIR, installs the
plugin there, and prints a row of a table. It needs a package index, and takes some minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 600  # seconds for one run of pytest
SMOKE = "suites/smoke"

TESTS = {
    "test_async.py": "import pytest\n@pytest.mark.board\n@pytest.mark.asyncio\n"
    "async def test_async(guest): assert guest.run('echo a').text == 'a\\n'\n",
    "test_benchmark.py": "import pytest\n@pytest.mark.board\n"
    "def test_benchmark(guest, benchmark): benchmark.pedantic(guest.run, ('true',), rounds=3)\n",
    "test_flaky.py": "import pytest\nran = []\n@pytest.mark.board\n"
    "def test_flaky(guest): ran.append(1); assert len(ran) == 2\n",
    "test_plain.py": "import pytest\n@pytest.mark.board\ndef test_plain(guest): assert guest.run('true').status == 0\n",
    "test_timeout.py": "import pytest\n@pytest.mark.board\n@pytest.mark.timeout(4)\n"
    "def test_hang(guest): guest.run('sleep 60', timeout=90)\n"
    "@pytest.mark.board\ndef test_after(guest): assert guest.run('true').status == 0\n",
}
# plugin: what shows that it works beside ours: options, files, and the outcome in the last line
USES: dict[str, tuple[tuple[str, ...], str]] = {
    "pytest-embedded": (("test_plain.py",), "1 passed"),
    "pytest-randomly": (("test_plain.py", "-p", "randomly", "--randomly-seed=7"), "1 passed"),
    "pytest-repeat": (("test_plain.py", "--count", "3"), "3 passed"),
    "pytest-rerunfailures": (("test_flaky.py", "--reruns", "1"), r"1 passed,.* 1 (retried|rerun)"),
    "pytest-timeout": (("test_timeout.py",), "1 failed, 1 passed"),
    "pytest-asyncio": (("test_async.py",), "1 passed"),
    "pytest-html": (("test_plain.py", "--html=report.html"), "1 passed"),
    "pytest-cov": (("test_plain.py", "--cov=hil"), "1 passed"),
    "pytest-benchmark": (("test_benchmark.py",), "1 passed"),
}

# pytest-embedded and pytest-repeat both define --count, and no pytest starts with both of them, ours or not
TOGETHER = {
    "all-but-embedded": [plugin for plugin in USES if plugin != "pytest-embedded"],
    "all-but-repeat": [plugin for plugin in USES if plugin != "pytest-repeat"],
}


def copied(directory: Path) -> Path:
    """Copy this virtual environment to `directory` by hard links, and return its Python."""
    if not directory.exists():
        shutil.copytree(sys.prefix, directory, copy_function=os.link, symlinks=True)
    return directory / "bin" / "python"


def run(python: Path, place: Path, *arguments: str) -> tuple[int, str]:
    """Run pytest in `place`; return its status and output."""
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=LIMIT)
    return done.returncode, done.stdout + done.stderr


def outcome(output: str) -> str:
    """Return pytest's summary without its decoration, or the first error where there is none."""
    lines = [line.strip("= ") for line in output.splitlines() if line.strip("= ")]
    summaries = [line for line in lines if re.match(r"\d+ (passed|failed|errors?|tests? collected)\b.* in ", line)]
    errors = [line for line in lines if "Error" in line]
    return (summaries[-1:] or errors[:1] or ["no output"])[0]


def row(name: str, plugins: list[str], directory: Path, board: str) -> tuple[bool, list[str]]:
    """Install `plugins` in an environment of their own and try them; return success and the row of the table."""
    python = copied(directory / name)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *plugins]
    subprocess.run(install, check=True, timeout=LIMIT)
    chosen = ("--board", board)
    transcripts = ("--hil-transcripts", str(directory / "transcripts"))
    _, collected = run(python, ROOT, SMOKE, *chosen, "--collect-only", "-q")
    status, smoke = run(python, ROOT, SMOKE, *chosen, *transcripts)
    good, uses = status == 0, []
    for plugin in plugins:
        place = directory / f"{name}-tests"
        place.mkdir(exist_ok=True)
        for file, text in TESTS.items():
            (place / file).write_text(text)
        (options, expected) = USES[plugin]
        _, output = run(python, place, *options, *chosen, *transcripts)
        works = re.search(expected, outcome(output)) is not None
        good &= works
        uses.append(f"{plugin.removeprefix('pytest-')} {'works' if works else 'FAILS: ' + outcome(output)}")
        if not works:
            (directory / f"{name}-{plugin}.log").write_text(output)
    if status != 0:
        (directory / f"{name}-smoke.log").write_text(smoke)
    return good, [name, outcome(collected), outcome(smoke), ", ".join(uses)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plugins", nargs="*", metavar="PLUGIN", help=f"of: {', '.join((*USES, *TOGETHER))}")
    parser.add_argument("--directory", type=Path, help="where the environments are made (a temporary one)")
    parser.add_argument("--board", default="qemu-reference")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = (options.directory or Path(temporary)).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        print("| beside | collects | smoke | use |\n|---|---|---|---|", flush=True)
        good = True
        for name in options.plugins or [*USES, *TOGETHER]:
            well, cells = row(name, TOGETHER.get(name) or [name], directory, options.board)
            good &= well
            print(f"| {' | '.join(cells)} |", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
