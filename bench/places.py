"""What does a lab of many places cost? Usage: places.py [PLACES] [ROUNDS]

One labgrid-coordinator and one labgrid-exporter with PLACES (200) places, each with a power port and a serial port of
the network and a tag of its own. How long do they take to be there, how long does a client take to learn of them all,
what is the coordinator's memory? In ROUNDS (5), alternating: the time to reserve a place by a tag and acquire it with
labgrid-client (two processes), as one process that holds it by our lease, and within a process, by the bare protocol
and by our lease. Then all places are taken, the last one by our lease, and one more waits in vain.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fresh import load
from labgrid.remote.generated.labgrid_coordinator_pb2 import Reservation

from hil.errors import InfrastructureError
from hil.places.acquisition import Place, acquire
from hil.places.coordinator import Coordinator
from hil.places.selector import PlaceSelector, Terms

BOUND = 1.0  # our time from a shell over labgrid-client's
LIMIT = 120.0  # seconds for each part to be there
BIN = Path(sys.executable).parent
TERMS = Terms(wait=30.0, report=lambda message: None)


def rss(pid: int) -> float:
    """The memory of a process in MiB."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


@contextmanager
def process(directory: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / "log").open("ab") as log:
        started = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def until(what: Callable[[], bool]) -> float:
    """Wait for it, and return how many seconds that took."""
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > LIMIT:
            raise SystemExit(f"{what} was not within {LIMIT:g} s")
        time.sleep(0.02)
    return time.monotonic() - began


