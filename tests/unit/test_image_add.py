"""Adding an image: what is in a `simulate`, what is an image, what an archive may hold, and what is left behind."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import re
import shlex
import struct
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from support import QUICK, STUB, STUB_BOARD, STUB_IMAGE, Wire, arrived

from hil.board.board import Board
from hil.board.stages import walk
from hil.cli import main
from hil.errors import BootError, ConfigurationError, HilError, InfrastructureError
from hil.host.directories import data_root
from hil.host.progress import Progress
from hil.host.project import packaged
from hil.image import elf, ensure, machine_options, manifest, simulate, store, upstream
from hil.image.add import add
from hil.image.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tests" / "recordings"
KERNEL = "images/capdl-loader-image-arm-qemu-arm-virt"
MACHINE = "virt,virtualization=on,highmem=off,secure=off"
COMMAND = f"qemu-system-aarch64 -machine {MACHINE} -cpu cortex-a53 -nographic  -m size=2048  -kernel {KERNEL}"
ARGUMENTS = ("-machine", MACHINE, "-cpu", "cortex-a53", "-m", "size=2048", "-kernel", "{kernel}")

SHELL = f"#!/bin/sh\nset -e\n# starts qemu-system-aarch64\n{COMMAND}\n"
DEFAULTS = {
    "qemu_sim_binary": "qemu-system-aarch64",
    "qemu_sim_machine": MACHINE,
    "qemu_sim_cpu": "cortex-a53",
    "qemu_sim_cpu_opt": "",
    "qemu_sim_graphic_opt": "-nographic",
    "qemu_sim_serial_opt": "",
    "qemu_sim_mem_size": "2048",
    "qemu_sim_args": "",
    "qemu_sim_kernel_file": "",
    "qemu_sim_initrd_file": KERNEL,
    "qemu_sim_extra_args": "",
    "qemu_sim_extra_cpu_opts": "",
}


def python(**changes: Any) -> str:
    """A script like those of seL4's tooling: the parts of the command are defaults of its options."""
    options = "".join(
        f"    parser.add_argument('--{dest}', dest=\"{dest}\", type=str,\n                        default={value!r})\n"
        for dest, value in (DEFAULTS | changes).items()
    )
    return (
        "#!/usr/bin/env python3\nimport argparse, subprocess\ndef parse_args():\n    parser = argparse.ArgumentParser()\n"
        "    parser.add_argument('-d', dest='qemu_gdbserver', action='store_true', default=False)\n"
        f"{options}    return parser.parse_args()\nraise SystemExit('this script must not be run')\n"
    )


def image_file(
    bits: int = 64, machine: int = 183, kind: int = 2, what: int = 1, content: bytes = bytes(100), at: int = 0
) -> bytes:
    """The least that is an executable: a header, and one segment with `content`, at address `at`."""
    size = len(content)
    if bits == 64:
        head = struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, at, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        program = struct.pack("<IIQQQQQQ", what, 5, 120, at, at, size, size, 0)
    else:
        head = struct.pack("<HHIIIIIHHHHHH", kind, machine, 1, at, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        program = struct.pack("<IIIIIIII", what, 84, at, at, size, size, 5, 0)
    return b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9) + head + program + content


IMAGE = image_file()


def tree(directory: Path, script: str | bytes | None = SHELL, image: bytes | None = IMAGE) -> Path:
    """A build directory."""
    (directory / "images").mkdir(parents=True)
    if script is not None:
        (directory / "simulate").write_bytes(script.encode() if isinstance(script, str) else script)
    if image is not None:
        (directory / KERNEL).write_bytes(image)
    return directory


