"""Programs of users' kind: interpreted and compiled on the board, native on its guest, and on the host beside them.

Usage: programs.py [--real] [--sqlite DIR] [NAME...]

On the board in virtual time, where the ratio is that of the executed instructions and the same on every host; with
--real in real time. DIR holds SQLite's amalgamation, sqlite3.c and sqlite3.h; without it the script makes one of
Debian's source package, which needs a deb-src line in apt's sources, and tclsh. The first run compiles the programs
ahead of time, which takes minutes (SQLite, QuickJS); they are then kept in the cache, and a run takes less than five
minutes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hil.board.board import Board
from hil.errors import HilError
from hil.guest import Guest
from hil.host.directories import cache_root
from hil.wasm import Execution, Module, Runner
from hil.wasm.health_check import check_health

HERE = Path(__file__).parent / "programs"
JAVASCRIPT = Path(__file__).parents[1] / "wasm_samples/languages/javascript/build"
PACKAGES = {
    "wasmedge": "Debian 13's package wasmedge",
    "wasmtime": "the release of the Bytecode Alliance",
    "node": "Debian's package nodejs",
}
LIMIT = 300.0  # seconds for one run
SQLITE = (
    *("OS_OTHER=1", "THREADSAFE=0", "TEMP_STORE=3", "DEFAULT_MEMSTATUS=0", "OMIT_LOAD_EXTENSION", "OMIT_SHARED_CACHE"),
    *("OMIT_DEPRECATED", "OMIT_WAL", "OMIT_JSON", "OMIT_AUTHORIZATION", "OMIT_TRACE"),
)
WASM = ("clang", "--target=wasm32-wasi", "-Wl,--strip-all")
# as WebAssembly, which has no fused operations
GUEST = ("aarch64-linux-gnu-gcc", "-static", "-ffp-contract=off")
HOST = ("gcc", "-ffp-contract=off")


@dataclass(frozen=True)
class Program:
    """A program, the rounds that it works on the board, and on the host, which is many times faster."""

    name: str
    rounds: int
    host_rounds: int
    about: str


PROGRAMS = (
    Program("integers", 10, 1000, "list, matrix, state machine, CRC: CoreMark's kinds of work"),
    Program("json", 5, 500, "a parser of 25 KB of JSON"),
    Program("sha256", 10, 1000, "4 KiB, again and again"),
    Program("nbody", 5, 1000, "8 bodies, 100 steps"),
    Program("mandelbrot", 1, 100, "96 x 64 points, 100 iterations"),
    Program("sqlite", 1, 50, "500 rows in memory: insert, update, join, group"),
    Program("script", 3, 100, "QuickJS: objects, JSON, sort, regular expressions"),
)


class Missing(Exception):
    """What a measurement lacks, in words."""


def us(output: str, of: str) -> tuple[int, float]:
    """Return the result and the time in microseconds that a program has printed."""
    found = re.search(r"result (\d+)\r?\nus (\d+)", output)
    if not found:
        raise Missing(f"{of} printed {output[-200:]!r}")
    return int(found[1]), max(float(found[2]), 1.0)


def call(*command: str | Path, directory: Path | None = None) -> str:
    tool = str(command[0])
    if shutil.which(tool) is None:
        raise Missing(f"no {tool}" + (f" ({PACKAGES[tool]})" if tool in PACKAGES else ""))
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=20 * LIMIT, cwd=directory)
    if done.returncode:
        raise Missing(f"{command[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def sqlite(given: Path | None, scratch: Path) -> Path:
    """Return the directory with SQLite's amalgamation."""
    if given is not None:
        return given
    kept = cache_root() / "bench/sqlite"
    if not (kept / "sqlite3.c").exists():
        call("apt-get", "source", "-qq", "sqlite3", directory=scratch)
        tree = next(path for path in scratch.glob("sqlite3-*") if path.is_dir())
        call("./configure", directory=tree)
        call("make", "sqlite3.c", directory=tree)
        kept.mkdir(parents=True, exist_ok=True)
        for name in ("sqlite3.h", "sqlite3.c"):
            shutil.copy(tree / name, kept / name)
    return kept


def build(program: Program, compiler: tuple[str, ...], out: Path, amalgamation: Callable[[], Path]) -> Path:
    """Build a program with one of the compilers; the script becomes a module that holds QuickJS, too."""
    if program.name == "script":
        if compiler is not WASM:
            raise Missing("QuickJS is built for WebAssembly only")
        if not JAVASCRIPT.exists():
            raise Missing(f"no {JAVASCRIPT}")
        call(JAVASCRIPT, HERE / "script.js", out)
        return out
    command: list[str | Path] = [*compiler, "-O2", "-I", HERE, "-o", out, HERE / f"{program.name}.c"]
    if program.name == "sqlite":
        source = amalgamation()
        command += ["-Os", "-w", "-I", source, *(f"-DSQLITE_{option}" for option in SQLITE), source / "sqlite3.c"]
    call(*command, "-lm")
    return out


