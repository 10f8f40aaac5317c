"""How long a module takes from the guest to the runner, by its size."""

import pytest

from hil import Module

pytestmark = [pytest.mark.board, pytest.mark.timing]

SIZES = {"64 KiB": 64 << 10, "256 KiB": 256 << 10, "1 MiB": 1 << 20, "4 MiB": 4 << 20}


def padded(module, size):
    """`module` with a custom section that makes it `size` bytes, which no runtime looks at."""
    content = b"\x03pad".ljust(size - len(module.data) - 5, b"\0")  # its name, then zeros
    length = bytes(len(content) >> shift & 0x7F | (0x80 if shift < 21 else 0) for shift in (0, 7, 14, 21))
    return module.data + b"\0" + length + content


@pytest.mark.parametrize("size", SIZES)
def test_transfer_takes_its_time_and_no_more(runner, sample, measure, size):
    module = Module.raw(f"{size}.wasm".replace(" ", ""), padded(sample("args.wasm"), SIZES[size]))
    assert len(module.data) == SIZES[size]
    measure.check(measure.transfers(runner, module, repeats=10))
