"""QEMU's command line in the script `simulate` of an seL4 build, read without running anything.

The script is either Python, as made by seL4's tooling, with each part of the command as the default of an option, or
shell with the command in it. Anything else is refused by name, never guessed; the user can give the arguments.
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
from hil.image.fields import placeholders
from hil.image.machine_options import BARE, CONSOLE, CONSOLE_BARE, FILES, MACHINE, objection

LARGEST = 1 << 20
"""The largest script that is read, in bytes; known ones have 5 KB."""

_PARTS = (
    *("binary", "machine", "cpu", "cpu_opt", "extra_cpu_opts", "graphic_opt", "serial_opt", "mem_size", "extra_args"),
    *("kernel_file", "initrd_file"),
)
"""The options of the script that make up QEMU's command line, without their prefix `qemu_sim_`."""

_OPERATORS = set("();<>|&")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(\w+)=(.*)")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_BY_HAND = "give QEMU's arguments by hand: --arguments '-machine ... -cpu ... -m ... -kernel images/...'"


@dataclass(frozen=True)
class Command:
    """A machine as an emulator's command line.

    `arguments` have `{name}` for each of `files` (name -> path in the build tree) and no options of the console.
    `text` is the original command line.
    """

    emulator: str
    arguments: tuple[str, ...]
    files: dict[str, str]
    text: str


def read(script: bytes, where: str) -> Command:
    """Return the command that `script` runs; `where` names the script in errors.

    Raises `ConfigurationError` if it runs no QEMU, or uses options that do more than describe a machine.
    """
    try:
        text = script.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _refused(where, "it is not a text file") from None
    if unset := re.search(r"@\w+@", text):
        raise _refused(where, f"{unset[0]} in it is not filled in: the build did not end")
    words = _python(text, where) if _is_python(text) else _shell(text, where)
    return _command(words, where, strict=True)


def by_hand(arguments: str, emulator: str) -> Command:
    """Return the command from the user's own arguments, which may begin with the emulator.

    Only options that name files are checked. Raises `ConfigurationError`.
    """
    where = "--arguments"
    words = _split(arguments, where)
    if not words or words[0].startswith("-"):
        words = [emulator, *words]
    return _command(words, where, strict=False)


def _refused(where: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: {reason}", hint=_BY_HAND)


def _is_python(text: str) -> bool:
    first = text.partition("\n")[0]
    return "python" in first if first.startswith("#!") else "argparse" in text


def _python(text: str, where: str) -> list[str]:
    """Return the command that the script would compose from the defaults of its options."""
    try:
        with warnings.catch_warnings(action="ignore"):  # warnings about somebody else's script
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused(where, f"it is not valid Python: {error}") from None
    defaults = dict(_defaults(tree, where))
    part = {name: defaults.pop(f"qemu_sim_{name}", "") for name in _PARTS}
    if unknown := sorted(name for name, value in defaults.items() if value):
        raise _refused(where, f"not understood: option {unknown[0]} with the default {defaults[unknown[0]]!r}")
    for name in ("binary", "initrd_file"):
        if not part[name]:
            raise _refused(where, f"it has no default for qemu_sim_{name}, as the scripts of seL4's builds have")
    cpu = part["cpu"] and part["cpu"] + part["cpu_opt"]
    if cpu and part["extra_cpu_opts"]:
        cpu += "," + part["extra_cpu_opts"]
    kernel, initrd = part["kernel_file"], part["initrd_file"]
    options = [
        ("-machine", part["machine"]),
        ("-cpu", cpu),
        ("-m", part["mem_size"] and "size=" + part["mem_size"]),
        ("-kernel", kernel or initrd),
        ("-initrd", kernel and initrd),
    ]
    words = [part["binary"], *(f"{option} {value}" for option, value in options if value)]
    words += [part["graphic_opt"], part["serial_opt"], part["extra_args"]]
    return _split(" ".join(words), where)  # the script has a shell split it


def _defaults(tree: ast.AST, where: str) -> Iterator[tuple[str, str]]:
    """Yield name and default of all options with a text."""
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
    """Return the only command of the script that starts a QEMU."""
    found: list[list[str]] = []
    variables: dict[str, str] = {}
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        if assigned := _ASSIGNMENT.fullmatch(line):
            try:
                value = [_expanded(word, variables) for word in shlex.split(assigned[2], comments=True)]
            except ValueError:
                continue  # not a plain text; a use of it is refused
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
    """Return the words of one shell command; constructs that need a shell are refused."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="".join(sorted(_OPERATORS)))
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError as error:
        raise _refused(where, f"cannot be split into words: {error}") from None
    if words[-1:] in (["$@"], ["$*"]):
        words.pop()  # the user's additions
    for word in words:
        if word and set(word) <= _OPERATORS:
            raise _refused(where, f"not understood: {word!r} in {command.strip()[:200]!r}")
    try:
        return [_expanded(word, variables or {}) for word in words]
    except ValueError as error:
        raise _refused(where, f"not understood: {error}") from None


def _expanded(word: str, variables: dict[str, str]) -> str:
    """Return the word with its variables replaced. Raises `ValueError` for unknown constructs."""

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
    """Separate options of files, machine and console; `strict` refuses all others."""
    emulator, *rest = words
    name = PurePosixPath(emulator).name
    if not name.startswith("qemu-system-"):
        raise _refused(where, f"{emulator!r} is not a QEMU")
    arguments: list[str] = []
    files: dict[str, str] = {}
    lines = 0  # serial lines
    left = iter(rest)
    for word in left:
        option = "-" + word.lstrip("-") if word.startswith("--") else word
        takes_value = option in FILES or option in MACHINE or option in CONSOLE
        value = next(left, None) if takes_value else None
        if takes_value and value is None:
            raise _refused(where, f"{word} has no value")
        lines += option == "-serial"
        if option in CONSOLE or option in CONSOLE_BARE:
            continue
        if value is not None and option in FILES:
            if FILES[option] in files:
                raise _refused(where, f"{option} is given twice")
            files[FILES[option]] = _inside(value, option, where)
            arguments += [option, f"{{{FILES[option]}}}"]
            continue
        known = takes_value or option in BARE
        if strict and not known:
            raise _refused(where, f"not understood: {word}")
        if strict and value is not None and (reason := objection(option, value)):
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
    """Return the path within the build tree; an absolute path of the build machine becomes images/NAME."""
    path = PurePosixPath(value)
    if path.is_absolute():
        path = PurePosixPath("images", path.name)
    if ".." in path.parts or not path.name:
        raise _refused(where, f"{option} {value}: not a file of the build tree")
    return str(path)