def on_board(board: Board, program: Program, scratch: Path, amalgamation: Callable[[], Path]) -> dict[str, float]:
    """Return the times in microseconds: interpreted, compiled, native; and the seconds that compiling took."""
    guest = Guest(board)
    runner = Runner(guest)
    module = Module.load(build(program, WASM, scratch / f"{program.name}.wasm", amalgamation))
    begin = time.monotonic()
    compiled = runner.compiled(module)
    seconds = time.monotonic() - begin
    times, results = {"compiling": seconds, "bytes": float(len(module.data))}, set()
    for name, what in (("interpreted", module), ("AOT", compiled)):
        run: Execution = runner.run(what, str(program.rounds), limit=LIMIT)
        if not run.good:
            raise Missing(str(run))
        result, times[name] = us(run.text, f"{program.name} {name}")
        results.add(result)
    try:
        native = build(program, GUEST, scratch / f"{program.name}.native", amalgamation)
        guest.put(native, f"/tmp/{program.name}")
        command = f"chmod +x /tmp/{program.name};/tmp/{program.name} {program.rounds}"
        result, times["native"] = us(guest.run(command, timeout=LIMIT).text, f"{program.name} native")
        results.add(result)
    except Missing as missing:
        print(f"{program.name}, native on the guest: {missing}")
    if len(results) != 1:
        raise Missing(f"the results differ: {results}")
    return times


def on_host(program: Program, scratch: Path, amalgamation: Callable[[], Path]) -> dict[str, float]:
    """Return the times in microseconds of what this host has, and print what it lacks."""
    module, aot = scratch / f"{program.name}.wasm", scratch / f"{program.name}.aot.wasm"
    rounds = str(program.host_rounds)

    def wasmedge_aot() -> str:
        call("wasmedge", "compile", module, aot)
        return call("wasmedge", aot, rounds)

    ways: dict[str, Callable[[], str]] = {
        "native": lambda: call(build(program, HOST, scratch / program.name, amalgamation), rounds),
        "wasmedge": lambda: call("wasmedge", module, rounds),
        "wasmedge AOT": wasmedge_aot,
        "wasmtime": lambda: call("wasmtime", module, rounds),
        "node": lambda: call("node", "--no-warnings", HERE / "wasi.mjs", module, rounds),
    }
    times, results = {}, set()
    for name, run in ways.items():
        try:
            result, times[name] = us(run(), f"{program.name}, {name}")
            results.add(result)
        except Missing as missing:
            print(f"{program.name}, {name} on the host: {missing}", flush=True)
    if len(results) > 1:
        print(f"{program.name} on the host: THE RESULTS DIFFER: {results}")
    return times


def ratio(times: dict[str, float], of: str, to: str) -> str:
    return f"{times[of] / times[to]:.2f}" if of in times and to in times else "-"


def row(program: Program, times: dict[str, float], host: dict[str, float]) -> str:
    cells = [
        program.name,
        f"{times['bytes'] / 1000:.0f} KB",
        *(f"{times[name] / 1000:.2f} ms" if name in times else "-" for name in ("interpreted", "AOT", "native")),
        *(ratio(times, *names) for names in (("interpreted", "AOT"), ("interpreted", "native"), ("AOT", "native"))),
        *(ratio(host, name, "native") for name in ("wasmedge", "wasmedge AOT", "wasmtime", "node")),
        f"{times['compiling']:.1f} s",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--board", default="qemu-reference")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--sqlite", type=Path)
    parser.add_argument("names", nargs="*", choices=[[], *(program.name for program in PROGRAMS)])
    options = parser.parse_args()
    rows = []
    with (
        tempfile.TemporaryDirectory() as directory,
        Board(options.board, seed=None if options.real else 1, snapshots=True) as board,
    ):
        scratch = Path(directory)

        def amalgamation() -> Path:
            return sqlite(options.sqlite, scratch)

        guest = Guest(board)
        board.health_check = lambda _: check_health(guest)
        board.fresh()
        for program in PROGRAMS:
            if options.names and program.name not in options.names:
                continue
            try:
                times = on_board(board, program, scratch, amalgamation)
            except (Missing, HilError) as error:
                print(f"{program.name}: {error}")
                continue
            rows.append(row(program, times, on_host(program, scratch, amalgamation)))
            print(rows[-1], flush=True)
    print(
        f"\nboard {options.board}, {'real' if options.real else 'virtual'} time; host columns: over its own native code"
    )
    print("| program | wasm | interpreted | AOT | native | int/AOT | int/native | AOT/native |", end="")
    print(" host wasmedge | wasmedge AOT | wasmtime | node | compiling |")
    print("|" + "---|" * 13)
    print("\n".join(rows))


if __name__ == "__main__":
    main()
