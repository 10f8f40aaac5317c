"""How long do the report and the overview take? Usage: report.py [RESULTS [NIGHTS [DIRECTORY]]]

Really runs two small nights on the reference image, and makes of their tests NIGHTS nights (10) of RESULTS tests
(5,000) on ten boards in eight suites. One test in twenty fails, half of these since the last night, of which there are
Allure's results, too. Prints sizes, the times of history, report and review, and how long a browser takes to open
report and overview. Ends with status 1 where a bound is missed: 30 s for the report, 2 s for the opened overview.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from hil.report.labels import digest, history_id

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from browser import chromium, visit  # noqa: E402
from morning import nights as small_nights  # noqa: E402

HIL = [sys.executable, "-c", "from hil.cli import main; main()"]
LIMIT = 600.0  # seconds for a command
DAY = 86400.0
BOARDS, SUITES, OPENINGS = 10, 8, 5
PASSING, MEASURED = ("test_greeting", "test_words"), "test_response"
FAILING = ("test_words", "test_response", "test_silence")
REPORT_BOUND, OVERVIEW_BOUND = 30.0, 2.0  # seconds
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TOOK = """new Promise((told) => new PerformanceObserver((seen) => {
  const paint = seen.getEntriesByName("first-contentful-paint")[0];
  const loaded = performance.getEntriesByType("navigation")[0].loadEventEnd;
  if (paint) told(Math.max(paint.startTime, loaded) / 1000);
}).observe({ type: "paint", buffered: true }))"""


@dataclass(frozen=True)
class Pattern:
    """A test that was really run, with all that was written of it, as texts."""

    function: str
    allure: Mapping[str, str]  # names and texts of files: its result, its attachments, its fixtures
    journal: tuple[str, ...]
    results: tuple[str, ...]

    def copy(self, number: int, night: int, board: str) -> Pattern:
        """The same of another test, which has its number in its name, in another night and on another board."""
        suite = f"talk-{number % SUITES}"

        def renamed(text: str) -> str:
            text = UUID.sub(lambda old: str(uuid5(NAMESPACE_OID, f"{old[0]} {number} {night}")), text)
            text = re.sub(rf"\b{self.function}\b", f"{self.function}_{number}", text)
            text = text.replace("test_hello.py::", f"{suite}/test_hello.py::").replace('"talk"', f'"{suite}"')
            return text.replace("qemu-reference", board)

        allure = {renamed(name): renamed(text) for name, text in self.allure.items()}
        for name, text in allure.items():
            if name.endswith("-result.json"):
                facts = json.loads(text)
                case = facts["testCaseId"] = digest(f"{facts['testCaseId']} {number}")
                counted = [(one["name"], one["value"]) for one in facts["parameters"] if not one.get("excluded")]
                facts["historyId"] = history_id(case, counted)
                allure[name] = json.dumps(facts)
        return Pattern(self.function, allure, tuple(map(renamed, self.journal)), tuple(map(renamed, self.results)))


@dataclass(frozen=True)
class Patterns:
    """What both small nights have left, the good and the bad one, by function."""

    head: str
    facts: str
    good: Mapping[str, Pattern]
    bad: Mapping[str, Pattern]

    def of(self, number: int, last: bool) -> Pattern:
        """Of the test of that number in the last night or an earlier one."""
        fails = number % 20 == 0
        if fails:
            function = FAILING[number // 20 % len(FAILING)]
        else:
            function = MEASURED if number % 50 == 7 else PASSING[number % len(PASSING)]
        return (self.bad if fails and (last or number % 40 == 0) else self.good)[function]


def read(night: Path) -> tuple[str, str, dict[str, Pattern]]:
    """The journal's head, the results file's, and the tests by function."""
    (run,) = night.glob("*/try-1")
    head, _, *lines = (run / "journal.jsonl").read_text().splitlines()
    facts, *series = (run / "results.jsonl").read_text().splitlines()
    files = [file for file in (run / "allure").iterdir() if file.suffix != ".properties"]
    texts = {file.name: file.read_text("utf-8") for file in files}
    found = {}
    for name, text in texts.items():
        if not name.endswith("-result.json"):
            continue
        result = json.loads(text)
        function = result["name"].partition("[")[0]
        mine = {name: text}
        for other, told in texts.items():
            if other.endswith("-container.json") and json.loads(told)["children"] == [result["uuid"]]:
                mine[other] = told
        attached = [other for other in texts if "-attachment." in other and any(other in one for one in mine.values())]
        mine |= {other: texts[other] for other in attached}
        about = tuple(line for line in lines if f"::{function}[" in line)
        found[function] = Pattern(function, mine, about, tuple(line for line in series if f"::{function}[" in line))
    return head, facts, found


def patterns(directory: Path) -> Patterns:
    (head, facts, good), (_, _, bad) = map(read, small_nights(directory))
    return Patterns(head, facts, good, bad)


def make_night(found: Patterns, nights: Path, results: Path | None, number: int, tests: int) -> None:
    """Write a night as `hil nightly` does, of which `results` get Allure's."""
    began = time.time() - (1000 - number) * DAY
    night = nights / f"night-{number:03}"
    for place in range(BOARDS):
        board = f"board-{place}"
        run = night / f"talk-{board}" / "try-1"
        run.mkdir(parents=True)
        journal, series = [], []
        for test in range(place * tests // BOARDS, (place + 1) * tests // BOARDS):
            one = found.of(test, results is not None).copy(test, number, board)
            journal += one.journal
            series += one.results
            for name, text in one.allure.items() if results else ():
                (results / name).write_text(text, "utf-8")
        ident = uuid5(NAMESPACE_OID, f"{number} {place}").hex
        head = {**json.loads(found.head.replace("qemu-reference", board)), "id": ident, "time": began}
        head |= {"results": "results.jsonl", "transcripts": ""}
        facts = json.loads(found.facts.replace("qemu-reference", board))
        facts["facts"]["run"] = ident
        nodes = [json.loads(line)["begin"] for line in journal if line.startswith('{"begin"')]
        end = {"end": 1, "time": began + 3600}
        lines = [json.dumps(head), json.dumps({"collected": nodes}), *journal, json.dumps(end)]
        (run / "journal.jsonl").write_text("\n".join(lines) + "\n")
        (run / "results.jsonl").write_text("\n".join([json.dumps(facts), *series]) + "\n")
    state = {"plan": "bench", "digest": "", "began": began, "ended": began + 3600, "state": "done", "status": 1}
    (night / "state.json").write_text(json.dumps(state | {"runs": [], "why": ""}))


def told(what: str, *arguments: str | Path) -> float:
    """Run `hil`; the seconds that it took."""
    began = time.monotonic()
    command = [*HIL, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, timeout=LIMIT, capture_output=True, text=True)
    took = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{what}: status {done.returncode}\n{done.stdout}{done.stderr}")
    print(f"{what}: {took:.1f} s", flush=True)
    return took


def opened(what: str, file: Path, ready: str) -> float:
    """Open a file in a browser; the most seconds of a few tries until it was painted and all of it loaded."""
    took, shown = [], []
    with chromium() as browser:
        for _ in range(OPENINGS):
            with visit(browser) as one:
                began = time.monotonic()
                page = one.open(file)
                page.locator(ready).first.wait_for()
                shown.append(time.monotonic() - began)
                took.append(page.evaluate(TOOK))
                one.check()
    print(
        f"{what}, {file.stat().st_size / 1e6:.1f} MB: painted and loaded in {min(took):.2f} to {max(took):.2f} s, "
        f"{ready} seen after {max(shown):.2f} s at most",
        flush=True,
    )
    return max(took)


def main(tests: int, nights: int, directory: Path) -> int:
    (directory / "small").mkdir()
    found = patterns(directory / "small")
    store, results = directory / "nights" / "history.sqlite", directory / "results"
    results.mkdir()
    for number in range(nights):
        make_night(found, directory / "nights", results if number == nights - 1 else None, number, tests)
    count, failed = Counted(results), 0
    print(f"{count.results} results, {count.failed} failed; {count.files} files, {count.size / 1e6:.0f} MB")
    told(f"hil history add, {nights} nights", "history", "add", directory / "nights", "--history", store)
    report = directory / "report.html"
    for again in ("", ", once more"):  # with what is known of the first one
        failed |= told(f"hil report{again}", "report", results, "-o", report) > REPORT_BOUND
    pages = directory / "pages"
    told("hil review", "review", "--history", store, "--output", pages)
    failed |= opened("overview", pages / "overview.html", "h1") > OVERVIEW_BOUND
    opened("report", report, "[data-testid=tree-leaf]")
    print("a bound was missed" if failed else "within the bounds")
    return failed


class Counted:
    """What is in a directory of results."""

    def __init__(self, directory: Path) -> None:
        files = list(directory.iterdir())
        results = [file for file in files if file.name.endswith("-result.json")]
        self.files, self.results = len(files), len(results)
        self.size = sum(file.stat().st_size for file in files)
        self.failed = sum(json.loads(file.read_bytes())["status"] == "failed" for file in results)


if __name__ == "__main__":
    tests, nights = (int(one) for one in [*sys.argv[1:3], *("5000", "10")[len(sys.argv) - 1 :]][:2])
    if len(sys.argv) > 3:
        raise SystemExit(main(tests, nights, Path(sys.argv[3])))
    with tempfile.TemporaryDirectory() as name:
        raise SystemExit(main(tests, nights, Path(name)))
