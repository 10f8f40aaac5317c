"""`hil board boot --repeat`: stage times and failures over many boots."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support import children, stub_board, until

from hil.board.board import Board
from hil.cli import main
from hil.errors import BootError, ConfigurationError, Evidence, HilError, InfrastructureError


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    return str(stub_board(tmp_path))


def boot(board: str, *words: str) -> Result:
    before = children(os.getpid())
    result = CliRunner().invoke(main, ["board", "boot", "--board", board, *words])
    until(lambda: set(children(os.getpid())) <= set(before))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Let the boots with these numbers, from 1 on, fail so."""
    real = Board.boot

    def install(errors: dict[int, HilError]) -> None:
        count = 0

        def act(self: Board) -> object:
            nonlocal count
            count += 1
            if count in errors:
                raise errors[count]
            return real(self)

        monkeypatch.setattr(Board, "boot", act)

    return install


def test_many_boots_are_a_table_of_stages_and_a_rate(stub: str, tmp_path: Path) -> None:
    result = boot(stub, "--repeat", "3")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["stage", "min", "median", "max"]
    for line, stage in zip(lines[1:4], ("start", "login", "shell"), strict=True):
        name, least, middle, greatest = line.split()
        assert name == stage
        assert 0 < float(least) <= float(middle) <= float(greatest)
    assert any("0 of 3 (0 %, 95 % interval 0 % .. 70.76 %)" in line for line in lines)
    assert len(list((tmp_path / "transcripts").glob("stub-*.raw"))) == 3, "each is a cold boot"


def test_a_failed_boot_is_counted_and_the_series_goes_on(stub: str, failing) -> None:  # type: ignore[no-untyped-def]
    flood = BootError(
        "the boot did not reach stage 'login' (marker 'x') in 9 s; last reached: start; on the line: a flood: 'y'",
        stage="login",
        evidence=Evidence(Path("/t/stub.raw"), ("y",)),
        cause="a flood: 'y'",
    )
    failing({2: flood})
    result = boot(stub, "--repeat", "4")
    assert result.exit_code == 1
    assert "1 of 4 (25 %, 95 % interval 0.6309 % .. 80.59 %)" in result.stdout
    assert "boot 2, image: stage login: a flood: 'y'; transcript: /t/stub.raw" in result.stdout
    assert "BootError (image): " in result.stderr
    assert "'login'" in result.stderr


def test_machines_get_the_same(stub: str, failing) -> None:  # type: ignore[no-untyped-def]
    failing({1: BootError("silent", stage="start"), 3: InfrastructureError("no qemu")})
    result = boot(stub, "--repeat", "4", "--json")
    assert result.exit_code == 1
    facts = json.loads(result.stdout)
    assert facts["boots"] == 4
    assert (facts["failed"]["failed"], facts["failed"]["total"]) == (1, 3), "the test bed's failure is no boot's"
    assert facts["failed"]["lower"] < facts["failed"]["value"] < facts["failed"]["upper"]
    assert [(one["boot"], one["fault"]) for one in facts["failures"]] == [(1, "image"), (3, "infrastructure")]
    assert [one["stage"] for one in facts["stages"]] == ["start", "login", "shell"]


def test_where_none_comes_up_there_are_no_times(stub: str, failing) -> None:  # type: ignore[no-untyped-def]
    failing({1: InfrastructureError("no qemu"), 2: InfrastructureError("no qemu")})
    result = boot(stub, "--repeat", "2")
    assert result.exit_code == 1
    assert "%" not in result.stdout
    assert "boots failed otherwise: 2" in result.stdout
    assert json.loads(boot(stub, "--repeat", "1", "--json").stdout)["failures"] == []


def test_what_the_user_has_to_correct_ends_it_at_once(stub: str, failing) -> None:  # type: ignore[no-untyped-def]
    failing({1: ConfigurationError("wrong")})
    result = boot(stub, "--repeat", "5")
    assert result.exit_code == 2
    assert "ConfigurationError (configuration): wrong" in result.stderr
    assert boot(stub, "--repeat", "0").exit_code == 2