def member(name: str, data: bytes = b"", **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


BUILD = (member("simulate", SHELL.encode()), member("images", type=tarfile.DIRTYPE), member(KERNEL, IMAGE))


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info, data in members or BUILD:
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data directory, empty."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "hil"


@pytest.fixture
def sel4(data: Path) -> Manifest:
    return manifest.find("wasmedge-sel4")


def refused(path: Path, described: Manifest, **options: Any) -> ConfigurationError:
    """The error of an image that cannot be added, after which nothing may be there."""
    with pytest.raises(ConfigurationError) as caught:
        add(path, described, progress=Progress(), **options)
    assert store.open(described) is None
    left = [found for found in data_root().rglob("*") if found.name != "lock"]
    assert not left, "nothing half-added may stay"
    assert caught.value.hint
    return caught.value


# ---- the command line in `simulate`


@pytest.mark.parametrize(
    "script",
    [
        SHELL,
        python(),
        python(qemu_sim_serial_opt="-serial mon:stdio"),
        COMMAND,
        SHELL.replace("-cpu", "\\\n   -cpu").replace("-m size", "\\\r\n -m size"),
        f'#!/bin/bash\nexec {COMMAND} "$@"\n',
        SHELL.replace("qemu-system-aarch64 -", "/opt/qemu/bin/qemu-system-aarch64 -serial mon:stdio -monitor none -"),
        SHELL.replace(f"-kernel {KERNEL}", f"--kernel /home/builder/sel4/build/{KERNEL} -display none"),
        f'QEMU="qemu-system-aarch64" # which\nIMAGE="./{KERNEL}"\nV=$(date)\n'
        f'echo "QEMU boots $IMAGE"\n"${{QEMU}}" {COMMAND.split(" ", 1)[1].replace(KERNEL, "$IMAGE")}\n',
    ],
    ids=["shell", "python", "serial", "bare", "continued", "exec", "console", "absolute", "variables"],
)
def test_a_simulate_is_read_without_being_run(script: str) -> None:
    command = simulate.read(script.encode(), "simulate")
    assert command.emulator == "qemu-system-aarch64"
    assert command.arguments == ARGUMENTS
    assert command.files == {"kernel": KERNEL}


def test_all_parts_of_a_python_script_are_taken() -> None:
    script = python(
        qemu_sim_cpu_opt=",+lm",
        qemu_sim_extra_cpu_opts="pmu=off",
        qemu_sim_extra_args="-smp 4 -append 'root=/dev/ram  quiet'",
        qemu_sim_kernel_file="images/kernel",
    )
    command = simulate.read(script.encode(), "simulate")
    assert command.arguments == (
        *("-machine", MACHINE, "-cpu", "cortex-a53,+lm,pmu=off", "-m", "size=2048"),
        *("-kernel", "{kernel}", "-initrd", "{initrd}", "-smp", "4", "-append", "root=/dev/ram  quiet"),
    )
    assert command.files == {"kernel": "images/kernel", "initrd": KERNEL}


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (b"", ""),
        (b"\xff\xfe\0", ""),
        (b"#!/bin/sh\necho Unsupported platform or architecture for simulation && exit 1\n", "QEMU"),
        (f"{COMMAND}\n{COMMAND}\n".encode(), "2"),
        (python(qemu_sim_binary="@QEMU_SIM_BINARY@").encode(), "@QEMU_SIM_BINARY@"),
        (python(qemu_sim_initrd_file="").encode(), "qemu_sim_initrd_file"),
        (python(disk_image="disk.img").encode(), "disk_image"),
        (python().replace("'2048'", "os.environ['M']").encode(), "default=os.environ['M']"),
        (b"#!/usr/bin/python3\ndef (:\n", "Python"),
        (b"#!/usr/bin/python3\n" + b"(" * 100_000, "Python"),
        (b"#!/usr/bin/python3\nprint('hello')\n", "qemu_sim_binary"),
        (f"{COMMAND} -drive file=/dev/sda\n".encode(), "-drive"),
        (f"{COMMAND} -netdev tap,script=/tmp/x\n".encode(), "-netdev"),
        (f"{COMMAND} -global a.b=/etc/passwd\n".encode(), "-global a.b=/etc/passwd"),
        (f"{COMMAND} | tee log\n".encode(), "'|'"),
        (f"{COMMAND} -append $(cat x)\n".encode(), "'('"),
        (f"{COMMAND} -append `id`\n".encode(), "`id`"),
        (f"{COMMAND} -append $WHAT\n".encode(), "$WHAT"),
        (f"{COMMAND} -append 'open\n".encode(), "quot"),
        (f"{COMMAND} -append\n".encode(), "-append"),
        (f"{COMMAND} -append '{{kernel}}'\n".encode(), "{kernel}"),
        (f"{COMMAND} -kernel x\n".encode(), "-kernel"),
        (f"{COMMAND} -serial null -serial mon:stdio\n".encode(), "console"),
        (b"qemu-system-aarch64 -machine virt\n", "-kernel"),
        (b"qemu-system-aarch64 -kernel x\n", "-machine"),
        (b"qemu-system-aarch64 -machine virt -kernel ../../x\n", "-kernel ../../x"),
    ],
)
def test_what_is_not_understood_is_named(script: bytes, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        simulate.read(script, "build: simulate")
    assert caught.value.message.startswith("build: simulate: ")
    assert told in caught.value.message
    assert "--arguments '" in (caught.value.hint or "")


# each reaches a file, a program or a device of the user's, or might
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("-machine virt,dumpdtb=F", "dumpdtb"),
        ("-machine dumpdtb=F,type=virt", "dumpdtb"),
        ("--machine virt,secure=off,dumpdtb=F", "dumpdtb"),
        ("-M virt,dumpdtb=F", "dumpdtb"),
        ("-M virt,,dumpdtb=F", "dumpdtb"),
        ("-M virt,firmware=F", "firmware"),
        ("-M virt,kernel=F", "kernel"),
        ("-M virt,initrd=F", "initrd"),
        ("-M virt,dtb=F", "dtb"),
        ("-M virt,memory-backend=m", "memory-backend"),
        ("-M virt,pflash0=F", "pflash0"),
        ("-M virt,accel=kvm", "kvm"),
        ("-M virt,its=F", "'F'"),
        ("-M none/F", "none/F"),
        ("-M ''", "-M"),
        ("-icount shift=1,rr=record,rrfile=F", "rr"),
        ("-icount 1,rrfile=F", "rrfile"),
        ("-icount shift=1,rrsnapshot=F", "rrsnapshot"),
        ("-icount shift=F", "'F'"),
        ("-global virtio-blk-device.drive=F", "virtio-blk-device.drive"),
        ("-global driver=loader,property=file,value=F", "driver"),
        ("-global migration.tls-creds=F", "migration.tls-creds"),
        ("-global virtio-mmio.force-legacy=F", "'F'"),
        ("-cpu max,a=/F", "/F"),
        ("-cpu max,a/b=on", "a/b"),
        ("-cpu ../F", "../F"),
        ("-smp 2,file=F", "file"),
        ("-smp F", "'F'"),
        ("-m 2G,mem-path=F", "mem-path"),
        ("-m size=F", "'F'"),
        ("-accel kvm", "kvm"),
        ("-accel tcg,dirty-ring-size=1", "dirty-ring-size"),
        ("-accel qtest", "qtest"),
        ("-rtc base=utc,file=F", "file"),
        ("-rtc base=/F", "/F"),
        ("-device loader,file=F", "-device"),
        ("-readconfig F", "-readconfig"),
        ("-writeconfig F", "-writeconfig"),
        ("-D F", "-D"),
        ("-pidfile F", "-pidfile"),
        ("-plugin F", "-plugin"),
        ("-trace file=F", "-trace"),
        ("-chardev file,id=a,path=F", "-chardev"),
        ("-object memory-backend-file,id=a,size=1,mem-path=F", "-object"),
        ("-mem-path F", "-mem-path"),
        ("-bios F", "-bios"),
        ("-semihosting-config enable=on", "-semihosting-config"),
        ("-dump-vmstate F", "-dump-vmstate"),
        ("-run-with chroot=F", "-run-with"),
        ("-daemonize", "-daemonize"),
        ("-gdb tcp::1", "-gdb"),
        ("@F", "@F"),
        ("F.img", "F.img"),
    ],
)
@pytest.mark.parametrize("kind", ["shell", "python"])
def test_a_strangers_script_may_only_describe_a_machine(options: str, named: str, kind: str) -> None:
    script = f"{COMMAND} {options}\n" if kind == "shell" else python(qemu_sim_extra_args=options)
    with pytest.raises(ConfigurationError) as caught:
        simulate.read(script.encode(), "build: simulate")
    assert named in caught.value.message
    assert "--arguments '" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "options",
    [
        "-M virt-7.2,gic-version=max,highmem=off,its=on,iommu=none,accel=tcg,virtualization=true",
        "-machine type=virt,secure=off,dtb-randomness=off",
        "-machine virt,secure",
        "-cpu cortex-a57,pmu=off,+sve,-lm,sve-max-vq=4",
        "-m 1G,slots=2,maxmem=4G",
        "-m 2048",
        "-smp 2,sockets=1,cores=2,threads=1,maxcpus=2",
        "-accel tcg,thread=single,tb-size=64,split-wx=off",
        "-icount shift=auto,sleep=off,align=off",
        "-icount 1",
        "-rtc base=2026-01-01T00:00:00,clock=vm,driftfix=none",
        "-global virtio-mmio.force-legacy=false",
        "-append 'console=ttyAMA0,115200 root=/dev/ram init=/bin/sh dumpdtb=x'",
        "-no-reboot -nodefaults",
    ],
)
def test_what_only_describes_a_machine_is_taken(options: str) -> None:
    command = simulate.read(f"{COMMAND} {options}\n".encode(), "simulate")
    assert command.arguments == (*ARGUMENTS, *shlex.split(options))
    machine_options.check(command.arguments, "added.json", "")


