"""Places of a lab: got by a reservation, held by a lease, given back whatever happens; what else happens is told."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from limits import HANG
from stub_lab import LIMIT, until

from hil.board.board import Board
from hil.errors import InfrastructureError
from hil.places import lease as leases
from hil.places.acquisition import acquire
from hil.places.selector import Terms, parse

HOLDER = """
import sys, time
from hil.places import lease
from hil.places.acquisition import acquire
from hil.places.selector import Terms, parse
if sys.argv[3:]:
    lease.machine = lambda: sys.argv[3]
place = acquire(parse(sys.argv[1]), sys.argv[2], Terms(wait=30))
print(place.name, flush=True)
time.sleep(60)
"""
RACER = """
import os, sys
from hil.places.acquisition import acquire
from hil.places.selector import Terms, parse
log = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for _ in range(int(sys.argv[4])):
    place = acquire(parse(sys.argv[1]), sys.argv[2], Terms(wait=60, report=lambda text: None))
    os.write(log, f"has {os.getpid()}\\n".encode())
    os.write(log, f"had {os.getpid()}\\n".encode())
    place.close()
"""


@contextlib.contextmanager
def held(lab, name="+lab=box", wait=0.0, told=None, **more):
    place = acquire(
        parse(name), lab.address, Terms(wait=wait, report=(told if told is not None else []).append, **more)
    )
    try:
        yield place
    finally:
        place.close()


def holder(lab, name="place:box-1", *more) -> subprocess.Popen[str]:
    """A process that holds a place."""
    command = [sys.executable, "-c", HOLDER, name, lab.address, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lab.stack.callback(process.communicate)
    lab.stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline(), process.communicate()[1]
    return process


def died(process) -> None:
    process.kill()
    process.wait()


def test_a_place_is_held_and_given_back_and_the_next_one_waits_for_it(make_lab):
    lab, told = make_lab(1), []
    with held(lab) as place:
        shown = lab.client("-p", "box-1", "show")
        assert (place.name, place.lost, place.exporters) == ("box-1", "", ["exporter-1"])
        assert "hil_lease=" in shown
        assert len(lab.held()) == 1
        with pytest.raises(InfrastructureError, match=rf"within 0 s: box-1 is held by .*process {os.getpid()}, since"):
            acquire(parse("place:box-1"), lab.address, Terms(wait=0))
        got: list[float] = []

        def wait() -> None:
            with held(lab, wait=LIMIT, told=told):
                got.append(time.monotonic())

        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: told)
        assert told[0].startswith("1st of 1 waiting for lab=box; box-1 is held by ")
        gone = time.monotonic()
    waiting.join(LIMIT)
    assert got[0] - gone < LIMIT / 2  # at once, but for the load
    assert lab.clean


def test_who_waits_is_told_the_place_in_the_queue(make_lab):
    lab, told = make_lab(1), [[], []]
    threads = []
    with held(lab):
        for several in told:
            threads.append(
                threading.Thread(target=lambda told=several: held(lab, wait=LIMIT, told=told).__enter__().close())
            )
            threads[-1].start()
            until(lambda several=several: several)
        assert told[1][0].startswith("2nd of 2 waiting for lab=box")
    for thread in threads:
        thread.join(LIMIT)
    assert any(text.startswith("1st of 1") for text in told[1])
    assert lab.clean


def test_a_dead_holder_s_place_is_free_for_the_next_run_at_once(make_lab):
    lab, told = make_lab(1), []
    process = holder(lab)
    died(process)
    assert lab.held()
    with held(lab, told=told) as place:
        assert place.name == "box-1"
    assert len(told) == 1
    assert "place box-1 was held by " in told[0]
    assert f"process {process.pid}, since 2" in told[0]
    assert "which is dead" in told[0]
    assert lab.clean


def test_a_holder_elsewhere_counts_as_dead_when_it_gives_no_sign_of_life(make_lab, monkeypatch):
    lab, told = make_lab(1), []
    died(holder(lab, "place:box-1", "0123456789ab"))
    with pytest.raises(InfrastructureError, match="box-1 is held by"):
        acquire(parse("place:box-1"), lab.address, Terms(wait=0))
    monkeypatch.setattr(leases, "LIMIT", 1.5)
    with held(lab, wait=LIMIT, told=told):
        assert "sign of life" in told[-1]
    assert lab.clean


def test_signs_of_life_keep_a_lease(make_lab, monkeypatch):
    lab = make_lab(1)
    monkeypatch.setattr(leases, "BEAT", 0.5)
    monkeypatch.setattr(leases, "LIMIT", 1.5)
    with held(lab) as place:
        with pytest.raises(InfrastructureError, match="within 4 s"):
            acquire(parse("+lab=box"), lab.address, Terms(wait=4, report=[].append))
        assert place.lost == ""


def test_a_place_that_a_human_has_acquired_is_theirs(make_lab):
    lab = make_lab(1)
    died(holder(lab))
    lab.client("-p", "box-1", "release", "--kick", user="alice")
    lab.client("cancel-reservation", lab.client("reservations").split("'")[1])
    lab.client("-p", "box-1", "acquire", user="alice")
    assert "hil_lease=" in lab.client("-p", "box-1", "show"), "the dead one's"
    with pytest.raises(InfrastructureError, match="held by alice@.*, who has acquired it by hand"):
        acquire(parse("+lab=box"), lab.address, Terms(wait=0))
    assert lab.held() == ["alice box-1"]


def test_a_place_that_its_user_has_acquired_is_used_by_one_at_a_time_and_stays_acquired(make_lab):
    lab = make_lab(1)
    lab.client("-p", "box-1", "acquire")
    process = holder(lab)
    with pytest.raises(InfrastructureError, match="acquired it by hand"):
        acquire(parse("place:box-1"), lab.address, Terms(wait=0))
    died(process)
    with held(lab, "place:box-1") as place:
        assert place.borrowed
    assert lab.held()
    with pytest.raises(InfrastructureError, match="acquired it by hand"):
        acquire(parse("+lab=box"), lab.address, Terms(wait=0))


def test_a_kick_is_noticed_and_the_place_goes_to_who_kicked(make_lab):
    lab = make_lab(1)
    with held(lab) as place:
        lab.client("-p", "box-1", "release", "--kick", user="bob")
        assert until(lambda: place.lost) == "somebody has released it"
        until(lambda: not lab.client("reservations"))
        lab.client("-p", "box-1", "acquire", user="bob")
    assert lab.held() == ["bob box-1"]
    assert "hil_lease" not in lab.client("-v", "places")


def test_a_place_without_its_exporter_is_none(make_lab, monkeypatch):
    lab = make_lab(2)
    with held(lab, "place:box-1") as place:
        died(lab.exporters[0])
        assert re.fullmatch(r"exporter exporter-1 with its Network\w+Port is gone", until(lambda: place.lost))
    assert not lab.held()
    with pytest.raises(InfrastructureError, match=r"place box-1: exporter exporter-1 with its \* is not there"):
        acquire(parse("place:box-1"), lab.address, Terms(wait=1))
    for _ in range(3):
        with held(lab) as place:
            assert place.name == "box-2"
    assert lab.clean


def test_a_dead_coordinator_is_told_and_nothing_waits_for_it(make_lab):
    lab = make_lab(1)
    with held(lab) as place:
        died(lab.coordinator)
        assert "is gone" in until(lambda: place.lost)
    begin = time.monotonic()
    with pytest.raises(InfrastructureError, match="cannot be reached"):
        acquire(parse("+lab=box"), lab.address, Terms(wait=LIMIT))
    assert time.monotonic() - begin < LIMIT


def test_a_coordinator_that_is_stopped_is_no_endless_wait(make_lab, monkeypatch):
    from hil.places import coordinator as module

    lab = make_lab(1)
    monkeypatch.setattr(module, "CONNECT_LIMIT", 1.0)
    lab.coordinator.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(InfrastructureError, match="cannot be reached: no answer within 1 s"):
            acquire(parse("+lab=box"), lab.address, Terms())
    finally:
        lab.coordinator.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("left", [pytest.param("nothing", marks=pytest.mark.slow), "a dead holder"])
def test_of_many_processes_one_has_the_place(make_lab, left):
    lab = make_lab(1)
    if left != "nothing":
        died(holder(lab))
    log = lab.directory / "race"
    rounds = 8 if left == "nothing" else 2
    command = [sys.executable, "-c", RACER, "+lab=box", lab.address, str(log), str(rounds)]
    racers = [subprocess.Popen(command) for _ in range(4)]
    assert [racer.wait(HANG) for racer in racers] == [0] * 4
    lines = log.read_text().splitlines()
    assert len(lines) == 8 * rounds
    for has, had in zip(lines[::2], lines[1::2], strict=True):
        assert (has.split()[0], had.split()[0], has.split()[1]) == ("has", "had", had.split()[1])
    assert lab.clean


def test_a_board_on_a_place_is_off_when_it_is_given_back(make_lab):
    lab = make_lab(1)
    with Board("place:box-1", transcripts=lab.directory, terms=Terms(coordinator=lab.address)) as board:
        assert (board.name, board.where) == ("stub", "box-1")
        board.boot()
        assert lab.machines[0].on
    assert (lab.machines[0].on, lab.machines[0].boots) == (False, 1)
    assert lab.clean


def test_a_board_file_with_a_place_and_its_coordinator(make_lab, monkeypatch):
    lab = make_lab(1)
    monkeypatch.setenv("LG_COORDINATOR", "127.0.0.1:1")
    file = lab.directory / "bench.yaml"
    resources = f"options: {{coordinator_address: '{lab.address}'}}\ntargets:\n  main:\n    resources: {{RemotePlace: {{name: box-1}}}}\n"
    file.write_text((lab.directory / "stub.yaml").read_text().replace("targets:\n  main:\n", resources))
    with Board(str(file), transcripts=lab.directory) as board:
        assert (board.name, board.where) == ("bench", "box-1")
        board.boot()
        assert len(lab.held()) == 1
    assert lab.clean


def test_boards_on_places_of_two_coordinators(make_lab, tmp_path_factory):
    lab = make_lab(1)
    directory = tmp_path_factory.mktemp("other")
    with contextlib.ExitStack() as stack:
        other = type(lab)(directory, stack, 1)
        boards = [
            Board("place:box-1", transcripts=directory, terms=Terms(coordinator=one.address)) for one in (lab, other)
        ]
        for board in boards:
            board.boot()
        died(lab.exporters[0])
        until(lambda: boards[0].lost)
        boards[1].boot()  # whatever becomes of the other one
        with pytest.raises(InfrastructureError, match="place box-1 was lost: exporter exporter-1"):
            boards[0].boot()
        for board in boards:
            board.close()
        assert [one.machines[0].boots for one in (lab, other)] == [1, 2]


# with pytest

CONFTEST = "from hil.plugin.session import Session\nSession._check_health = lambda session, board: None\n"


@pytest.fixture
def run(make_lab):
    """Starts pytest on a lab of so many places; returns lab and process."""

    def begin(count, code, *arguments, lab=None):
        lab = lab or make_lab(count)
        (lab.directory / "conftest.py").write_text(CONFTEST)
        (lab.directory / "test_it.py").write_text(textwrap.dedent(code))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-rA",
            "-p",
            "no:cacheprovider",
            "--board",
            "+lab=box",
            *arguments,
            "test_it.py",
        ]
        process = subprocess.Popen(
            command, cwd=lab.directory, env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        lab.stack.callback(process.communicate)
        lab.stack.callback(process.kill)
        return lab, process

    return begin


def test_a_run_tells_each_test_s_place(run):
    code = "def test_1(board, request): assert ('place', 'box-1') in request.node.user_properties"
    lab, process = run(1, code, "--alluredir", "allure", "--junitxml", "junit.xml")
    output = process.communicate(timeout=HANG)[0]
    assert process.returncode == 0, output
    assert f"hil: board +lab=box, coordinator {lab.address}" in output
    assert f"place: box-1 (exporter exporter-1, coordinator {lab.address})" in output
    assert 'name="place" value="box-1"' in (lab.directory / "junit.xml").read_text()
    results = "".join(path.read_text() for path in (lab.directory / "allure").iterdir())
    assert '{"name": "tag", "value": "box-1"}' in results
    (told,) = (json.loads(path.read_text()) for path in (lab.directory / "allure").glob("*-result.json"))
    name = told["fullName"].replace(".", "/").replace("#", ".py::")  # with the board's own name: any place will do
    assert told["testCaseId"] == hashlib.md5(f"{name}[stub]".encode()).hexdigest()
    assert {"name": "host", "value": "stub (box-1)"} in told["labels"]
    assert {"name": "thread", "value": "box-1"} in told["labels"]
    assert f"places = box-1 (exporter exporter-1, coordinator {lab.address})\n" in results
    assert lab.clean


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM, signal.SIGKILL]
)
def test_however_a_run_ends_its_place_is_free_for_the_next(run, number):
    code = "import time, pathlib\ndef test_1(board):\n    pathlib.Path('up').touch()\n    time.sleep(60)"
    lab, process = run(1, code)
    until((lab.directory / "up").exists)
    process.send_signal(number)
    output = process.communicate(timeout=HANG)[0]
    if number != signal.SIGKILL:
        assert lab.clean, output
        assert not lab.machines[0].on
    told: list[str] = []
    with held(lab, told=told):
        assert len(told) == (number == signal.SIGKILL)
    assert lab.clean


LOSING = """
    import pathlib, subprocess, time
    tries = pathlib.Path("tries")
    def test_1(board):
        with tries.open("a") as file: print(board.where, file=file)
        if len(tries.read_text().split()) == 1:
            subprocess.run(["labgrid-client", "-p", board.where, "release", "--kick"], check=True)
            while not board.lost: time.sleep(0.05)
            assert False, "the image's, if the place were there"
    def test_2(board):
        with tries.open("a") as file: print(board.where, file=file)
