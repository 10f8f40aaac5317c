"""Soaks on the reference image, which does not wear out, and with an agent in front of it that does."""

from __future__ import annotations

import pytest

from hil.errors import RunnerError
from hil.measure.memory import Memory
from hil.measure.quantities import GUEST, PARTITION, QEMU, RUNNER
from hil.measure.soak import soak
from hil.wasm import Runner
from hil.wasm.verdict import Faulted, Silent

pytestmark = pytest.mark.board

PLACE = "/tmp/wearing"
# as the seL4 image does it: its 12th deployment takes the runner down, and from then on nothing is said, with status 0
WEARING = f"""#!/bin/sh
case "$1" in --hello) exec wasmedge_emit "$@";; esac
n=$(($(cat {PLACE}/count 2>/dev/null || echo 0)+1))
echo $n >{PLACE}/count
[ $n -lt 12 ] && exec wasmedge_emit "$@"
[ $n -eq 12 ] && cat {PLACE}/last-words
exit 0
"""
FAULT = b"""\
[1900-01-00 00:00:00.000] [info] executing wasm file\r
FAULT HANDLER: data fault from wasmedge.wasmedge_0_control (ID 0x1) on address 0x8, pc = 0x4c1a30, fsr = 0x92000006\r
"""


@pytest.fixture
def wearing(board, guest, monkeypatch):
    """Puts the wearing agent, with its last words, in front of the real one; its verdicts have no seal."""

    def put(last_words):
        guest.put(WEARING.encode(), f"{PLACE}/wasmedge_emit")
        guest.put(last_words, f"{PLACE}/last-words")
        guest.run(f"chmod +x {PLACE}/wasmedge_emit", check=True)
        changed = {"command": f"{PLACE}/wasmedge_emit", "seal_option": None}
        changed["faults"] = (r"FAULT HANDLER: (?P<reason>.*?) on address (?P<address>0x[0-9a-f]+).*",)
        agent = board.manifest.agent.model_copy(update=changed)
        monkeypatch.setattr(board, "manifest", board.manifest.model_copy(update={"agent": agent}))
        return Runner(guest)

    yield put
    guest.run(f"rm -rf {PLACE}")
    board.dirty = None  # only the agent was worn


@pytest.mark.parametrize(
    ("last_words", "verdict", "words"),
    [(b"", Silent, "the runner was silent"), (FAULT, Faulted, "the runner faulted")],
    ids=["silent", "fault"],
)
def test_wear_is_found_with_its_number(board, wearing, sample, measure, last_words, verdict, words):
    boots = board.boots
    expected = sample["hello.wasm"]["default"]
    run = soak(wearing(last_words), sample("hello.wasm"), deployments=200, problems=expected.problems)
    assert run.first is not None
    assert isinstance(run.first.run.verdict, verdict), str(run.first.run)
    assert (run.first.number, run.done, run.good) == (12, 12, 11)
    assert all(part in run.failure for part in (words, "12 of 200", "hello.wasm"))
    assert "KiB available" in run.failure
    assert board.boots == boots, "a soak is on one boot"
    assert board.dirty
    with pytest.raises(RunnerError, match="12 of 200"):
        run.check(measure)


def test_a_worn_runner_says_nothing_with_status_0_and_is_never_believed(wearing, sample):
    expected = sample["hello.wasm"]["default"]
    run = soak(wearing(b""), sample("hello.wasm"), deployments=20, problems=expected.problems, go_on=True)
    assert (run.done, run.good, run.wrong) == (20, 11, 9)
    assert sorted(run.verdicts.values()) == [9, 11]
    assert run.verdicts["exited(0)"] == 11


def test_a_soak_tells_of_all_memories(soak, sample, measure):
    expected = sample["nbody-c.wasm"]["10"]
    run = soak(sample("nbody-c.wasm"), "10", problems=expected.problems, deployments=40)
    assert (run.done, run.good, run.failure) == (40, 40, "")
    assert [one.quantity for one in run.times] == ["deployment time", "response time"]
    assert {one.quantity: len(one) for one in run.memory} == dict.fromkeys((GUEST, PARTITION, RUNNER, QEMU), 41)
    assert run.unknown == ()
    assert (run.deployment.samples > run.response.samples).all()


def test_guest_memory_that_goes_is_counted_and_qemu_is_not_blamed_for_it(guest):
    memory = Memory(guest)
    memory.read()
    guest.run("dd if=/dev/zero of=/dev/shm/soak bs=1M count=32 2>/dev/null", check=True)
    try:
        taken = memory.read()
    finally:
        guest.run("rm /dev/shm/soak", check=True)
    assert 30 << 20 < taken[GUEST] < 36 << 20
    assert taken[QEMU] < 16 << 20, "the guest's pages count as QEMU's own"