def reached(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as line:
        return line.connect_ex((host, int(port))) == 0


def resources(count: int) -> str:
    """An exporter's groups, in YAML."""
    return "".join(
        f"slot-{number}:\n"
        f"  NetworkPowerPort: {{model: rest, host: 'http://127.0.0.1:9/', index: {number}}}\n"
        f"  NetworkSerialPort: {{host: 127.0.0.1, port: {10_000 + number}}}\n"
        for number in range(count)
    )


async def add(coordinator: Coordinator, count: int) -> None:
    for number in range(count):
        name = f"place-{number}"
        await coordinator.call("AddPlace", name=name)
        await coordinator.call("AddPlaceMatch", placename=name, pattern=f"*/slot-{number}/*")
        tags = {"lab": "many", "number": str(number), "board": "qemu-uboot"}
        await coordinator.call("SetPlaceTags", placename=name, tags=tags)


@contextmanager
def connected(address: str) -> Iterator[Coordinator]:
    coordinator = Coordinator(address)
    try:
        coordinator.run(coordinator.sync(), LIMIT)
        yield coordinator
    finally:
        coordinator.close()


def client(address: str, *arguments: str, token: str = "") -> str:
    environment = {**os.environ, "LG_COORDINATOR": address} | ({"LG_TOKEN": token} if token else {})
    command = [str(BIN / "labgrid-client"), *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=LIMIT).stdout


def stock(address: str, tag: str) -> tuple[float, float]:
    """Seconds to get a place with labgrid-client, and to give it back."""
    began = time.monotonic()
    said = client(address, "reserve", "--wait", "--shell", tag)
    token = said.rpartition("LG_TOKEN=")[2].split()[0]
    client(address, "-p", "+", "acquire", token=token)
    got = time.monotonic()
    client(address, "-p", "+", "release", token=token)
    client(address, "cancel-reservation", token)
    return got - began, time.monotonic() - got


def ours(address: str, tag: str) -> tuple[float, float]:
    """The same as a process of ours, told by its output."""
    began = time.monotonic()
    command = [sys.executable, __file__, "hold", address, tag]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline()
        got = time.monotonic()
        holder.stdin.close()
        if holder.wait(LIMIT):
            raise SystemExit("our process failed")
        return got - began, time.monotonic() - got


def held(address: str, tag: str) -> Place:
    key, _, value = tag.partition("=")
    return acquire(PlaceSelector(tags=((key, value),)), address, TERMS)


def inside(address: str, tag: str) -> tuple[float, float]:
    """Ours within a process that is there already."""
    began = time.monotonic()
    place = held(address, tag)
    got = time.monotonic()
    place.close()
    return got - began, time.monotonic() - got


async def take(coordinator: Coordinator, tag: str) -> tuple[str, str]:
    """Reserve and acquire by labgrid's protocol alone: no lease, no look at resources. Return token and place."""
    key, _, value = tag.partition("=")
    filters = {"main": Reservation.Filter(filter={key: value})}
    made = await coordinator.call("CreateReservation", filters=filters, prio=0.0)
    token = made.reservation.token
    while not made.reservation.allocations:
        made = await coordinator.call("PollReservation", token=token)
    name = made.reservation.allocations["main"]
    await coordinator.call("AcquirePlace", placename=name)
    return token, name


async def give_back(coordinator: Coordinator, token: str, name: str) -> None:
    await coordinator.call("ReleasePlace", placename=name)
    await coordinator.call("CancelReservation", token=token)


def bare(address: str, tag: str) -> tuple[float, float]:
    """What the protocol alone takes, with a connection of its own as ours."""
    began = time.monotonic()
    with connected(address) as coordinator:
        taken = coordinator.run(take(coordinator, tag), LIMIT)
        got = time.monotonic()
        coordinator.run(give_back(coordinator, *taken), LIMIT)
    return got - began, time.monotonic() - got


def holder(address: str, tag: str) -> int:
    place = held(address, tag)
    print(place.name, flush=True)
    sys.stdin.read()
    place.close()
    return 0


def fill(address: str, count: int, pid: int) -> None:
    """Take all places but one, then the last one by our lease, then one more."""
    with connected(address) as coordinator:
        taken, times = [], []
        for _ in range(count - 1):
            began = time.monotonic()
            taken.append(coordinator.run(take(coordinator, "lab=many"), LIMIT))
            times.append(time.monotonic() - began)
        first, last = (statistics.median(some) * 1000 for some in (times[:20], times[-20:]))
        print(
            f"{count - 1} places taken by one connection in {sum(times):.1f} s, the first 20 in {first:.0f} ms each, "
            f"the last 20 in {last:.0f}; coordinator {rss(pid):.0f} MiB"
        )
        began = time.monotonic()
        place = held(address, "lab=many")
        try:
            print(f"ours, the last free one: {(time.monotonic() - began) * 1000:.0f} ms")
            began = time.monotonic()
            acquire(
                PlaceSelector(tags=(("lab", "many"),)), address, Terms(wait=1.0, report=lambda message: None)
            ).close()
            raise SystemExit("there is one place more than there are")
        except InfrastructureError as error:
            print(f"one more, with 1 s to wait: after {time.monotonic() - began:.2f} s: {error.message[:80]} ...")
        finally:
            place.close()
        began = time.monotonic()
        for each in taken:
            coordinator.run(give_back(coordinator, *each), LIMIT)
        took = time.monotonic() - began
    print(f"all given back in {took:.1f} s; coordinator {rss(pid):.0f} MiB")


def main(count: int, rounds: int) -> int:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        coordinator = stack.enter_context(process(directory, str(BIN / "labgrid-coordinator"), "-l", address))
        until(lambda: reached(address))
        print(f"{load()}; coordinator alone: {rss(coordinator.pid):.0f} MiB", flush=True)

        (directory / "exporter.yaml").write_text(resources(count))
        command = (str(BIN / "labgrid-exporter"), "-c", address, "-n", "many", "exporter.yaml")
        with connected(address) as session:
            exporter = stack.enter_context(process(directory, *command))
            took = until(lambda: len(session.session.resources.get("many", {})) == count)
            memory = f"coordinator {rss(coordinator.pid):.0f} MiB, exporter {rss(exporter.pid):.0f}"
            print(f"{count} groups of two resources exported in {took:.1f} s; {memory}", flush=True)
            began = time.monotonic()
            session.run(add(session, count), LIMIT)
            took = time.monotonic() - began
            print(f"{count} places made in {took:.1f} s; coordinator {rss(coordinator.pid):.0f} MiB", flush=True)

        joins = []
        for _ in range(rounds):
            began = time.monotonic()
            with connected(address) as session:
                joins.append(time.monotonic() - began)
                assert len(session.session.places) == count
        print(f"a client knows all places {statistics.median(joins) * 1000:.0f} ms after it connects")

        ways = {"labgrid-client": stock, "ours": ours, "protocol": bare, "ours in process": inside}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number in range(rounds):
            for way in ways if number % 2 == 0 else reversed(ways):
                tag = f"number={secrets.randbelow(count)}"
                times[way].append(ways[way](address, tag))
        medians = {
            way: [statistics.median(some) * 1000 for some in zip(*pairs, strict=True)] for way, pairs in times.items()
        }
        for way, (get, give) in medians.items():
            print(f"{way}: reserve and acquire {get:.0f} ms, give back {give:.0f} ms (median of {rounds})")
        ratio = medians["ours"][0] / medians["labgrid-client"][0]
        inner = medians["ours in process"][0] / medians["protocol"][0]
        print(f"ours over labgrid-client: {ratio:.2f} (bound {BOUND}); in process, over the protocol: {inner:.2f}")
        sys.stdout.flush()

        fill(address, count, coordinator.pid)
        print(load())
    return int(ratio > BOUND)


if __name__ == "__main__":
    if sys.argv[1:2] == ["hold"]:
        sys.exit(holder(*sys.argv[2:4]))
    given = [int(word) for word in sys.argv[1:3]]
    sys.exit(main(*given, *(200, 5)[len(given) :]))
