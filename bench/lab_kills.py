"""What becomes of a run in a lab whose parts die in turn? Usage: lab_kills.py [--seed N] [--suites DIR ...] [CASE ...]

A lab of two boards, and pytest on it: `suites/smoke suites/deploy -m board --board +lab=box`. In each case one part
gets a kill -9, or the network loses all packets, while a test runs on a booted board (`test`), while U-Boot loads over
TFTP (`tftp`) or while the run waits for a place (`wait`); with one worker or, named `.../2`, with two of xdist. The
run has to end in time, to blame the test bed alone and to name place or part, to go on where there is another place,
and to leave neither a place held nor a process running. `lab_kills.py --list` names the cases, which are all run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fresh import load

from hil.host.processes import Process
from hil.lab import Lab
from hil.lab.plan import LabState
from hil.lab.processes import MARK, marked
from hil.lab.supervisor import SHIM
from hil.places import lease as leases
from hil.places.acquisition import acquire
from hil.places.coordinator import Coordinator
from hil.places.selector import Terms, parse

ROOT = Path(__file__).parents[1]
SUITES = ("suites/smoke", "suites/deploy")
BOARD = "+lab=box"
LIMIT = 120.0  # seconds after the kill, beside those of a whole undisturbed run
PHASE_LIMIT = 600.0  # seconds for a run to come to where it is to be hit
PLACE_WAIT = 20.0  # seconds in the cases that wait
GONE_LIMIT = 60.0  # seconds for the processes of a run to end with it
EXPIRED = 3  # the state of a reservation that the coordinator will forget, as it numbers them
NEXT_LIMIT = 90.0  # seconds for the next run to have a place: a dead one's reservation lasts up to 80
LATEST = 1.0  # seconds into a test or a transfer at which the kill comes at the latest
LONG = "hog-all|big-default|nbody-c-10000|trap-stack"  # tests that run for longer than that
OURS = "BENCH_LAB_KILLS"  # a variable that all processes of a run inherit
TOLD = "BENCH_LAB_KILLS_TOLD"
TELL = f"""
import os, socket
from contextlib import suppress
import pytest
from hil.plugin.record import record_of
from hil.plugin.session import Session

