# SPDX-License-Identifier: Apache-2.0
"""Make one WASI module of a script in the format of the WebAssembly specification's tests (`.wast`).

The module's `_start` calls each function that the script asserts about and prints a line for each assertion. Only
`build` uses this file; it needs nothing but Python.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

Node = Any  # a word, or a list of nodes

# The harness keeps what it prints in the last quarter of the first page of memory; modules under test leave it alone.
SCRATCH = 0xC000
IOVEC, WRITTEN, HEX = SCRATCH, SCRATCH + 48, SCRATCH + 64
GOT, EXPECTED, END = SCRATCH + 128, SCRATCH + 136, SCRATCH + 160
ARGUMENTS, ARGUMENT_BYTES, NAMES = SCRATCH + 192, SCRATCH + 232, SCRATCH + 512
NO_TRAP = 70  # the exit code of a case that should have trapped

_TOKEN = re.compile(r'\s+|;;[^\n]*|\(;.*?;\)|(?P<token>"(?:\\.|[^"\\])*"|[()]|[^\s()";]+)', re.S)
_IDENTIFIER = re.compile(r"[\w!#$%&'*+./:<=>?@\\^`|~-]+")
_WIDTH = {"i32": 8, "f32": 8, "i64": 16, "f64": 16, "v128": 32}  # hexadecimal digits
_LANES = {"i8x16": 16, "i16x8": 8, "i32x4": 4, "i64x2": 2, "f32x4": 4, "f64x2": 2}
_NAN = {  # lanes: the bits that are compared, and their value, for each kind of NaN
    "f32": {"nan:canonical": ("0x7fffffff", "0x7fc00000"), "nan:arithmetic": ("0x7fc00000", "0x7fc00000")},
    "f64": {
        "nan:canonical": ("0x7fffffffffffffff", "0x7ff8000000000000"),
        "nan:arithmetic": ("0x7ff8000000000000", "0x7ff8000000000000"),
    },
}


class ScriptError(Exception):
    """A script that this converter does not take."""


@dataclass
class Script:
    """A converted script: the module's text and the names of its cases, as WebAssembly text.

    `traps` are (name, reason); the module runs the n-th one, from 1, if `n` is its argument. `refused` are
    (name, reason, text or bytes) of modules of their own.
    """

    module: str = ""
    cases: list[str] = field(default_factory=list)
    traps: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str, str | bytes]] = field(default_factory=list)


def parse(text: str) -> list[Node]:
    """Return the S-expressions of a text; strings keep their quotes."""
    stack: list[list[Node]] = [[]]
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise ScriptError(f"line {text.count(chr(10), 0, at) + 1}: cannot read {text[at : at + 20]!r}")
        at = match.end()
        token = match["token"]
        if token == "(":
            stack.append([])
        elif token == ")":
            if len(stack) == 1:
                raise ScriptError(f"line {text.count(chr(10), 0, at) + 1}: a parenthesis too many")
            done = stack.pop()
            stack[-1].append(done)
        elif token is not None:
            stack[-1].append(token)
    if len(stack) > 1:
        raise ScriptError("a parenthesis is missing at the end")
    return stack[0]


def render(node: Node) -> str:
    return node if isinstance(node, str) else f"({' '.join(map(render, node))})"


def binary(strings: list[Node]) -> bytes:
    """Return the bytes of the strings of `(module binary ...)`."""
    text = "".join(str(string)[1:-1] for string in strings)
    return re.sub(rb"\\([0-9a-fA-F]{2})", lambda match: bytes([int(match[1], 16)]), text.encode())


def convert(text: str) -> Script:
    """Return the script with its module made runnable. Raises `ScriptError`."""
    main: list[Node] | None = None
    names: dict[str, str] = {}
    script, body, traps = Script(), list[str](), list[str]()
    lines = bytearray()
    locals_: set[str] = set()
    seen: dict[str, int] = {}
    wide = False

    def named(invoke: Node) -> str:
        name = unquoted(invoke[1])
        if len(invoke) > 2:
            name += "(" + ",".join(" ".join(str(word) for word in argument[1:]) for argument in invoke[2:]) + ")"
        seen[name] = seen.get(name, 0) + 1
        return name if seen[name] == 1 else f"{name}#{seen[name]}"

    def call(invoke: Node) -> str:
        name = unquoted(invoke[1])
        if name not in names:
            raise ScriptError(f"the module exports no function {name!r}")
        return f"(call {names[name]} {' '.join(map(render, invoke[2:]))})"

    for form in parse(text):
        match form:
            case ["module", *_] if main is None:
                main, names = _prepared(form)
            case ["invoke", *_]:
                body.append(call(form))
            case ["assert_return", ["invoke", *_] as invoke, *results]:
                name = named(invoke)
                place = NAMES + len(lines)
                line = f"not ok {name}\n".encode("ascii")
                lines += line
                stores, judged, types = _judged(results)
                locals_ |= set(types)
                wide |= any(kind.startswith("v128") for kind in types)
                body.append(
                    f"{call(invoke)} {stores}\n  (call $hil_judge (i32.const {place}) (i32.const {len(line)}) {judged})"
                )
                script.cases.append(name)
            case ["assert_trap", ["invoke", *_] as invoke, reason]:
                traps.append(
                    f"(if (i32.eq (local.get 0) (i32.const {len(traps) + 1})) (then {call(invoke)}"
                    f" (call $hil_exit (i32.const {NO_TRAP})) (unreachable)))"
                )
                script.traps.append((f"trap:{named(invoke)}", unquoted(reason)))
            case [
                "assert_invalid" | "assert_malformed" | "assert_unlinkable" | "assert_trap" as kind,
                ["module", str(name), *fields],
                reason,
            ]:
                whole = binary(fields[1:]) if fields[:1] == ["binary"] else _with_start(fields)
                label = kind.removeprefix("assert_")
                script.refused.append((f"{label}:{name.removeprefix('$')}", unquoted(reason), whole))
            case _:
                raise ScriptError(f"not supported here: {render(form)[:80]}")
    everything = [*script.cases, *(name for name, _ in script.traps), *(name for name, *_ in script.refused)]
    for name in everything:
        if len(name) > 90 or not name.isascii() or '"' in name or "\\" in name:
            raise ScriptError(f"{name!r} is no name of a case: at most 90 ASCII characters")
        if everything.count(name) > 1:
            raise ScriptError(f"two cases are named {name!r}")
    if NAMES + len(lines) > 0x10000:
        raise ScriptError(f"too many cases: their names have {len(lines)} bytes, of {0x10000 - NAMES}")
    if main is not None:
        script.module = _module(main, body, traps, bytes(lines), sorted(locals_))
    elif script.cases or script.traps:
        raise ScriptError("there is no module")
    return script


def unquoted(node: Node) -> str:
    if not (isinstance(node, str) and node.startswith('"')):
        raise ScriptError(f"{render(node)[:40]} is no string")
    return node[1:-1]


def _prepared(module: list[Node]) -> tuple[list[Node], dict[str, str]]:
    """Return the fields of the module, each exported function with an identifier, and these by exported name."""
    names: dict[str, str] = {}
    fields: list[Node] = []
    for original in module[1:]:
        if not isinstance(original, list):
            continue
        one = list(original)
        if one[0] == "func":
            exports = [unquoted(part[1]) for part in one if isinstance(part, list) and part[0] == "export"]
            if exports:
                if not str(one[1]).startswith("$"):
                    if not _IDENTIFIER.fullmatch(exports[0]):
                        raise ScriptError(f"{exports[0]!r} needs an identifier")
                    one.insert(1, f"${exports[0]}")
                names |= dict.fromkeys(exports, str(one[1]))
        fields.append(one)
    return fields, names


def _judged(results: list[Node]) -> tuple[str, str, list[str]]:
    """Return the code that stores the results of a call, that which compares them, and the locals it needs."""
    kinds, counts = [], dict[str, int]()
    judged = "(i32.const 1) (i32.const 8) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)"
    for number, result in enumerate(results):
        kind = _kind(result)
        counts[kind] = counts.get(kind, 0) + 1
        kinds.append(f"{kind}_{counts[kind]}")
        same, got, want = _compared(result, kind, f"(local.get ${kinds[-1]})")
        if number == 0:
            judged = f"{same} (i32.const {_WIDTH[kind]}) {got} {want}"
            continue
        # the first result that differs is the one that is shown
        parts = [render(part) for part in parse(judged)]
        others = [same, f"(i32.const {_WIDTH[kind]})", *(render(part) for part in parse(f"{got} {want}"))]
        chosen = [f"(select {mine} {first} {parts[0]})" for first, mine in zip(parts[1:], others[1:], strict=True)]
        judged = " ".join([f"(i32.and {parts[0]} {same})", *chosen])
    return " ".join(f"(local.set ${kind})" for kind in reversed(kinds)), judged, kinds


def _kind(result: Node) -> str:
    if result[0] == "either":
        return _kind(result[1])
    kind, _, word = str(result[0]).partition(".")
    if word != "const" or kind not in _WIDTH:
        raise ScriptError(f"cannot compare with {render(result)[:40]}: let the function return a number")
    return kind


def _compared(result: Node, kind: str, got: str) -> tuple[str, str, str]:
    """Return the code of: is it equal, the result as two i64, the expected value as two i64 (high, low)."""
    if result[0] == "either":
        each = [_compared(one, kind, got) for one in result[1:]]
        same = each[0][0]
        for one in each[1:]:
            same = f"(i32.or {same} {one[0]})"
        return same, each[0][1], each[0][2]
    zero = "(i64.const 0)"
    match kind:
        case "i32":
            return (
                f"(i32.eq {got} {render(result)})",
                f"{zero} (i64.extend_i32_u {got})",
                f"{zero} (i64.extend_i32_u {render(result)})",
            )
        case "i64":
            return f"(i64.eq {got} {render(result)})", f"{zero} {got}", f"{zero} {render(result)}"
        case "f32" | "f64":
            whole = kind.replace("f", "i")
            bits = f"({whole}.reinterpret_{kind} {got})"
            if result[1] in _NAN[kind]:
                mask, value = _NAN[kind][str(result[1])]
                masked, want = f"({whole}.and {bits} ({whole}.const {mask}))", f"({whole}.const {value})"
            else:
                masked, want = bits, f"({whole}.reinterpret_{kind} {render(result)})"
            extend = "(i64.extend_i32_u {})" if kind == "f32" else "{}"
            return f"({whole}.eq {masked} {want})", f"{zero} {extend.format(bits)}", f"{zero} {extend.format(want)}"
    shape, lanes = str(result[1]), [str(lane) for lane in result[2:]]
    if len(lanes) != _LANES.get(shape):
        raise ScriptError(f"{render(result)[:60]}: {shape} has {_LANES.get(shape)} lanes")
    masks = ["-1"] * len(lanes)
    if shape.startswith("f") and set(lanes) & set(_NAN[shape[:3]]):
        masks = [_NAN[shape[:3]].get(lane, ("-1",))[0] for lane in lanes]
    nans = _NAN.get(shape[:3], {})
    want = f"(v128.const {shape} {' '.join('nan' if lane in nans else lane for lane in lanes)})"
    masked = f"(v128.and {got} (v128.const {shape.replace('f', 'i')} {' '.join(masks)}))"
    same = f"(i32.eqz (v128.any_true (v128.xor {masked} {want})))"
    halves = "(i64x2.extract_lane 1 {0}) (i64x2.extract_lane 0 {0})"
    return same, halves.format(got), halves.format(want)


def _with_start(fields: list[Node]) -> str:
    """Return the text of a module that is refused, which could run if it were not."""
    body = " ".join(map(render, fields))
    return f"(module {body})" if '"_start"' in body else f'(module {body} (func (export "_start")))'


def _module(main: list[Node], body: list[str], traps: list[str], lines: bytes, locals_: list[str]) -> str:
    memories = [one for one in main if one[0] == "memory"]
    if memories and ["export", '"memory"'] not in memories[0]:
        raise ScriptError('the first memory needs (export "memory"), for WASI')
    text = [
        '(module\n(import "wasi_snapshot_preview1" "fd_write" (func $hil_write (param i32 i32 i32 i32) (result i32)))'
    ]
    if traps:
        text.append(_TRAP_IMPORTS)
    text += map(render, main)
    if not memories:
        text.append('(memory (export "memory") 1)')
    data = "".join(f"\\{byte:02x}" if byte in b'\n"\\' else chr(byte) for byte in lines)
    text.append(_HARNESS)
    text.append(f'(data (i32.const {NAMES}) "{data}")')
    declared = " ".join(f"(local ${name} {name.partition('_')[0]})" for name in locals_)
    if traps:
        text.append(f"(func $hil_traps (param i32)\n {chr(10).join(traps)})")
        text.append(_ARGUMENT)
    begin = "(call $hil_argument)" if traps else ""
    text.append(f'(func (export "_start") {declared} {begin}\n{chr(10).join(body)}))')
    return "\n".join(text)


_TRAP_IMPORTS = """(import "wasi_snapshot_preview1" "args_sizes_get" (func $hil_sizes (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "args_get" (func $hil_args (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "proc_exit" (func $hil_exit (param i32)))"""

# With an argument, a decimal number, _start runs that trap and nothing else.
_ARGUMENT = f"""(func $hil_argument (local $at i32) (local $number i32)
 (drop (call $hil_sizes (i32.const {ARGUMENTS}) (i32.const {ARGUMENTS + 4})))
 (if (i32.lt_u (i32.load (i32.const {ARGUMENTS})) (i32.const 2)) (then (return)))
 (drop (call $hil_args (i32.const {ARGUMENTS + 8}) (i32.const {ARGUMENT_BYTES})))
 (local.set $at (i32.load (i32.const {ARGUMENTS + 12})))
 (loop $digit
  (if (i32.load8_u (local.get $at)) (then
   (local.set $number (i32.add (i32.mul (local.get $number) (i32.const 10))
    (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
   (local.set $at (i32.add (local.get $at) (i32.const 1)))
   (br $digit))))
 (call $hil_traps (local.get $number))
 (call $hil_exit (i32.const 71)))"""

_HARNESS = f"""(data (i32.const {GOT}) ": got 0x")
(data (i32.const {EXPECTED}) ", expected 0x")
(data (i32.const {END}) "\\0a")
(func $hil_say (param $at i32) (param $size i32)
 (i32.store (i32.const {IOVEC}) (local.get $at))
 (i32.store (i32.const {IOVEC + 4}) (local.get $size))
 (drop (call $hil_write (i32.const 1) (i32.const {IOVEC}) (i32.const 1) (i32.const {WRITTEN}))))
(func $hil_hex (param $at i32) (param $value i64) (local $digit i32) (local $end i32)
 (local.set $end (local.get $at))
 (local.set $at (i32.add (local.get $at) (i32.const 15)))
 (loop $next
  (local.set $digit (i32.and (i32.wrap_i64 (local.get $value)) (i32.const 15)))
  (i32.store8 (local.get $at) (i32.add (local.get $digit)
   (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $digit) (i32.const 10)))))
  (local.set $value (i64.shr_u (local.get $value) (i64.const 4)))
  (local.set $at (i32.sub (local.get $at) (i32.const 1)))
  (br_if $next (i32.ge_u (local.get $at) (local.get $end)))))
(func $hil_judge (param $at i32) (param $size i32) (param $ok i32) (param $digits i32)
  (param $got_high i64) (param $got i64) (param $want_high i64) (param $want i64)
 (if (local.get $ok)
  (then (call $hil_say (i32.add (local.get $at) (i32.const 4)) (i32.sub (local.get $size) (i32.const 4))))
  (else
   (call $hil_hex (i32.const {HEX}) (local.get $got_high))
   (call $hil_hex (i32.const {HEX + 16}) (local.get $got))
   (call $hil_hex (i32.const {HEX + 32}) (local.get $want_high))
   (call $hil_hex (i32.const {HEX + 48}) (local.get $want))
   (call $hil_say (local.get $at) (i32.sub (local.get $size) (i32.const 1)))
   (call $hil_say (i32.const {GOT}) (i32.const 8))
   (call $hil_say (i32.sub (i32.const {HEX + 32}) (local.get $digits)) (local.get $digits))
   (call $hil_say (i32.const {EXPECTED}) (i32.const 13))
   (call $hil_say (i32.sub (i32.const {HEX + 64}) (local.get $digits)) (local.get $digits))
   (call $hil_say (i32.const {END}) (i32.const 1)))))"""
