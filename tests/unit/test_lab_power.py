"""The lab's power switch, asked as labgrid asks it and as nobody should, and the machines that hang on it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from labgrid.driver.power import rest

from hil.errors import InfrastructureError
from hil.host.processes import Process
from hil.lab import children
from hil.lab.children import Child
from hil.lab.power import PowerSwitch
from hil.lab.processes import MARK, marked, sweep
from hil.lab.supervisor import LabMachine
from hil.lab.wire import Wire

LIMIT = 20.0  # seconds
QEMU = """
import socket, sys, time
line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[1])
line.send(b"U-Boot")
line.recv(100)
"""


class Lamp:
    on = False

    async def switch(self, on: bool) -> None:
        if self.on and on:
            raise InfrastructureError("the lamp burns already")
        self.on = on


def run(work):
    async def bounded():
        async with asyncio.timeout(LIMIT):
            await work

    asyncio.run(bounded())


async def ask(url: str, method: str = "GET", data: bytes | None = None) -> tuple[int, str]:
    def do():
        request = urllib.request.Request(url, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=LIMIT) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(do)


def test_labgrid_switches():
    async def work():
        lamp = Lamp()
        switch = PowerSwitch({"box-1": lamp}, "127.0.0.1")
        try:
            host = f"{switch.url}/box-1"
            assert not await asyncio.to_thread(rest.power_get, host, None, 1)
            await asyncio.to_thread(rest.power_set, host, None, 1, True)
            assert lamp.on
            assert await asyncio.to_thread(rest.power_get, host, None, 1)
            await asyncio.to_thread(rest.power_set, host, None, 1, False)
            assert not lamp.on
        finally:
            switch.close()

    run(work())


def test_all_else_is_refused():
    async def work():
        lamp = Lamp()
        switch = PowerSwitch({"box-1": lamp}, "127.0.0.1")
        try:
            assert await ask(f"{switch.url}/box-2") == (404, "no such outlet")
            assert await ask(f"{switch.url}/") == (404, "no such outlet")
            assert await ask(f"{switch.url}/box-1/../../etc/passwd") == (404, "no such outlet")
            for body in (b"", b"2", b"10", b"on", b"1" * 100_000):
                assert await ask(f"{switch.url}/box-1", "PUT", body) == (400, "0 or 1")
            assert (await ask(f"{switch.url}/box-1", "POST", b"1"))[0] == 501
            assert (await ask(f"{switch.url}/box-1", "DELETE"))[0] == 501
            assert await ask(f"{switch.url}/box-9", "PUT", b"1") == (404, "no such outlet")
            assert not lamp.on
            lamp.on = True
            assert await ask(f"{switch.url}/box-1", "PUT", b"1") == (500, "the lamp burns already")
        finally:
            switch.close()

    run(work())


def test_one_who_connects_and_says_nothing_holds_up_nobody():
    async def work():
        switch = PowerSwitch({"box-1": Lamp()}, "127.0.0.1")
        try:
            host, port = switch.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))):
                assert await ask(f"{switch.url}/box-1") == (200, "0")
        finally:
            switch.close()

    run(work())


async def with_machine(script: str, work) -> None:
    wire = Wire(Path("box-1.line"))
    told = []
    machine = LabMachine("box-1", [sys.executable, "-ISc", script, "box-1.line"], wire, lambda: told.append(machine.on))
    try:
        await work(machine, told)
    finally:
        await machine.switch(False)
        wire.close()


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_a_machine_is_switched_and_switched_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def work(machine, told):
        await machine.switch(False)
        assert not machine.on
        await asyncio.gather(machine.switch(True), machine.switch(True))
        first = machine.process
        assert first.alive
        assert told == [True]
        await machine.switch(False)
        await machine.switch(False)
        assert not machine.on
        assert not first.alive
        await machine.switch(True)
        assert machine.process not in (None, first)

    run(with_machine(QEMU, work))


def test_a_machine_that_dies_reads_as_off_and_starts_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def work(machine, told):
        await machine.switch(True)
        os.kill(machine.process.pid, signal.SIGKILL)
        await until(lambda: not machine.on)
        assert told == [True, False]
        await machine.switch(True)
        assert machine.on

    run(with_machine(QEMU, work))


def test_a_machine_that_does_not_start_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def work(machine, told):
        with pytest.raises(InfrastructureError, match=r"(?s)box-1.* 3") as caught:
            await machine.switch(True)
        assert "| no such machine" in caught.value.message
        assert not machine.on

    run(with_machine("import sys; print('no such machine'); sys.exit(3)", work))


def test_a_machine_that_does_not_connect_is_ended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hil.lab.supervisor.READY_LIMIT", 0.3)

    async def work(machine, told):
        with pytest.raises(InfrastructureError, match=" 9"):
            await machine.switch(True)

    run(with_machine("import time; time.sleep(60)", work))


def test_a_child_says_what_it_was_waited_for_or_why_not(tmp_path):
    async def work():
        log = tmp_path / "log"
        child = Child("talker", [sys.executable, "-ISuc", "print('listening on 1.2.3.4:5'); input()"], log=log)
        assert (await child.output(r"listening on (\S+)", LIMIT))[1] == "1.2.3.4:5"
        await child.gone()
        with pytest.raises(InfrastructureError, match=r"(?s)talker.* 1\b.*EOFError"):
            await child.output("more", LIMIT)
        assert "listening" in log.read_text()
        silent = Child("silent", [sys.executable, "-ISc", "import time; time.sleep(60)"], log=log)
        with pytest.raises(InfrastructureError, match=r"silent.* 0\.1 s\n"):
            await silent.output("anything", 0.1)
        silent.kill()
        await silent.gone()
        with pytest.raises(InfrastructureError, match="silent .* 9"):
            await silent.output("anything", LIMIT)

    run(work())


def test_a_log_has_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "LOG_SIZE", 10_000)

    async def work():
        script = "for number in range(10_000): print('line', number)"
        child = Child("chatterbox", [sys.executable, "-ISc", script], log=tmp_path / "log")
        await child.gone()
        await asyncio.sleep(0.1)
        kept = [tmp_path / "log.1", tmp_path / "log"]
        assert all(0 < path.stat().st_size < 10_000 + 65536 for path in kept)
        assert "".join(path.read_text() for path in kept).endswith("line 9999\n")

    run(work())


def test_a_process_is_told_from_a_later_one_with_its_id():
    script = "print('up', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-ISc", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process = Process.of(child.pid)
    other = Process(process.pid, process.start - 1)
    assert process.alive
    assert not other.alive
    assert child.stdout.readline() == b"up\n"
    assert process.arguments[1] == "-ISc"
    other.kill()
    assert other.wait(0)
    assert not process.wait(0.05)
    process.kill()
    assert process.wait(LIMIT)
    assert Process.of(child.pid) is None  # though nobody has reaped it
    assert child.wait() == -signal.SIGKILL
    process.kill()
    assert process.wait(LIMIT)
    assert process.arguments == []


def test_sweeping_ends_the_marked_and_their_orphans_and_nobody_else(tmp_path):
    script = "import subprocess, sys; subprocess.Popen([sys.executable, '-ISc', 'import time; time.sleep(60)'])"
    for name in ("lab", "lab-2"):
        subprocess.run([sys.executable, "-ISc", script], env={MARK: str(tmp_path / name)}, check=True)
    found = list(marked(tmp_path / "lab"))
    others = list(marked(tmp_path / "lab-2"))
    assert len(found) == len(others) == 1
    assert sweep(tmp_path / "lab") == 1
    assert not found[0].alive
    assert others[0].alive
    assert sweep(tmp_path / "lab-2") == 1
    assert sweep(tmp_path / "lab-2") == 0
