"""What `--board` may ask of a lab, and who counts as the holder of a place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from labgrid.remote.common import TAG_VAL, Place

from hil.board import boardfile
from hil.errors import ConfigurationError, InfrastructureError
from hil.places import lease as leases
from hil.places import selector as places
from hil.places.reservation import _ordinal
from hil.places.search import Search, _lock
from hil.places.selector import PlaceSelector, Terms
from hil.plugin.selection import BoardSelection


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("qemu-reference", None),
        ("boards/place.yaml", None),
        ("place:box-1", PlaceSelector(name="box-1")),
        ("place:+strange", PlaceSelector(name="+strange")),
        ("+lab=box", PlaceSelector(tags=(("lab", "box"),))),
        ("+lab=box,board=qemu-uboot", PlaceSelector(tags=(("lab", "box"), ("board", "qemu-uboot")))),
    ],
)
def test_what_a_board_s_name_asks_for(name: str, wanted: PlaceSelector | None) -> None:
    assert places.parse(name) == wanted


@pytest.mark.parametrize(
    "name", ["+", "+lab", "+lab=", "+=box", "+Lab=box", "+lab=box,", "+lab=a=b", "+lab=a,lab=b", "+x=1"]
)
def test_what_is_no_tag_is_told(name: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(name)):
        places.parse(name)


def test_a_place_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LG_PLACE", "box-7")
    assert places.parse("place:") == PlaceSelector(name="box-7")
    monkeypatch.delenv("LG_PLACE")
    with pytest.raises(ConfigurationError, match="LG_PLACE"):
        places.parse("place:")


def test_the_coordinator_s_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LG_COORDINATOR", raising=False)
    assert places.address(None, "") == "127.0.0.1:20408"
    monkeypatch.setenv("LG_COORDINATOR", "env")
    assert [places.address(None), places.address(None, "file"), places.address("hand", "file")] == [
        "env",
        "file",
        "hand",
    ]


def test_which_places_will_do() -> None:
    lab = {
        "box-1": Place("box-1", tags={"lab": "box", "board": "a"}),
        "box-2": Place("box-2", tags={"lab": "box", "board": "b"}, aliases={"best", "alice:mine"}),
        "box-22": Place("box-22", tags={"lab": "shelf"}),
    }

    def found(name: str, user: str = "") -> list[str]:
        wanted = places.parse(name)
        assert wanted is not None
        return list(wanted.among(lab, user))

    assert found("+lab=box") == ["box-1", "box-2"]
    assert found("+lab=box,board=b") == ["box-2"]
    assert found("+name=box-1") == ["box-1"]
    assert found("+lab=none") == []
    assert found("place:box-2") == ["box-2"]
    assert found("place:box") == []
    assert found("place:best") == ["box-2"]
    assert (found("place:mine", "alice"), found("place:mine", "bob")) == (["box-2"], [])


def held(lease: leases.Lease, **more: object) -> Place:
    facts = {"tags": {leases.TAG: str(lease)}, "acquired": "host/user", "allowed": {lease.mark}, **more}
    return Place("box-1", **facts)


def test_a_lease_is_read_as_it_was_written() -> None:
    lease = leases.new()
    assert leases.of(held(lease)) == lease
    assert TAG_VAL.match(str(lease))
    assert set(str(lease)) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert lease.ours
    assert not lease.sibling
    assert not lease.ended(silent=leases.LIMIT)
    assert f"user@host, process {os.getpid()}, since 20" in leases.holder(held(lease))


@pytest.mark.parametrize(
    "more",
    [
        {"acquired": None},
        {"allowed": set()},
        {"allowed": {"hil-lease/00000000"}},
        {"tags": {}},
        {"tags": {leases.TAG: "nonsense"}},
        {"tags": {leases.TAG: "1_2_3"}},
    ],
)
def test_a_tag_speaks_for_its_own_acquisition_only(more: dict[str, object]) -> None:
    assert leases.of(held(leases.new(), **more)) is None


def test_when_a_holder_counts_as_dead() -> None:
    mine = leases.new()
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    cases = {
        "dead": (replace(mine, pid=int(dead.stdout)), 0.0),
        "dead ": (replace(mine, started=mine.started - 1), 0.0),  # its number is another's by now
        "": (replace(mine, machine="0" * 12, pid=1, started=1), leases.LIMIT),
        "for 181 s": (replace(mine, machine="0" * 12), 181.0),
        "for 200 s": (mine, 200.0),
    }
    for told, (lease, silent) in cases.items():
        assert told.strip() in lease.ended(silent)
        assert bool(told) == bool(lease.ended(silent))


def test_workers_of_a_run_know_each_other() -> None:
    code = "from hil.places import lease; print(lease.new())"

    def lease(run: str) -> leases.Lease:
        environment = {**os.environ, "PYTEST_XDIST_TESTRUNUID": run}
        said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        fields = said.stdout.strip().split("_")
        return leases.Lease(*fields[:3], *map(int, fields[3:]))

    one, two, other = lease("a"), lease("a"), lease("b")
    assert one.run == two.run != other.run
    assert one.machine == other.machine
    assert not one.sibling, "of another run than this one"
    assert replace(one, run=leases.run()).sibling


def test_positions() -> None:
    told = [_ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)]
    assert told == ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"]


@pytest.mark.parametrize(
    ("resources", "name"),
    [
        ("", None),
        ("    resources: {RemotePlace: {name: one}}\n", "one"),
        ("    resources: [{RemotePlace: {name: one}}]\n", "one"),
        ("    resources: [{cls: RemotePlace, name: one}]\n", "one"),
        ("    resources: {RawSerialPort: {port: /dev/null}}\n", None),
        ("    resources: [{RawSerialPort: {port: /dev/null}}]\n", None),
    ],
)
def test_a_board_file_s_place_is_known_and_can_be_another(tmp_path: Path, resources: str, name: str | None) -> None:
    file = tmp_path / "board.yaml"
    file.write_text(f"imports: [hil.labgrid]\ntargets:\n  main:\n    drivers: {{HilStrategy: {{}}}}\n{resources}")
    env = boardfile.environment(file)
    assert boardfile.remote_place(env) == name
    boardfile.put_place(env, "two")
    assert boardfile.remote_place(env) == "two"


def test_a_worker_without_a_place_leaves_its_tests_to_the_others() -> None:
    from xdist.scheduler import WorkStealingScheduling

    from hil.plugin.session import SESSION
    from hil.plugin.workers import pytest_xdist_make_scheduler

    def scheduler(name: str) -> object:
        selections = SimpleNamespace(selected=[BoardSelection(name)], exclusive=False)
        config = SimpleNamespace(
            stash={SESSION: SimpleNamespace(selections=selections)},
            getvalue={"dist": "load", "tx": ["popen"]}.__getitem__,
        )
        return pytest_xdist_make_scheduler(config, None)  # type: ignore[arg-type]

    assert isinstance(scheduler("+lab=box"), WorkStealingScheduling)
    assert scheduler("qemu-reference") is None


def test_a_lock_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hil").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InfrastructureError, match="box-1"):
        _lock("box-1")


@pytest.mark.parametrize(
    ("avoid", "useless", "acquired", "taken"),
    [
        ([], [], [], "a b c"),
        (["a"], [], [], "b c"),
        (["a"], [], ["b", "c"], "b c"),  # it waits for one of these
        (["a", "b"], ["c"], [], "a"),  # the one that failed first
        (["a", "b"], ["c"], ["a"], "a b"),
        (["b", "a", "c"], [], [], "b"),
        (["a"], ["b", "c"], [], "a"),
    ],
)
def test_a_place_that_has_failed_is_left_for_a_better_one(
    avoid: list[str], useless: list[str], acquired: list[str], taken: str
) -> None:
    search = Search.__new__(Search)
    search._terms = Terms(avoid={name: f"{name} failed" for name in avoid})
    search._refused, search._last_resort = {}, False
    search._why_unusable = lambda name: "gone" * (name in useless)  # type: ignore[method-assign]
    places_ = {name: SimpleNamespace(acquired="me/me" if name in acquired else "") for name in "abc"}
    assert " ".join(name for name in places_ if not search._why_not(name, places_)) == taken
    search._last_resort = True
    assert [name for name in places_ if search._why_not(name, places_)] == useless