"""


def test_a_run_that_loses_its_place_goes_on_at_another(run):
    lab, process = run(2, LOSING)
    output = process.communicate(timeout=HANG)[0]
    first, *others = (lab.directory / "tries").read_text().split()
    assert process.returncode == 0, output
    assert others == [{"box-1": "box-2", "box-2": "box-1"}[first]] * 2
    assert f"place {first} was lost: somebody has released it" in output
    assert "2 passed, 1 retried" in output
    assert lab.clean


BREAKING = """
    import urllib.request, pytest
    from hil.board import serial_driver

    serial_driver.CONNECT_LIMIT = 0.5

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_it(board, number):
        with open("places", "a") as file: print(board.where, file=file)
        switch = board.power.port.host.format(index=1)
        urllib.request.urlopen(urllib.request.Request(switch, b"HOW", method="PUT")).close()
        board.dirty = "its line is broken from now on"
"""


@pytest.mark.parametrize("how", ["resets", pytest.param("refuses", marks=pytest.mark.slow)])
def test_a_place_whose_serial_server_fails_is_left_for_another_one_until_all_have_failed(run, how):
    lab, process = run(2, BREAKING.replace("HOW", how))
    output = process.communicate(timeout=HANG)[0]
    assert sorted((lab.directory / "places").read_text().split()) == ["box-1", "box-2"]
    assert "2 passed, 1 error, 1 retried" in output, output
    reasons = re.search(r"InfrastructureError .*each place for \+lab=box has failed: (.*)", output)
    assert reasons, output
    assert {"box-1", "box-2"} == set(re.findall(r"place (box-\d):", reasons[1])), output
    assert lab.clean


@pytest.mark.slow  # test_a_run_that_loses_its_place_goes_on_at_another and test_a_kick_is_noticed... have its parts
def test_a_run_that_loses_the_one_place_it_may_use_says_so_and_ends(run):
    lab, process = run(
        1,
        LOSING,
        "--board",
        "place:box-1",
        "--deselect",
        "test_it.py::test_1[+lab=box]",
        "--deselect",
        "test_it.py::test_2[+lab=box]",
    )
    output = process.communicate(timeout=HANG)[0]
    assert process.returncode == 1, output
    assert (lab.directory / "tries").read_text().split() == ["box-1"], output
    assert "InfrastructureError (infrastructure): place box-1 was lost: somebody has released it" in output
    assert "1 failed" in output
    assert "1 error" in output
    assert lab.clean


def test_each_worker_has_a_place_of_its_own_and_more_workers_than_places_wait(run):
    code = """
        import os, time, pytest
        @pytest.mark.parametrize("number", range(12))
        def test_it(board, number):
            with open("log", "a") as log: print("begin", board.where, os.getpid(), file=log)
            time.sleep(0.5)
            with open("log", "a") as log: print("end", board.where, os.getpid(), file=log)
    """
    lab, process = run(
        2, code, "-n", "3", "--hil-place-wait", "1"
    )  # which does not count while others of the run have one
    output = process.communicate(timeout=HANG)[0]
    assert process.returncode == 0, output
    assert "12 passed" in output
    on: dict[str, str] = {}
    for line in (lab.directory / "log").read_text().splitlines():
        what, place, pid = line.split()
        if what == "begin":
            assert on.setdefault(place, pid) == pid
        else:
            assert on.pop(place) == pid
    assert lab.clean


def test_workers_release_their_places_when_the_run_is_killed(run):
    code = "import time, pathlib, os\ndef test_1(board):\n    pathlib.Path('up').touch()\n    time.sleep(60)"
    lab, process = run(1, code, "-n", "1")
    until((lab.directory / "up").exists)
    process.kill()
    process.wait()
    with held(lab, wait=LIMIT):
        pass
    assert lab.clean
