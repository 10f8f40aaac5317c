"""Labs that are not taken up, and why."""

from __future__ import annotations

import asyncio

import pytest
from click.testing import CliRunner

from hil.cli import main
from hil.errors import ConfigurationError, InfrastructureError
from hil.lab import Lab, supervisor
from hil.lab.plan import LabPlan


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


def test_without_its_own_ser2net_no_lab_opens_a_port(tmp_path, monkeypatch):
    """The exporter would take the system's, which listens on all addresses."""
    monkeypatch.setattr(supervisor, "SHIM", tmp_path)
    monkeypatch.setattr(supervisor, "_tool", lambda name: f"/usr/sbin/{name}")
    box = supervisor.Box(LabPlan("127.0.0.1", 0, "rfc2217", None, "reference", {}))
    (tmp_path / "ser2net").write_text("not executable")
    with pytest.raises(InfrastructureError, match="all addresses"):
        asyncio.run(box.open())