def test_an_archive_cannot_write_to_the_users_files(tmp_path: Path, sel4: Manifest) -> None:
    victim = tmp_path / "notes,of=mine"
    script = SHELL.replace(MACHINE, f"{MACHINE},dumpdtb={str(victim).replace(',', ',,')}")
    evil = archive(tmp_path / "a.tgz", member("simulate", script.encode()), *BUILD[1:])
    assert "dumpdtb" in refused(evil, sel4).message
    assert not victim.exists()


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_was_added_is_checked_each_time_it_is_read(tmp_path: Path, sel4: Manifest, by_hand: bool) -> None:
    """It may have been added before options were checked, or come from elsewhere."""
    arguments = " ".join(ARGUMENTS).replace("{kernel}", KERNEL) if by_hand else None
    image = add(tree(tmp_path / "build"), sel4, arguments=arguments, progress=Progress())
    path = image.directory / store.ADDED
    record = json.loads(path.read_text())
    record["arguments"] += ["-M", "virt,dumpdtb=x"]
    path.write_text(json.dumps(record))
    if by_hand:  # the user's own words
        assert store.open(sel4) is not None
    else:
        with pytest.raises(ConfigurationError, match="dumpdtb"):
            store.open(sel4)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "0" * 64},
        {"files": {"../kernel": {"sha256": "0" * 64, "size": 1}}},
        {"files": {"kernel": {"sha256": "x", "size": 1}}},
        {"files": {"kernel": {"sha256": "0" * 64, "size": len(IMAGE)}}},
        {"files": []},
        {"arguments": "-M virt"},
        {"arguments": [1]},
        {"origin": 1},
    ],
)
def test_a_record_that_was_changed_is_no_image(tmp_path: Path, sel4: Manifest, change: dict[str, Any]) -> None:
    path = add(tree(tmp_path / "build"), sel4, progress=Progress()).directory / store.ADDED
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert store.open(sel4) is None


