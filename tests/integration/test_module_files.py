"""Variables, directories and memory of modules on the board, as docs/runtime.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil import ConfigurationError, Preopen
from hil.wasm import Module
from hil.wasm.verdict import Failed, exited

MODULES = Path(__file__).resolve().parents[1] / "modules"
READ_ONLY = (
    "write ro/given x",
    "append ro/given x",
    "cut ro/given 0",
    "rm ro/given",
    "mv ro/given out/taken",
    "write ro/new x",
    "mkdir ro/new",
    "rmdir ro/below",
    "read ro/../out/kept",
    "read ../../init",
)
CHANGES = """
    env LEVEL  env EMPTY  env NONE  read ro/given  read ro/below/deep  ls fs-tests.dir
    mkdir fs-tests.dir/a  mkdir fs-tests.dir/a/b  write fs-tests.dir/a/b/c created  mv fs-tests.dir/a/b/c fs-tests.dir/a/d
    append fs-tests.dir/a/d !  write fs-tests.dir/cut 0123456789  cut fs-tests.dir/cut 4  rmdir fs-tests.dir/a/b
    write out/kept changed  rm out/gone  ls out
"""


@pytest.mark.board
def test_a_module_uses_variables_and_directories_and_its_files_come_back(runner, sample):
    files = sample("files.wasm")
    preopens = [
        Preopen("fs-tests.dir", writable=True),
        Preopen("ro", {"given": b"one", "below/deep": b"two"}),
        Preopen("out", {"kept": b"before", "gone": b"", "large": bytes(200_000)}, writable=True),
    ]
    given = {"env": {"LEVEL": "two words", "EMPTY": ""}, "files": {"top": b"zero"}, "preopens": preopens}
    run = runner.run(files, "read", "/top", *CHANGES.split(), **given)
    assert run.lines == [
        "read /top: zero",
        "env LEVEL: two words",
        "env EMPTY: ",
        "env NONE: not set",
        "read ro/given: one",
        "read ro/below/deep: two",
        "ls fs-tests.dir: ",
        *(
            "mkdir fs-tests.dir/a: ",
            "mkdir fs-tests.dir/a/b: ",
            "write fs-tests.dir/a/b/c: ",
            "mv fs-tests.dir/a/b/c: ",
        ),
        *(
            "append fs-tests.dir/a/d: ",
            "write fs-tests.dir/cut: ",
            "cut fs-tests.dir/cut: ",
            "rmdir fs-tests.dir/a/b: ",
        ),
        *("write out/kept: ", "rm out/gone: ", "ls out: kept large"),
    ]
    assert run.verdict == exited(0)
    assert run.files == {
        "fs-tests.dir/a/d": b"created!",
        "fs-tests.dir/cut": b"0123",
        "out/kept": b"changed",
        "out/large": bytes(200_000),
    }

    refused = runner.run(files, *" ".join(READ_ONLY).split(), "ls", "ro", preopens=preopens)
    assert refused.lines[-1] == "ls ro: below given"
    assert len(refused.lines) == len(READ_ONLY) + 1
    assert refused.verdict == exited(len(READ_ONLY)), "each has its error"
    assert set(refused.files) == {"out/kept", "out/gone", "out/large"}

    none = runner.run(files, "ls", "fs-tests.dir", "env", "LEVEL")
    assert (none.verdict, none.lines[1], none.files) == (exited(1), "env LEVEL: not set", {}), "the next gets nothing"


@pytest.mark.board
def test_too_much_is_refused_before_it_runs(runner, sample):
    with pytest.raises(ConfigurationError, match=r"files for the module have 67108865 bytes; .* at most 67108864"):
        runner.run(sample("files.wasm"), files={"x": bytes((64 << 20) + 1)})
    make = "mkdir -p /tmp/large && truncate -s 1000M /tmp/large/x"  # in it are no bytes
    done = runner.guest.run(f"{make};wasmedge_emit --dir=/tmp/large:/ /usr/bin/hello.wasm;rm -r /tmp/large")
    assert "the directories need 1024000 KiB of memory, the runner gives " in done.text
    assert "executing" not in done.text
    verdict = runner.run(Module.load(MODULES / "table-too-large.wasm")).verdict
    assert isinstance(verdict, Failed), str(verdict)
    assert verdict.reason.startswith("too much memory: its memories and tables need more than the ")
    assert runner.run(sample("hello.wasm")).good
