"""The command line in the `simulate` of an seL4 build, read without running anything.

There are two kinds of `simulate`: seL4's tooling makes a Python script that keeps each part of the
command as the default of an option; others are shell scripts with the command in them. What is not
understood is named, never guessed: the user can give the arguments by hand.
"""

from __future__ import annotations

import ast
import re
import shlex
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from hil.errors import ConfigurationError
from hil.image.manifest import placeholders
from hil.image.options import suboptions

LARGEST = 1 << 20
"""Bytes of a script that are read; those that are known have 5 KB."""

FILES = {"-kernel": "kernel", "-initrd": "initrd", "-dtb": "dtb"}
"""QEMU's options whose value is a file of the image, and our names for these files."""

_SWITCH = r"on|off|yes|no|true|false"
_NUMBER = r"\d+|0x[0-9a-fA-F]+"
_SIZE = r"\d+[bBkKmMgGtT]?"
_WORD = r"[\w.+-]+"
_TYPE = r"[A-Za-z][\w.-]*"

# Options that describe the machine, with the suboptions that do no more than that: name -> pattern of the value.
# QEMU has others beside them that write or read files of the user (dumpdtb=, rrfile=, firmware=), or load programs.
# "" is the value in front, which has no name; "*" any other name.
_MACHINE: dict[str, dict[str, str]] = {
    "-machine": {
        "": _TYPE,
        "type": _TYPE,
        "accel": r"tcg",
        "gic-version": r"\d|max|host",
        "iommu": r"none|smmuv3",
        **dict.fromkeys(
            ("virtualization", "secure", "highmem", "its", "mte", "ras", "acpi", "usb", "graphics"), _SWITCH
        ),
        **dict.fromkeys(("compact-highmem", "highmem-redists", "highmem-ecam", "highmem-mmio"), _SWITCH),
        **dict.fromkeys(("dtb-randomness", "dtb-kaslr-seed", "mem-merge", "dump-guest-core"), _SWITCH),
        **dict.fromkeys(("suppress-vmdesc", "default-bus-bypass-iommu", "kernel-irqchip"), _SWITCH),
    },
    "-cpu": {"": _WORD, "*": rf"{_SWITCH}|{_NUMBER}|{_WORD}"},
    "-m": {"": _SIZE, "size": _SIZE, "maxmem": _SIZE, "slots": _NUMBER},
    "-smp": {
        "": _NUMBER,
        **dict.fromkeys(("cpus", "sockets", "dies", "clusters", "modules", "cores", "threads", "maxcpus"), _NUMBER),
    },
    "-accel": {
        "": r"tcg",
        "accel": r"tcg",
        "thread": r"single|multi",
        "tb-size": _NUMBER,
        **dict.fromkeys(("split-wx", "one-insn-per-tb"), _SWITCH),
    },
    "-global": {"virtio-mmio.force-legacy": _SWITCH},
    "-icount": {"": r"\d|10|auto", "shift": r"\d|10|auto", "align": _SWITCH, "sleep": _SWITCH},
    "-rtc": {"base": r"utc|localtime|[\d:T-]+", "clock": r"host|rt|vm", "driftfix": r"none|slew"},
    "-append": {},  # a text for the kernel
}
_MACHINE["-M"] = _MACHINE["-machine"]
_BARE = {"-no-reboot", "-nodefaults", "-no-user-config"}
# we bring our own line, monitor and display
_CONSOLE = {"-serial", "-monitor", "-display"}
_CONSOLE_BARE = {"-nographic"}

_PARTS = (
    "qemu_sim_binary",
    "qemu_sim_machine",
    "qemu_sim_cpu",
    "qemu_sim_cpu_opt",
    "qemu_sim_extra_cpu_opts",
    "qemu_sim_graphic_opt",
    "qemu_sim_serial_opt",
    "qemu_sim_mem_size",
    "qemu_sim_extra_args",
    "qemu_sim_kernel_file",
    "qemu_sim_initrd_file",
)
_OPERATORS = set("();<>|&")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(\w+)=(.*)")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_BY_HAND = "give QEMU's arguments by hand: --arguments '-machine ... -cpu ... -m ... -kernel images/...'"


@dataclass(frozen=True)
class Command:
    """A machine as an emulator's command line.

    `arguments` have `{name}` for each of `files`, name -> path in the build tree, and none of the
    console's options. `text` is the command line as it was found.
    """

    emulator: str
    arguments: tuple[str, ...]
    files: dict[str, str]
    text: str