# what a shell or Python take for more than text
SHARP = st.sampled_from(
    ["'", '"', "\\", "\n", "\0", "$", "${", "`", "(", "|", "#", "=", "@a@", "-kernel ", "add_argument("]
)


@given(st.sampled_from([SHELL, python()]), st.lists(st.tuples(st.integers(0, 3000), SHARP | st.text()), max_size=5))
def test_any_script_is_understood_or_refused(script: str, intruders: list[tuple[int, str]]) -> None:
    for place, text in intruders:
        script = script[:place] + text + script[place:]
    with contextlib.suppress(ConfigurationError):
        command = simulate.read(script.encode("utf-8", "replace"), "simulate")
        assert command.emulator.startswith("qemu-system-")
        assert "{kernel}" in command.arguments


def test_arguments_by_hand_are_taken_as_they_are() -> None:
    words = f"-M virt --foo 'a b' -device x,y=/z -nographic -kernel {KERNEL}"
    expected = ("-M", "virt", "--foo", "a b", "-device", "x,y=/z", "-kernel", "{kernel}")
    assert simulate.by_hand(words, "qemu-system-aarch64").arguments == expected
    command = simulate.by_hand(f"qemu-system-arm {words}", "qemu-system-aarch64")
    assert (command.emulator, command.arguments) == ("qemu-system-arm", expected)
    for wrong, told in (("", "-machine"), ("-M virt", "-kernel"), ("sh -c x", "'sh'")):
        with pytest.raises(ConfigurationError, match=told):
            simulate.by_hand(wrong, "qemu-system-aarch64")


# ---- the image


def test_a_whole_executable_for_the_machine_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(IMAGE)
    elf.check(path, "qemu-system-aarch64", "image")
    path.write_bytes(image_file(32, 40))
    elf.check(path, "qemu-system-arm", "image")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "ELF"),
        (b"MZ\x90\0" * 100, "4d 5a 90 00"),
        (IMAGE[:10], "end"),
        (IMAGE[:50], "end"),
        (IMAGE[:100], "end"),
        (IMAGE[:-1], "end"),
        (image_file(machine=62), "x86-64"),
        (image_file(32, 40), "32 bits"),
        (image_file(machine=4711), "4711"),
        (image_file(kind=1), "executable"),
        (image_file(kind=3), "executable"),
        (image_file(what=4), "load"),
        (IMAGE[:5] + b"\2" + IMAGE[6:], "little-endian"),
        (IMAGE[:4] + b"\7" + IMAGE[5:], "little-endian"),
        (IMAGE[:40] + struct.pack("<Q", 1 << 60) + IMAGE[48:], "end"),
        (IMAGE[:32] + struct.pack("<Q", 1 << 60) + IMAGE[40:], "end"),
    ],
)
def test_any_other_file_is_refused(tmp_path: Path, sel4: Manifest, content: bytes, told: str) -> None:
    error = refused(tree(tmp_path / "build", image=content), sel4)
    assert error.message.startswith(f"{tmp_path}/build: {KERNEL}: ")
    assert told in error.message


# ---- adding


@pytest.mark.parametrize(
    "given",
    [
        lambda path: tree(path / "build"),
        lambda path: tree(path / "build", python()),
        lambda path: tree(path / "above" / "build").parent,
        lambda path: archive(path / "build.tar.gz"),
        lambda path: archive(path / "build.tar.xz", mode="w:xz"),
        lambda path: archive(path / "build.tar", mode="w"),
        lambda path: archive(path / "b.tgz", *(member(f"./{info.name}", data, type=info.type) for info, data in BUILD)),
        lambda path: archive(
            path / "b.tgz", *(member(f"wasmedge/{info.name}", data, type=info.type) for info, data in BUILD)
        ),
    ],
    ids=["tree", "python", "above", "archive", "xz", "tar", "dotted", "deeper"],
)
def test_an_image_is_added(tmp_path: Path, sel4: Manifest, data: Path, given: Callable[[Path], Path]) -> None:
    path = given(tmp_path)
    image = add(path, sel4, progress=Progress())
    assert image.directory == data / "images" / "wasmedge-sel4"
    assert image.command() == ["qemu-system-aarch64", *ARGUMENTS[:-1], str(image.files["kernel"])]
    assert image.files["kernel"].read_bytes() == IMAGE
    assert image.manifest.stages == sel4.stages
    store.verify(image)
    record = json.loads((image.directory / store.ADDED).read_text())
    assert record["files"]["kernel"]["sha256"] == hashlib.sha256(IMAGE).hexdigest()
    assert record["origin"]["path"] == str(path)
    assert record["origin"]["sha256"] == (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None)
    assert KERNEL in record["origin"]["command"]
    assert ensure(sel4, Progress()).digest == image.digest, "any later user finds it"
    assert sorted(found.name for found in data.iterdir()) == ["images", "lock"]


