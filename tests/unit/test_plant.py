"""The plant's memory: words with limits, shared by descriptor, and its place in QEMU's state."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from hil.errors import ConfigurationError, InfrastructureError
from hil.qemu.plant import OUTPUTS, SIZE, WORDS, PlantMemory

HEAD = b"\x120000:00:02.0/plant" + SIZE.to_bytes(8, "big")


@pytest.fixture
def plant() -> Iterator[PlantMemory]:
    memory = PlantMemory()
    yield memory
    memory.close()


def test_words_are_shared_in_little_endian_order(plant: PlantMemory) -> None:
    plant.write(1, 0x01020304)
    assert os.pread(plant.file, 8, 0) == bytes(4) + b"\4\3\2\1"
    os.pwrite(plant.file, b"\xff\xff", 4 * OUTPUTS)
    assert plant.read(OUTPUTS) == 0xFFFF
    assert f"mem-path=/proc/self/fd/{plant.file}," in " ".join(plant.arguments())


def test_the_content_of_a_snapshot_replaces_all(plant: PlantMemory) -> None:
    plant.write(2, 0x00FF0000)
    content = plant.content()
    assert content == bytes(10) + b"\xff"
    plant.write(5, 1)
    plant.load(content)
    assert (plant.read(2), plant.read(5)) == (0x00FF0000, 0)


@pytest.mark.parametrize(("word", "value"), [(-1, 0), (WORDS, 0), (0, -1), (0, 1 << 32)])
def test_out_of_range(plant: PlantMemory, word: int, value: int) -> None:
    with pytest.raises(ConfigurationError, match=str(value or word)):
        plant.write(word, value)


def test_a_machine_that_is_off() -> None:
    plant = PlantMemory()
    plant.close()
    plant.close()
    for use in (lambda: plant.read(0), lambda: plant.write(0, 1), plant.content, lambda: plant.load(b"")):
        with pytest.raises(InfrastructureError, match="the machine is off"):
            use()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(plant.file)


def test_the_address_in_a_state_is_cleared(plant: PlantMemory) -> None:
    address = 0x10000000.to_bytes(8, "big")
    assert plant.loadable(b"before" + HEAD + address + b"after") == b"before" + HEAD + bytes(8) + b"after"


@pytest.mark.parametrize("state", [b"", b"another state", 2 * (HEAD + bytes(8))])
def test_an_unexpected_state(plant: PlantMemory, state: bytes) -> None:
    with pytest.raises(InfrastructureError, match="not in QEMU's state"):
        plant.loadable(state)
