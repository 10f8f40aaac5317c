"""Is the image there at all: stages, shell, agent, runner."""

import pytest

pytestmark = [pytest.mark.board, pytest.mark.severity("blocker")]


def test_stages_come_in_order_and_in_time(board, boot):
    limits = {stage.name: stage.limit for stage in board.manifest.stages}
    stages = boot.stages[-len(limits) :]  # before them come those of the board's loader
    assert [stage.name for stage in stages] == list(limits)
    before = sum(stage.seconds for stage in boot.stages[: -len(limits)][-1:])
    for stage in stages:
        assert before <= stage.seconds <= before + limits[stage.name], stage
        before = stage.seconds


def test_login_gives_a_root_shell(guest):
    assert guest.run("id -u", check=True).lines == ["0"]


def test_agent_is_present(board, guest):
    assert guest.run(f"command -v {board.manifest.agent.command}", check=True).text.startswith("/")


def test_runner_answers(runner, sample):
    assert runner.run(sample("hello.wasm")).good


def test_files_arrive_and_come_back_whole(guest):
    data = bytes(range(256)) * 64
    guest.put(data, "/tmp/smoke.bin")
    assert guest.get("/tmp/smoke.bin") == data