def tell(*words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line, suppress(OSError):  # nobody listens any more
        line.sendto(" ".join(map(str, words)).encode(), os.environ["{TOLD}"])

def first_tell(owner, name, words):
    what = getattr(owner, name)

    def told(*given):
        tell(*words(*given))
        return what(*given)

    setattr(owner, name, told)

def pytest_sessionstart(session):
    from hil.board.uboot import Loader
    first_tell(Loader, "load", lambda loader, file, name: ("tftp", os.getpid(), file.name))
    first_tell(Session, "_report", lambda session, message: ("wait", os.getpid()))

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    if record_of(item).board is not None:
        tell("test", os.getpid(), item.name)
"""
ALL = ("exporter", "one exporter", "coordinator", "ser2net", "QEMU", "pytest", "worker", "supervisor", "link")
WAITING = ("exporter", "coordinator", "pytest", "worker", "supervisor", "link")
LEFT = re.compile(r"^hil(?: gw\d+)?: (place \S+ is left: .*)$", re.MULTILINE)
LOST = ("exporter", "coordinator", "supervisor", "link")  # with which all places are
NAMED = {  # what the causes have to name
    "exporter": r"exporter box\b",
    "one exporter": r"exporter (box|other)\b",
    "coordinator": "coordinator",
    "ser2net": r"serial .*\(?place box-\d|place box-\d.*serial",
    "QEMU": r"box-\d.* (off|power)",
    "worker": r"worker 'gw\d' crashed|is held by .* by hand",  # what the others wait for is held till their end
    "supervisor": "coordinator|exporter box|power switch|serial",
    "link": "coordinator|exporter box|power switch|serial",
}


@dataclass(frozen=True)
class Case:
    phase: str
    part: str
    workers: int = 1

    def __str__(self) -> str:
        return f"{self.phase}/{self.part.replace(' ', '-')}" + (f"/{self.workers}" if self.workers > 1 else "")


CASES = [
    Case(phase, part, workers)
    for phase, parts in (("test", ALL), ("tftp", ALL), ("wait", WAITING))
    for workers in (1, 2)
    for part in parts
    if (part != "worker" or workers > 1) and not (part == "one exporter" and workers > 1)
]


@dataclass
class Row:
    """What came of a case."""

    seconds: float = 0.0  # from the kill to the end of the run
    status: int | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    causes: list[str] = field(default_factory=list)
    hit: str = ""
    after: str = ""
    wrong: list[str] = field(default_factory=list)


class Run:
    """pytest on the lab, in `directory`; it tells of its phases."""

    def __init__(self, lab: Lab, directory: Path, case: Case, suites: list[str]) -> None:
        self.directory = directory
        (directory / "lab_kills_tell.py").write_text(TELL)
        self.journal, self.output = directory / "journal.jsonl", directory / "output"
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.bind(str(directory / "told"))
        self.mark = f"{OURS}={directory}".encode()
        wait = PLACE_WAIT if case.phase == "wait" else 600.0
        command = [sys.executable, "-m", "pytest", *suites, "-m", "board", "--board", BOARD, "-rA"]
        command += ["-p", "no:cacheprovider", "-p", "lab_kills_tell", "-p", "hil.plugin.journal"]
        command += ["--hil-journal", str(self.journal), "--hil-transcripts", str(directory / "transcripts")]
        command += ["--hil-place-wait", f"{wait:g}", *(["-n", str(case.workers)] if case.workers > 1 else [])]
        environment = {
            **os.environ,
            "LG_COORDINATOR": lab.coordinator,
            "PYTHONPATH": str(directory),
            OURS: str(directory),
            TOLD: str(directory / "told"),
        }
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    def comes_to(self, phase: str, what: str, number: int) -> tuple[int, str]:
        """Wait until it tells of `phase` for the `number`th time; the process that does, and what it says of it.

        What does not match `what` is not counted.
        """
        deadline = time.monotonic() + PHASE_LIMIT
        while number:
            self._told.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                word, pid, *more = self._told.recv(4096).decode().split(" ", 2)
            except TimeoutError:
                raise SystemExit(f"the run did not come to {phase}:\n{self.output.read_text()[-3000:]}") from None
            number -= word == phase and bool(re.search(what, " ".join(more)))
        return int(pid), " ".join(more)

    def listens_no_more(self) -> None:
        self._told.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._told.close()

    def left(self) -> list[str]:
        """The processes of this run that are still there."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self.mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:90])
        return found

    def told(self) -> list[dict[str, Any]]:
        """The journal, as far as it goes."""
        return [json.loads(line) for line in self.journal.read_text().splitlines() if line.endswith("}")]


@contextmanager
def exporter(lab: Lab, name: str) -> Iterator[Process | None]:
    """One more exporter of the lab's boards; gives its process."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    ser2net = str(shutil.which("ser2net", path=f"{path}:/usr/sbin"))
    environment = {"PATH": f"{SHIM}:{path}", "HIL_LAB_SER2NET": ser2net, "HIL_LAB_LISTEN": "127.0.0.1"}
    command = [sys.executable, "-m", "hil.lab.exporter", "-c", lab.coordinator, "-n", name]
    with (lab.directory / f"more-{name}.log").open("wb") as log:
        started = subprocess.Popen(
            [*command, "--hostname", "127.0.0.1", "exporter.yaml"],
            cwd=lab.directory,
            env={**os.environ, **environment, MARK: str(lab.directory)},
            stdout=log,
            stderr=log,
        )
    try:
        with closing(Coordinator(lab.coordinator)) as coordinator:
            there = coordinator.session.resources
            until(lambda: all(len(there.get(name, {}).get(one, {})) == 3 for one in lab.places), f"exporter {name}")
        yield Process.of(started.pid)
    finally:
        started.kill()
        started.wait()


def give(lab: Lab, place: str, name: str) -> None:
    """Let the exporter `name` have the place from now on."""
    with closing(Coordinator(lab.coordinator)) as coordinator:
        for method, one in (("DeletePlaceMatch", "box"), ("AddPlaceMatch", name)):
            coordinator.run(coordinator.call(method, placename=place, pattern=f"{one}/{place}/*"), LIMIT)


def until(what: Callable[[], object], name: str, limit: float = 120.0) -> None:
    deadline = time.monotonic() + limit
    while not what():
        if time.monotonic() > deadline:
            raise SystemExit(f"{name}: not within {limit:g} s")
        time.sleep(0.05)


def place_of(lab: Lab, pid: int) -> str:
    """The place that a process holds."""
    with closing(Coordinator(lab.coordinator)) as coordinator:
        held = {name: leases.of(place) for name, place in coordinator.session.places.items()}
    return next((name for name, lease in held.items() if lease and lease.pid == pid), "")


def victim(case: Case, lab: Lab, run: Run, pid: int, place: str) -> Callable[[], object]:
    """What kills the part."""
    state = LabState.read(lab.directory)
    assert state is not None
    if case.part == "pytest":
        return run.process.kill
    if case.part == "worker":
        process = Process.of(pid)
    elif case.part == "link":
        return lambda: subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
    elif case.part == "QEMU":
        process = state.boards[place].qemu
    elif case.part == "ser2net":
        port = f",{state.boards[place].port},"
        servers = [one for one in marked(lab.directory) if one.arguments[:1] and "ser2net" in one.arguments[0]]
        process = next((one for one in servers if port in "".join(one.arguments)), None)
    else:
        process = state.parts[case.part.removeprefix("one ")]
    if process is None:
        raise SystemExit(f"{case}: no {case.part} is there\n{run.output.read_text()[-2000:]}")
    return process.kill


def judge(case: Case, run: Run, row: Row) -> None:
    """What the run has told: who is blamed, and whether it went on."""
    last: dict[str, str] = {}
    collected: list[str] = []
    for fact in run.told():
        collected = fact.get("collected", collected)
        if "test" not in fact:
            continue
        if fact["outcome"] == "rerun":
            row.outcomes["retried"] += 1
        elif fact["outcome"] == "failed" or fact["when"] == "call":
            last[fact["test"]] = min(last.get(fact["test"], "passed"), fact["outcome"])
        if cause := fact.get("cause"):
            row.causes.append(cause)
            if fact["fault"] != "infrastructure":
                row.wrong.append(f"{fact['fault']} is blamed: {fact['test']}: {cause}")
            elif not re.search(NAMED[case.part], cause):
                row.wrong.append(f"a cause that does not name the dead part: {fact['test']}: {cause}")
    row.outcomes.update(last.values())
    row.causes += LEFT.findall(run.output.read_text("utf-8", "replace"))
    row.causes = [f"{count} x {cause}" for cause, count in Counter(row.causes).most_common()]
    if len(last) < len(collected):
        row.wrong.append(f"{len(collected) - len(last)} tests have no outcome")
    failed = row.outcomes["failed"]
    if case.part in ("ser2net", "QEMU", "one exporter"):
        if failed or row.status or not row.causes:
            row.wrong.append("there was another place, and the run did not go on there")
    elif case.part == "worker" and case.phase != "wait":
        if failed != 1:
            row.wrong.append(f"{failed} tests failed with one worker")
    elif not failed:
        row.wrong.append("nothing failed")


def afterwards(case: Case, lab: Lab, run: Run, row: Row, pids: set[int]) -> None:
    """That nobody holds a place: none is held, or the next run gets it, and says whose it was."""
    told: list[str] = []
    if case.part in ("pytest", "worker", "link") and case.phase != "wait":
        names = [name for name in lab.places if held(lab, name)]
        begin = time.monotonic()
        with ExitStack() as stack:
            for name in names:
                terms = Terms(wait=NEXT_LIMIT, report=told.append, coordinator=lab.coordinator)
                stack.enter_context(closing(acquire(parse(f"place:{name}"), lab.coordinator, terms)))
        row.after = f"{len(names)} reclaimed in {time.monotonic() - begin:.1f} s"
        reclaimed = [one for one in told if "is free again" in one]
        if case.part != "worker" and not names and not (case.part == "pytest" and case.workers > 1):
            row.wrong.append("the killed run held nothing")
        if len(reclaimed) != len(names) or not all(any(f"process {pid}," in one for pid in pids) for one in reclaimed):
            row.wrong.append(f"reclaimed {names}, and told {told}")
    elif case.phase == "wait" and case.part in ("pytest", "worker", "link"):
        begin = time.monotonic()
        terms = Terms(wait=NEXT_LIMIT, report=told.append, coordinator=lab.coordinator)
        acquire(parse(BOARD), lab.coordinator, terms).close()
        row.after = f"the next has a place after {time.monotonic() - begin:.1f} s"
        until(lambda: not still(lab), "reservations to expire", NEXT_LIMIT)
    if left := still(lab):
        row.wrong.append(f"still at the coordinator: {left}")
    row.after = row.after or "all released"
    if case.part in ("ser2net", "QEMU", "worker") and case.phase != "wait":
        state = LabState.read(lab.directory)
        on = [name for name, board in state.boards.items() if board.qemu and board.qemu.alive] if state else []
        if on and case.part != "worker":  # that of a dead worker is on until the next has it
            row.wrong.append(f"still switched on: {on}")


def held(lab: Lab, name: str) -> bool:
    with closing(Coordinator(lab.coordinator)) as coordinator:
        return bool(coordinator.session.places[name].acquired)


def still(lab: Lab) -> list[str]:
    """What the coordinator still has of a run."""
    with closing(Coordinator(lab.coordinator)) as coordinator:
        places = coordinator.session.places.values()
        found = [f"{place.name} acquired" for place in places if place.acquired]
        found += [f"{place.name} tagged" for place in places if leases.TAG in place.tags]
        every = coordinator.run(coordinator.call("GetReservations"), LIMIT).reservations
        return found + [f"reservation {one.token}" for one in every if one.state < EXPIRED]


@contextmanager
def taken(lab: Lab, case: Case) -> Iterator[Callable[[], None]]:
    """All places held by hand, where the run is to wait; gives what releases them."""
    if case.phase != "wait":
        yield lambda: None
        return
    with closing(Coordinator(lab.coordinator)) as coordinator:
        for name in lab.places:
            coordinator.run(coordinator.call("AcquirePlace", placename=name), LIMIT)

    def release() -> None:
        with closing(Coordinator(lab.coordinator)) as again:
            for name in lab.places:
                again.run(again.call("ReleasePlace", placename=name), LIMIT)

    yield release


def hit(case: Case, suites: list[str], chance: random.Random, usual: float) -> Row:
    """One case, in a lab of its own."""
    row = Row()
    other: Process | None = None
    with tempfile.TemporaryDirectory(prefix="kills") as name, ExitStack() as stack:
        directory = Path(name)
        lab = stack.enter_context(Lab.up(2, directory=directory / "lab"))
        if case.part == "one exporter":
            other = stack.enter_context(exporter(lab, "other"))
            give(lab, "box-2", "other")
        release = stack.enter_context(taken(lab, case))
        (directory / "run").mkdir()
        run = Run(lab, directory / "run", case, suites)
        stack.callback(run.close)
        aims = {"test": (LONG, 1), "tftp": ("^kernel|initramfs", chance.randint(1, 3)), "wait": ("", case.workers)}
        pid, what = run.comes_to(case.phase, *aims[case.phase])
        run.listens_no_more()
        place = place_of(lab, pid)
        kill = other.kill if other and place == "box-2" else victim(case, lab, run, pid, place)
        holders = {one.pid for one in map(Process.of, children(run.process.pid)) if one} | {run.process.pid}
        row.hit = f"{what or 'waiting'} at {place or 'no place'}"
        time.sleep(chance.uniform(0, LATEST))
        begin = time.monotonic()
        kill()
        try:
            row.status = run.process.wait(LIMIT + usual)
        except subprocess.TimeoutExpired:
            row.wrong.append(f"it hangs: not at its end {LIMIT + usual:.0f} s after the kill")
            run.process.kill()
            run.process.wait()
        row.seconds = time.monotonic() - begin
        end = time.monotonic()
        while (left := run.left()) and time.monotonic() < end + GONE_LIMIT:
            time.sleep(0.05)
        if left:
            row.wrong.append(f"still there {GONE_LIMIT:g} s after the run: {left}")
        if case.part != "pytest":
            judge(case, run, row)
        if case.part == "link":
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            # labgrid's ends without its coordinator, for others to start it again
            stack.enter_context(exporter(lab, "box"))
        if case.part in ("coordinator", "supervisor"):
            row.after = "no coordinator"
        else:
            release()
            afterwards(case, lab, run, row, holders)
        if row.wrong:
            row.wrong.append(run.output.read_text("utf-8", "replace")[-6000:])
        lab.down()
        if rest := [one.arguments for one in marked(lab.directory)]:
            row.wrong.append(f"left of the lab: {rest}")
    return row


def children(pid: int) -> list[int]:
    """The processes that `pid` has started, and theirs."""
    parents = {int(path.name): Process.of(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    found, more = [], {pid}
    while more:
        more = {one for one, process in parents.items() if process and process.parent in more}
        found += more
    return found


def inside(case: Case, suites: list[str], seed: int, usual: float) -> Row:
    """The case in a process of its own; where the link dies, in a network of its own."""
    options = ("--seed", str(seed), "--usual", f"{usual}", "--suites", *suites)
    command = [sys.executable, __file__, *options, "--", str(case)]
    if case.part == "link":
        # ser2net wants an address beside loopback's
        network = 'ip link set lo up && ip addr add 192.0.2.1/32 dev lo && exec "$@"'
        command = ["unshare", "-rn", "sh", "-c", network, "sh", *command]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    facts = json.loads(done.stdout.splitlines()[-1])
    return Row(**facts | {"outcomes": Counter(facts["outcomes"])})


def undisturbed(suites: list[str], workers: int) -> float:
    """How many seconds a run takes."""
    with tempfile.TemporaryDirectory(prefix="kills") as name:
        directory = Path(name)
        (directory / "run").mkdir()
        with Lab.up(2, directory=directory / "lab") as lab:
            begin = time.monotonic()
            run = Run(lab, directory / "run", Case("test", "", workers), suites)
            run.listens_no_more()
            try:
                if run.process.wait(LIMIT * 5) or still(lab):
                    raise SystemExit(f"an undisturbed run is not good: {still(lab)}\n{run.output.read_text()[-3000:]}")
            finally:
                run.close()
            return time.monotonic() - begin


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("cases", nargs="*", default=[str(case) for case in CASES])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--suites", nargs="+", default=list(SUITES))
    parser.add_argument("--usual", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    known = {str(case): case for case in CASES}
    if options.list:
        print("\n".join(known))
        return 0
    cases = [known[name] for name in options.cases]
    if options.usual:
        row = hit(cases[0], options.suites, random.Random(f"{options.seed} {cases[0]}"), options.usual)
        print(json.dumps(vars(row)))
        return 0
    usual = {workers: undisturbed(options.suites, workers) for workers in sorted({case.workers for case in cases})}
    for workers, seconds in usual.items():
        print(f"undisturbed, {workers} worker{'s' * (workers > 1)}: {seconds:.0f} s; {load()}", flush=True)
    print("| case | hit | ends after | status | passed, failed, retried | afterwards | wrong |")
    print("|---|---|---|---|---|---|---|")
    wrong = 0
    for case in cases:
        row = inside(case, options.suites, options.seed, usual[case.workers])
        told = ", ".join(str(row.outcomes[one]) for one in ("passed", "failed", "retried"))
        print(
            f"| {case} | {row.hit} | {row.seconds:.0f} s | {row.status} | {told} | {row.after} | {len(row.wrong)} |",
            flush=True,
        )
        for text in (*row.causes, *row.wrong):
            print(f"    {text}", file=sys.stderr, flush=True)
        wrong += bool(row.wrong)
    print(f"{len(cases)} cases, seed {options.seed}: {wrong} wrong (bound 0); {load()}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