def test_the_source_may_go_and_change_afterwards(tmp_path: Path, sel4: Manifest) -> None:
    build = tree(tmp_path / "build")
    image = add(build, sel4, progress=Progress())
    with (build / KERNEL).open("r+b") as file:  # as a build in place does
        file.write(b"x" * 100)
    store.verify(image)


def test_another_image_replaces_it_only_by_force(tmp_path: Path, sel4: Manifest) -> None:
    first = add(tree(tmp_path / "one"), sel4, progress=Progress())
    other = tree(tmp_path / "two", image=image_file(content=bytes(200)))
    with pytest.raises(ConfigurationError, match="wasmedge-sel4") as caught:
        add(other, sel4, progress=Progress())
    assert "--force" in (caught.value.hint or "")
    assert store.open(sel4).digest == first.digest  # type: ignore[union-attr]
    with pytest.raises(ConfigurationError, match="simulate"):
        add(tmp_path / "data", sel4, force=True, progress=Progress())
    assert store.open(sel4).digest == first.digest, "a failure leaves the old one"  # type: ignore[union-attr]
    second = add(other, sel4, force=True, progress=Progress())
    assert second.digest != first.digest
    assert store.open(sel4).digest == second.digest  # type: ignore[union-attr]


def test_a_damaged_one_is_not_there_and_a_changed_one_is_told(tmp_path: Path, sel4: Manifest) -> None:
    image = add(tree(tmp_path / "build"), sel4, progress=Progress())
    image.files["kernel"].write_bytes(IMAGE[:-1] + b"!")
    with pytest.raises(InfrastructureError, match="kernel") as caught:
        store.verify(image)
    assert "--force" in (caught.value.hint or "")
    assert "hil image add PATH --name wasmedge-sel4" in (caught.value.hint or "")
    image.files["kernel"].write_bytes(IMAGE[:-1])
    assert store.open(sel4) is None
    add(tree(tmp_path / "again"), sel4, progress=Progress())
    (image.directory / store.ADDED).write_text('{"files": 1}')
    assert store.open(sel4) is None


def test_a_build_without_a_script_needs_arguments(tmp_path: Path, sel4: Manifest) -> None:
    build = tree(tmp_path / "build", script=None)
    assert "--arguments" in (refused(build, sel4).hint or "")
    image = add(build, sel4, arguments=f"-M virt,virtualization=on -cpu max -kernel {KERNEL}", progress=Progress())
    assert image.command()[1:3] == ["-M", "virt,virtualization=on"]
    assert image.record["origin"]["simulate"] is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda path: path / "nowhere", "nowhere"),
        (lambda path: path / ("a" * 300), "aaa"),
        (lambda path: path / "a\0b", "b"),
        (lambda path: os.mkfifo(path / "fifo") or path / "fifo", "fifo"),
        (lambda path: tree(path / "build", script=None), "simulate"),
        (lambda path: tree(path / "build", image=None), KERNEL),
        (lambda path: tree(path / "a" / "b" / "c" / "build").parents[1], "simulate"),
        (lambda path: tree(tree(path / "s" / "one").parent / "two").parent, "one, two"),
        (lambda path: tree(path / "build", "#!/bin/sh\n" + "#" * simulate.LARGEST), "simulate"),
        (lambda path: tree(path / "b", SHELL.replace("aarch64", "arm")), "qemu-system-arm"),
        (lambda path: tree(path / "build") / KERNEL, KERNEL),
        (lambda path: tree(path / "build") / "simulate", "23 21"),
        (lambda path: archive(path / "a.tgz", BUILD[0]), KERNEL),
        (lambda path: archive(path / "a.tgz", *BUILD[1:]), "simulate"),
    ],
    ids=[
        "nowhere",
        "too long",
        "nul",
        "fifo",
        "no script",
        "no image",
        "too deep",
        "two",
        "large",
        "arm",
        "elf",
        "script",
        "cut",
        "headless",
    ],
)
def test_a_wrong_path_is_told(tmp_path: Path, sel4: Manifest, given: Callable[[Path], Path], told: str) -> None:
    assert told in refused(given(tmp_path), sel4).message


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