def read(script: bytes, where: str) -> Command:
    """Return the command that the `simulate` in `script` runs.

    `where` names the script in errors. Raises `ConfigurationError` where it runs no QEMU, or one with
    options that are not known to describe a machine.
    """
    try:
        text = script.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _refused(where, "it is not a text file") from None
    if unset := re.search(r"@\w+@", text):
        raise _refused(where, f"{unset[0]} in it was never filled in: the build did not end")
    words = _python(text, where) if _is_python(text) else _shell(text, where)
    return _command(words, where, strict=True)


def by_hand(arguments: str, emulator: str) -> Command:
    """Return the command out of a user's own arguments, with or without the emulator in front.

    The options are not checked, but for those that name files. Raises `ConfigurationError`.
    """
    where = "--arguments"
    words = _split(arguments, where)
    if not words or words[0].startswith("-"):
        words = [emulator, *words]
    return _command(words, where, strict=False)


def check(arguments: Iterable[str], where: str, hint: str) -> None:
    """Check that `arguments`, as `read` gives them, only describe a machine. Raises `ConfigurationError`."""
    left = iter(arguments)
    for word in left:
        reason = ""
        if word in FILES:
            reason = "" if next(left, "") == f"{{{FILES[word]}}}" else f"{word} names no file of the image"
        elif word in _MACHINE:
            value = next(left, None)
            reason = f"{word} has no value" if value is None else _strange(word, value)
        elif word not in _BARE:
            reason = f"not understood: {word}"
        if reason:
            raise ConfigurationError(f"{where}: {reason}", hint=hint)


def _strange(option: str, value: str) -> str:
    """Return what is wrong with a value that comes from a script; empty where it only describes the machine."""
    if option == "-append":
        return ""
    allowed = _MACHINE[option]
    for place, part in enumerate(suboptions(value)):
        key, given, text = part.partition("=")
        if not given:  # `+feature` and a switch by its name alone, or the value in front
            key, text = ("", part) if place == 0 and "" in allowed else (part.lstrip("+-"), "on")
        pattern = allowed.get(key) or (allowed.get("*") if re.fullmatch(_WORD, key) else None)
        if pattern is None:
            return f"{option} {value}: the suboption {key or part!r} is not one that only describes a machine"
        if not re.fullmatch(pattern, text):
            return f"{option} {value}: {text!r} is not a value of {key or 'it'} that only describes a machine"
    return "" if value and not value.startswith(",") else f"{option} has an empty value"


