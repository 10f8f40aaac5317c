"""The plant's memory: words that the bench and the partition share, as an I/O board's registers would be.

Under QEMU it is the memory of an `ivshmem-plain` device. The host maps the same file: a word that either side writes
is there for the other at once. Words have 32 bits in little-endian order.
"""

from __future__ import annotations

import mmap
import os

from hil.errors import ConfigurationError, InfrastructureError

SIZE = 4096
"""Bytes."""

WORDS = SIZE // 4
INPUTS, OUTPUTS = 0, 16
"""The words of the channels AI0 and AO0; the next channels follow, one word each."""

SLOT = 2
"""The device's slot on the PCI bus."""

_BLOCK = f"0000:00:{SLOT:02x}.0/plant".encode()  # QEMU's name of this memory


class PlantMemory:
    """New memory of zeros, to be shared with one emulator through the descriptor `file`. Call `close`.

    All methods raise `InfrastructureError` after `close`, which comes with the machine's power-off.
    """

    def __init__(self) -> None:
        self.file = os.memfd_create("hil-plant")
        try:
            os.ftruncate(self.file, SIZE)
            self._map = mmap.mmap(self.file, SIZE)
        except BaseException:
            os.close(self.file)
            raise
        self._words = memoryview(self._map).cast("I")  # a word is written by one store
        self._open = True

    def arguments(self) -> list[str]:
        """Return QEMU's arguments for the device."""
        backend = f"memory-backend-file,id=plant,size={SIZE},mem-path=/proc/self/fd/{self.file},share=on"
        return ["-object", backend, "-device", f"ivshmem-plain,memdev=plant,master=on,bus=pcie.0,addr={SLOT}"]

    def read(self, word: int) -> int:
        """Return the value of a word, 0 to 2^32 - 1. Raises `ConfigurationError` for a word out of range."""
        return self._words[self._place(word)]

    def write(self, word: int, value: int) -> None:
        """Set a word. Raises `ConfigurationError` for a word or a value out of range."""
        if not 0 <= value < 1 << 32:
            raise ConfigurationError(f"{value} does not fit in a word of 32 bits", hint="give one from 0 to 2^32 - 1")
        self._words[self._place(word)] = value

    def content(self) -> bytes:
        """Return all bytes up to the last that is not 0, for a snapshot."""
        self._check_open()
        return self._map[:].rstrip(b"\0")

    def load(self, content: bytes) -> None:
        """Put back the `content` of a snapshot."""
        self._check_open()
        self._map[:] = content.ljust(SIZE, b"\0")

    def close(self) -> None:
        """Release the memory; the emulator keeps its own mapping."""
        if self._open:
            self._open = False
            self._words.release()
            self._map.close()
            os.close(self.file)

    @staticmethod
    def loadable(state: bytes) -> bytes:
        """Return a machine's saved `state` such that a new machine accepts it.

        QEMU compares where each shared memory is with where it was, before it restores the PCI registers that place
        this one: in a new machine it is at 0. In the state the address, 8 bytes, follows name and size of the memory
        (`ram_save_setup` in QEMU's migration/ram.c). Raises `InfrastructureError` if it is not found.
        """
        head = bytes([len(_BLOCK)]) + _BLOCK + SIZE.to_bytes(8, "big")
        before, found, after = state.partition(head)
        if not found or head in after:
            raise InfrastructureError("the plant's memory is not in QEMU's state as expected")
        return before + head + bytes(8) + after[8:]

    def _place(self, word: int) -> int:
        self._check_open()
        if not 0 <= word < WORDS:
            raise ConfigurationError(f"the plant's memory has no word {word}", hint=f"give one from 0 to {WORDS - 1}")
        return word

    def _check_open(self) -> None:
        if not self._open:
            raise InfrastructureError("the plant's memory is gone: the machine is off", hint="switch the board on")
