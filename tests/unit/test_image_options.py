"""QEMU's option syntax: what is quoted is split into the same again, and a path is quoted where its option needs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.image.options import filled, quoted, suboptions

ODD = Path("/a,b=c x/d,,e")


@given(st.lists(st.text(alphabet="a,=/ ", min_size=1).filter(lambda text: "," not in (text[0], text[-1])), min_size=1))
def test_what_is_quoted_is_split_into_the_same(parts: list[str]) -> None:
    assert suboptions(",".join(map(quoted, parts))) == parts


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-kernel", "{f}"], str(ODD)),
        (["--kernel", "{f}"], str(ODD)),
        (["-dtb", "{f}"], str(ODD)),
        (["-append", "a,b={f}"], f"a,b={ODD}"),
        (["-drive", "{f}"], "/a,,b=c x/d,,,,e"),
        (["-drive", "file={f}"], "file=/a,,b=c x/d,,,,e"),
        (["-drive", "file={f},if=none"], "file=/a,,b=c x/d,,,,e,if=none"),
        (["-machine", "virt,dtb={f}"], "virt,dtb=/a,,b=c x/d,,,,e"),
        (["-kernel", "x", "-device", "loader,file={f}"], "loader,file=/a,,b=c x/d,,,,e"),
        (["-blockdev", '{"driver": "file", "filename": "{f}"}'], json.dumps({"driver": "file", "filename": str(ODD)})),
    ],
)
def test_a_path_is_quoted_as_its_option_needs_it(arguments: list[str], expected: str) -> None:
    assert filled(arguments, {"f": ODD})[-1] == expected