@pytest.mark.parametrize(
    ("evil", "told"),
    [
        (member("../../.profile", b"x"), "../../.profile"),
        (member("images/../../x", b"x"), "images/../../x"),
        (member("/etc/passwd", b"x"), "/etc/passwd"),
        (link("images/l", "/etc/passwd"), "/etc/passwd"),
        (link("images/l", "../../x"), "../../x"),
        (link("l", "../x", tarfile.LNKTYPE), "../x"),
        (link("images/l", "../x", tarfile.LNKTYPE), "../x"),
        (member("images/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "images/null"),
        (member("images/sda", type=tarfile.BLKTYPE), "images/"),
        (member("images/pipe", type=tarfile.FIFOTYPE), "images/"),
    ],
)
def test_a_hostile_archive_is_refused_as_a_whole(
    tmp_path: Path, sel4: Manifest, evil: tuple[tarfile.TarInfo, bytes], told: str
) -> None:
    error = refused(archive(tmp_path / "a.tgz", *BUILD, evil), sel4)
    assert told in error.message


def test_links_within_an_archive_harm_nobody(tmp_path: Path, sel4: Manifest) -> None:
    inside = link("images/latest", "../simulate"), link("images/same", "simulate", tarfile.LNKTYPE)
    assert add(archive(tmp_path / "a.tgz", *BUILD, *inside), sel4, progress=Progress())


def test_an_archive_that_would_fill_the_disk_is_refused_at_once(tmp_path: Path, sel4: Manifest) -> None:
    path = tmp_path / "bomb.tgz"
    info, _ = member("images/zeros")
    info.size = upstream.LARGEST + 1
    with gzip.open(path, "wb") as file:
        file.write(info.tobuf() + bytes(1 << 20))
    begin = time.monotonic()
    assert "2048 MiB" in refused(path, sel4).message
    assert time.monotonic() - begin < QUICK / 2


def test_so_is_one_whose_headers_or_number_of_files_would(
    tmp_path: Path, sel4: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    path = tmp_path / "header.tgz"
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf() + bytes(1 << 16))
    assert "2048 MiB" in refused(path, sel4).message
    monkeypatch.setattr(upstream, "MEMBERS", 2)
    assert " 2 files" in refused(archive(tmp_path / "a.tgz"), sel4).message
    monkeypatch.setattr(upstream, "MEMBERS", 100)
    monkeypatch.setattr(upstream, "LARGEST", 1 << 20)
    with gzip.open(path, "wb") as file:
        file.write(archive(tmp_path / "a.tar", mode="w").read_bytes() + bytes(8 << 20))
    assert " 1 MiB" in refused(path, sel4).message, "also behind the end of the archive"


def crafted(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header whose size may be negative, as base-256 has it."""
    text = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    text[156:157] = kind
    text[124:136] = size.to_bytes(12, "big", signed=True)
    text[124] |= 0x80
    text[148:156] = b" " * 8
    text[148:156] = f"{sum(text):06o}\0 ".encode()
    return bytes(text)


@pytest.mark.parametrize(
    "evil",
    [
        crafted(-512),
        crafted(-1024, tarfile.XHDTYPE),
        crafted(-1024, tarfile.GNUTYPE_LONGNAME),
        (crafted(512, tarfile.XHDTYPE) + b"12 comment=x\n".ljust(512, b"\0")) * 2000,
        crafted(1 << 20, tarfile.XHDTYPE) + b"1" * (1 << 20),
    ],
    ids=["negative", "negative pax", "negative name", "pax chain", "digits"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_headers_that_lead_nowhere_are_refused_soon(tmp_path: Path, sel4: Manifest, evil: bytes, packed: bool) -> None:
    begin = time.thread_time()
    content = evil + bytes(1024)
    path = tmp_path / "a.tar"
    path.write_bytes(gzip.compress(content) if packed else content)
    refused(path, sel4)
    assert time.thread_time() - begin < QUICK


def test_what_follows_an_archive_has_an_end(tmp_path: Path, sel4: Manifest) -> None:
    path = archive(tmp_path / "a.tar", mode="w")
    with path.open("r+b") as file:
        file.truncate(5 << 30)  # sparse: it takes no room
    begin = time.thread_time()
    assert "2048 MiB" in refused(path, sel4).message
    assert time.thread_time() - begin < QUICK


@pytest.mark.parametrize("keep", [0, 10, 60, -200, -4])
def test_a_cut_archive_is_told(tmp_path: Path, sel4: Manifest, keep: int) -> None:
    noise = hashlib.shake_256(b"").digest(5000)  # does not compress
    path = archive(tmp_path / "a.tgz", *BUILD, member("images/noise", noise))
    path.write_bytes(path.read_bytes()[:keep] if keep else b"")
    assert str(path) in refused(path, sel4).message


def test_a_flipped_bit_in_an_archive_is_told(tmp_path: Path, sel4: Manifest) -> None:
    path = archive(tmp_path / "a.tar", mode="w")
    content = bytearray(gzip.compress(path.read_bytes(), 0))
    content[content.index(IMAGE) + 150] ^= 1  # in the image's contents
    path.write_bytes(content)
    assert "CRC" in refused(path, sel4).message


@given(st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=20)), min_size=1, max_size=5))
def test_any_archive_is_read_or_refused(intruders: list[tuple[int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = archive(Path(directory) / "a.tar", mode="w")
        content = path.read_bytes()
        for place, data in intruders:
            content = content[:place] + data + content[place + len(data) :]
        path.write_bytes(content)
        with contextlib.suppress(ConfigurationError):
            opened = upstream.open(path)
            for name in ("simulate", KERNEL):
                size = opened.size(name)
                assert size is None or sum(map(len, opened.blocks(name))) == size


def test_a_full_disk_is_not_the_user_s_fault(
    tmp_path: Path, sel4: Manifest, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tree(tmp_path / "build")

    class Full:
        def step(self, name: str, total: float | None = None) -> None:
            pass

        def advance(self, done: float) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InfrastructureError, match="full") as caught:
        add(build, sel4, progress=Full())
    assert "XDG_DATA_HOME" in (caught.value.hint or "")
    assert sorted(found.name for found in data.rglob("*")) == ["lock"]
    monkeypatch.setattr("hil.host.disk.shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(InfrastructureError, match="10 MiB|0 MiB"):
        add(build, sel4, progress=Progress())
    assert sorted(found.name for found in data.rglob("*")) == ["lock"]


def test_ctrl_c_leaves_nothing(tmp_path: Path, sel4: Manifest, data: Path) -> None:
    class Impatient:
        def step(self, name: str, total: float | None = None) -> None:
            pass

        def advance(self, done: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(tree(tmp_path / "build"), sel4, progress=Impatient())
    assert sorted(found.name for found in data.rglob("*")) == ["lock"]


def test_what_a_killed_one_left_is_cleared(tmp_path: Path, sel4: Manifest, data: Path) -> None:
    (data / "staging" / "image").mkdir(parents=True)
    (data / "staging" / "image" / "kernel").touch()
    add(tree(tmp_path / "build"), sel4, progress=Progress())
    assert not (data / "staging").exists()


def test_the_second_of_two_at_once_waits_and_then_finds_it(tmp_path: Path, sel4: Manifest) -> None:
    copying, waiting = threading.Event(), threading.Event()
    outcomes: dict[str, object] = {}

    class First(Progress):
        def step(self, name: str, total: float | None = None) -> None:
            if name.startswith("copying"):
                copying.set()
                assert waiting.wait(QUICK)

    class Second(Progress):
        def step(self, name: str, total: float | None = None) -> None:
            if name == "waiting for another process to make it":
                waiting.set()

    def run(name: str, progress: Progress) -> None:
        try:
            outcomes[name] = add(tree(tmp_path / name), sel4, progress=progress)
        except HilError as error:
            outcomes[name] = error

    threads = [threading.Thread(target=run, args=pair) for pair in (("one", First()), ("two", Second()))]
    threads[0].start()
    assert copying.wait(QUICK)
    threads[1].start()
    for thread in threads:
        thread.join(QUICK)
    assert isinstance(outcomes["one"], store.Image)
    assert "wasmedge-sel4" in str(outcomes["two"])


# ---- the manifest, and the command line


def test_the_manifest_holds_facts_and_nothing_else(sel4: Manifest) -> None:
    assert sel4.add == "camkes"
    assert sel4.machine.arguments == ()
    assert sel4.agent.seal_option is sel4.agent.limit_option is sel4.agent.hello_option is None
    assert sel4.console.login in [stage.marker for stage in sel4.stages]
    with pytest.raises(ConfigurationError, match="wasmedge-sel4") as caught:
        ensure(sel4, Progress())
    assert "hil image add PATH --name wasmedge-sel4" in (caught.value.hint or "")
    with pytest.raises(ConfigurationError, match="reference"):
        add(Path(), manifest.find("reference"), progress=Progress())


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('add = "camkes"', 'add = "camkes"\nbuild = "reference"', "build"),
        ('add = "camkes"', "", "build"),
        ('add = "camkes"', 'add = "other"', "add: "),
        ("[machine]", '[machine]\narguments = ["-M", "virt"]', "machine.arguments"),
        ('add = "camkes"', 'build = "reference"', "machine.arguments"),
    ],
)
def test_a_manifest_says_one_way_how_its_image_comes(tmp_path: Path, before: str, after: str, told: str) -> None:
    text = (packaged("images") / "wasmedge-sel4.toml").read_text()
    assert before in text
    (tmp_path / "x.toml").write_text(text.replace(before, after, 1))
    with pytest.raises(ConfigurationError) as caught:
        manifest.load(tmp_path / "x.toml")
    assert told in caught.value.message


def recording(name: str) -> bytes:
    path = RECORDINGS / name
    return path.read_bytes() if path.exists() else gzip.decompress((RECORDINGS / f"{name}.gz").read_bytes())


def play(wire: Wire, name: str) -> None:
    """Let a recording come in whole on a line that stays open."""
    data = recording(name)
    wire.far.sendall(data)
    arrived(wire.console, len(data))


def test_its_stages_are_those_of_the_recorded_boot(wire: Wire, sel4: Manifest) -> None:
    play(wire, "boot.raw")
    reached = walk(wire.console, sel4.stages, power_on_ns=0)
    assert [stage.name for stage in reached] == [stage.name for stage in sel4.stages]
    assert len(reached) == 10
    login = reached[-2].offset
    assert wire.console.transcript.read(login - 17, login + 8) == b"buildroot login: root\r\n# "


def test_a_recorded_flood_is_told_by_its_stages(wire: Wire, sel4: Manifest) -> None:
    quick = [stage.model_copy(update={"limit": 0.2}) for stage in sel4.stages]
    play(wire, "boot-hang-vppi-flood.raw")
    with pytest.raises(BootError) as caught:
        walk(wire.console, quick, power_on_ns=0)
    assert caught.value.stage == "guest kernel"
    assert "VMM" in caught.value.message
    assert "'vm_vppi_event_handler@vm.c:97 VPPI IRQ 27 dropped" in caught.value.message


def test_its_foreign_lines_are_those_of_the_others(sel4: Manifest) -> None:
    foreign = re.compile("|".join(f"(?:{pattern})" for pattern in sel4.console.foreign))
    lines = recording("boot.raw").decode("utf-8", "replace").replace("\r", "").split("\n")
    others = [line for line in lines if foreign.fullmatch(line)]
    mine = [line for line in lines if line and not foreign.fullmatch(line)]
    assert len(others) > 130
    assert any("seL4(CPU 0)" in line for line in others)
    assert any("install_linux_devices@main.c:651" in line for line in others)
    assert not any(line.startswith("[ ") or "@" in line for line in mine)
    assert {"Starting klogd: OK", "Welcome to Buildroot", "buildroot login: root"} <= set(mine)
    verdict = "[1900-01-00 00:00:00.000] [info] execution success, exit code:0"
    assert not foreign.fullmatch(verdict), "a deployment is judged by it"
    assert re.fullmatch(sel4.agent.success, verdict)
    noise = re.compile("|".join(sel4.console.noise))
    assert sum(bool(noise.search(line)) for line in lines) == 8


def hil(*words: str) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_command_line_from_missing_to_verified(tmp_path: Path, data: Path) -> None:
    row = next(row for row in json.loads(hil("image", "list", "--json").stdout) if row["name"] == "wasmedge-sel4")
    assert row["state"] == "not added yet"
    for words in (["image", "info"], ["image", "verify"], ["image", "build"]):
        missing = hil(*words, "wasmedge-sel4")
        assert missing.exit_code == 2
        assert "hil image add PATH --name wasmedge-sel4" in missing.stderr
    missing = hil("board", "boot", "--image", "wasmedge-sel4")
    assert missing.exit_code == 2
    assert "hil image add PATH --name wasmedge-sel4" in missing.stderr
    added = hil("image", "add", str(archive(tmp_path / "a.tgz")))
    assert added.exit_code == 0
    assert str(data / "images" / "wasmedge-sel4") in added.stdout
    assert "copying images/capdl-loader" in added.stderr
    told = json.loads(hil("image", "info", "wasmedge-sel4", "--json").stdout)
    assert told["command"][:3] == ["qemu-system-aarch64", "-machine", MACHINE]
    assert told["origin"]["path"] == str(tmp_path / "a.tgz")
    assert str(tmp_path / "a.tgz") in hil("image", "info", "wasmedge-sel4").stdout
    assert "1 files of wasmedge-sel4 are as recorded" in hil("image", "verify", "wasmedge-sel4").stdout
    listed = json.loads(hil("image", "list", "--json").stdout)
    assert next(row for row in listed if row["name"] == "wasmedge-sel4")["state"].startswith("ready, ")
    again = hil("image", "add", str(tmp_path / "a.tgz"))
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert hil("image", "add", str(tmp_path / "a.tgz"), "--force").exit_code == 0
    unknown = hil("image", "add", str(tmp_path), "--name", "wasmedge-sel5")
    assert unknown.exit_code == 2
    assert "did you mean 'wasmedge-sel4'?" in unknown.stderr


def test_what_was_added_boots_with_the_command_of_its_simulate(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    head, _, facts = STUB_IMAGE.partition("[files.kernel]")
    (tmp_path / "stub.toml").write_text(head + 'add = "camkes"\n[machine]\n' + facts[facts.index("[[stages]]") :])
    (tmp_path / "stub.yaml").write_text(STUB_BOARD)
    build = tree(tmp_path / "build", python(), image_file(content=STUB, at=0x60000000))
    add(build, manifest.load(tmp_path / "stub.toml"), progress=Progress())
    with Board(str(tmp_path / "stub.yaml")) as board:
        assert [stage.name for stage in board.boot().stages] == ["start", "login", "shell"]
        assert str(data / "images" / "stub" / "kernel") in board.qemu.command
        assert MACHINE in board.qemu.command
