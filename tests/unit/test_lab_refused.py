"""Labs that are not taken up, and why."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from hil.cli import main
from hil.errors import ConfigurationError
from hil.lab import Lab


@pytest.mark.parametrize(
    ("options", "datum"),
    [
        ({"listen": "192.0.2.1"}, "192.0.2.1"),
        ({"listen": "0.0.0.0"}, "0.0.0.0"),
        ({"listen": "0.0.0.0", "insecure": True}, "0.0.0.0"),
        ({"listen": "localhost"}, "localhost"),
        ({"serial": "telnet"}, "telnet"),
        ({"count": 0}, "0"),
    ],
)
def test_nothing_is_made_of_a_wrong_plan(tmp_path, options, datum):
    with pytest.raises(ConfigurationError, match=datum):
        Lab.up(**{"count": 1, "directory": tmp_path / "lab", **options})
    assert not (tmp_path / "lab").exists()


def test_the_command_says_how_to_get_there_in_its_place(tmp_path):
    command = ["lab", "up", "1", "--listen", "192.0.2.1", "--directory", str(tmp_path)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "SSH" in done.output


def test_without_a_lab_there_is_no_status_and_nothing_to_take_down(tmp_path):
    (tmp_path / "thesis.tex").touch()
    runner = CliRunner()
    assert runner.invoke(main, ["lab", "status", "--directory", str(tmp_path)]).exit_code == 2
    done = runner.invoke(main, ["lab", "down", "--directory", str(tmp_path)])
    assert done.exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