def _refused(where: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: {reason}", hint=_BY_HAND)


def _is_python(text: str) -> bool:
    first = text.partition("\n")[0]
    return "python" in first if first.startswith("#!") else "argparse" in text


def _python(text: str, where: str) -> list[str]:
    """The command that the script would put together out of its options' defaults."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of what Python thinks of somebody else's script
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused(where, f"it is not valid Python: {error}") from None
    defaults = dict(_defaults(tree, where))
    strange = sorted(name for name, value in defaults.items() if value and name not in _PARTS)
    if strange:
        raise _refused(where, f"not understood: option {strange[0]} with the default {defaults[strange[0]]!r}")
    missing = [name for name in ("qemu_sim_binary", "qemu_sim_initrd_file") if not defaults.get(name)]
    if missing:
        raise _refused(where, f"it has no default for {missing[0]}, as the scripts of seL4's builds have")
    part = {name: defaults.get(name, "") for name in _PARTS}
    cpu = part["qemu_sim_cpu"] and part["qemu_sim_cpu"] + part["qemu_sim_cpu_opt"]
    if cpu and part["qemu_sim_extra_cpu_opts"]:
        cpu += "," + part["qemu_sim_extra_cpu_opts"]
    options = [
        ("-machine", part["qemu_sim_machine"]),
        ("-cpu", cpu),
        ("-m", part["qemu_sim_mem_size"] and "size=" + part["qemu_sim_mem_size"]),
    ]
    if part["qemu_sim_kernel_file"]:
        options += [("-kernel", part["qemu_sim_kernel_file"]), ("-initrd", part["qemu_sim_initrd_file"])]
    else:
        options += [("-kernel", part["qemu_sim_initrd_file"])]
    words = [part["qemu_sim_binary"]]
    words += [f"{option} {value}" for option, value in options if value]
    words += [part["qemu_sim_graphic_opt"], part["qemu_sim_serial_opt"], part["qemu_sim_extra_args"]]
    return _split(" ".join(words), where)  # the script has a shell split it


def _defaults(tree: ast.AST, where: str) -> Iterator[tuple[str, str]]:
    """The defaults of all options that take a text."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if node.func.attr != "add_argument" or not {"dest", "default"} <= set(keywords):
            continue
        values = []
        for keyword in ("dest", "default"):
            value = keywords[keyword]
            if not isinstance(value, ast.Constant):
                raise _refused(where, f"line {value.lineno} not understood: {keyword}={ast.unparse(value)[:80]}")
            values.append(value.value)
        if isinstance(values[1], str):
            yield str(values[0]), values[1]


def _shell(text: str, where: str) -> list[str]:
    """The one command of the script that starts a QEMU."""
    found: list[list[str]] = []
    variables: dict[str, str] = {}
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        if assigned := _ASSIGNMENT.fullmatch(line):
            try:
                value = [_expanded(word, variables) for word in shlex.split(assigned[2], comments=True)]
            except ValueError:
                continue  # not a plain text; whoever uses it is told
            if len(value) <= 1:
                variables[assigned[1]] = value[0] if value else ""
            continue
        words = line.split()
        words = words[1:] if words[:1] == ["exec"] else words
        try:
            first = PurePosixPath(_expanded(words[0].strip("\"'"), variables)).name if words else ""
        except ValueError:
            continue
        if first.startswith("qemu-system-"):
            found.append(_split(line, where, variables))
    if len(found) != 1:
        raise _refused(where, f"{len(found)} of its lines start a QEMU" if found else "it starts no QEMU")
    words = found[0]
    return words[1:] if words[0] == "exec" else words


def _split(command: str, where: str, variables: dict[str, str] | None = None) -> list[str]:
    """The words of one shell command; what only a shell can work out is refused."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="".join(sorted(_OPERATORS)))
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError as error:
        raise _refused(where, f"cannot be split into words: {error}") from None
    if words[-1:] in (["$@"], ["$*"]):
        words.pop()  # what the user adds
    for word in words:
        if word and set(word) <= _OPERATORS:
            raise _refused(where, f"not understood: {word!r} in {command.strip()[:200]!r}")
    try:
        return [_expanded(word, variables or {}) for word in words]
    except ValueError as error:
        raise _refused(where, f"not understood: {error}") from None


def _expanded(word: str, variables: dict[str, str]) -> str:
    """The word with its variables' values; ValueError for anything that is not known."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in variables:
            raise ValueError(match[0])
        return variables[name]

    rest = _VARIABLE.sub("", word)
    if "$" in rest or "`" in rest:
        raise ValueError(word)
    return _VARIABLE.sub(value, word)


def _command(words: Iterable[str], where: str, *, strict: bool) -> Command:
    """Tell files, machine and console apart; `strict` refuses what is none of them."""
    emulator, *rest = words
    name = PurePosixPath(emulator).name
    if not name.startswith("qemu-system-"):
        raise _refused(where, f"{emulator!r} is not a QEMU")
    arguments: list[str] = []
    files: dict[str, str] = {}
    lines = 0
    left = iter(rest)
    for word in left:
        option = "-" + word.lstrip("-") if word.startswith("--") else word
        takes_value = option in FILES or option in _MACHINE or option in _CONSOLE
        value = next(left, None) if takes_value else None
        if takes_value and value is None:
            raise _refused(where, f"{word} has no value")
        lines += option == "-serial"
        if option in _CONSOLE or option in _CONSOLE_BARE:
            continue
        if value is not None and option in FILES:
            if FILES[option] in files:
                raise _refused(where, f"{option} is given twice")
            files[FILES[option]] = _inside(value, option, where)
            arguments += [option, f"{{{FILES[option]}}}"]
            continue
        known = takes_value or option in _BARE
        if strict and not known:
            raise _refused(where, f"not understood: {word}")
        if strict and value is not None and (reason := _strange(option, value)):
            raise _refused(where, reason)
        if placeholders(f"{word} {value}"):
            raise _refused(where, f"braces are not supported: {value or word}")
        arguments += [option if known else word, *([value] if value is not None else [])]
    if lines > 1:
        raise _refused(where, "the console is not the first serial line; such machines are not supported")
    if not {"-machine", "-M"} & set(arguments):
        raise _refused(where, "no machine is given (-machine)")
    if "kernel" not in files:
        raise _refused(where, "no file to boot is given (-kernel)")
    return Command(name, tuple(arguments), files, shlex.join((emulator, *rest)))


def _inside(value: str, option: str, where: str) -> str:
    """The path within the build tree; one of the machine that built it becomes images/NAME."""
    path = PurePosixPath(value)
    if path.is_absolute():
        path = PurePosixPath("images", path.name)
    if ".." in path.parts or not path.name:
        raise _refused(where, f"{option} {value}: not a file of the build tree")
    return str(path)
