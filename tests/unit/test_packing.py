"""How a file is packed for a line, by the line's rate."""

from __future__ import annotations

import gzip
import lzma
import random

from hil.guest.packing import pack

WORDS = b" ".join(random.Random(1).choice([b"wasm", b"runner", b"partition", b"%d" % n]) for n in range(40_000))
NOISE = random.Random(2).randbytes(100_000)


def test_the_slower_the_line_the_smaller_the_file() -> None:
    forms = [pack(WORDS, xz=True, rate=rate) for rate in (None, 2_000, 700_000, 1e9)]
    assert [form.unpack for form in forms] == ["unxz", "unxz", "gunzip", "cat"]
    unpacked = [lzma.decompress(forms[0].data), gzip.decompress(forms[2].data), forms[3].data]
    assert unpacked == [WORDS] * 3


def test_a_guest_without_xz_gets_gzip() -> None:
    assert pack(WORDS, xz=False, rate=None).unpack == "gunzip"


def test_what_gets_no_smaller_is_sent_as_it_is() -> None:
    assert pack(NOISE, xz=True, rate=None).data == NOISE
    assert pack(b"", xz=True, rate=None).data == b""
