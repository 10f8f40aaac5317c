"""`hil completion`: the completion of commands, options and names in bash, zsh and fish, on click's mechanism.

The shell starts `hil` with the command line in the environment; `hil` prints one word a line. After an error it prints
neither words nor a message.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from hil.text import printable_line

PROGRAM, VARIABLE = "hil", "_HIL_COMPLETE"
JOINED = re.compile(r"(--[\w-]+=)(.*)", re.S)
"""An option with its value in one word."""


class _Shell(ShellComplete):
    """The common part of the shells: COMP_LINE is the line up to the cursor, see `split`."""

    def get_completion_args(self) -> tuple[list[str], str]:
        words = split(os.environ["COMP_LINE"])
        return words[1:-1], words[-1]

    def complete(self) -> str:
        """Return the lines for the shell; none where anything fails, without a message."""
        with redirect_stderr(StringIO()):
            try:
                arguments, word = self.get_completion_args()
                option, begun = joined.groups() if (joined := JOINED.fullmatch(word)) else ("", word)
                found = [item for item in self.get_completions(arguments, word) if _is_plain(item.value)]
                return "\n".join(line for item in found for line in self.lines(item, option, begun))
            except (Exception, SystemExit):
                return ""

    def lines(self, item: CompletionItem[str], option: str, word: str) -> Iterator[str]:
        """Return the lines for the shell's script.

        `word` is what is typed of the item; `option` precedes it in the same word of the shell, or is empty.
        """
        raise NotImplementedError

    def format_completion(self, item: CompletionItem[str]) -> str:
        return "\n".join(self.lines(item, "", ""))


class _Bash(_Shell):
    """Lines `kind TAB word` for bash, which splits words at `:` and `=` and completes only the last part."""

    name = "bash"
    source_template = """\
%(complete_func)s() {
    local kind word
    COMPREPLY=()
    while IFS=$'\\t' read -r kind word; do
        case $kind in
            '') continue ;;
            path) compopt -o filenames 2>/dev/null ;;
            part) compopt -o nospace 2>/dev/null ;;
            *) printf -v word %%q "$word" ;;
        esac
        COMPREPLY+=("$word")
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || complete -F %(complete_func)s %(prog_name)s
"""

    def lines(self, item: CompletionItem[str], option: str, word: str) -> Iterator[str]:
        breaks = [mark for mark in ":=" if mark in os.environ.get("COMP_WORDBREAKS", ":=")]
        dropped = max(word.rfind(mark) for mark in breaks) + 1 if breaks else 0
        kept = "" if dropped or "=" in breaks else option
        for kind, found in _expanded(item):
            yield f"{kind}\t{kept}{found[dropped:]}"


class _Zsh(_Shell):
    """Lines `kind TAB word TAB help` for zsh, which lists files itself."""

    name = "zsh"
    source_template = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a described plain part
    local kind word help
    (( $+commands[%(prog_name)s] )) || return 1
    while IFS=$'\\t' read -r kind word help; do
        case $kind in
            '') continue ;;
            dir) _files -/ ;;
            file) _files ${word:+-g} ${word:+$word} ;;
            option) compset -P '*=' ;;
            part) part+=("$word") ;;
            *) if [[ -n $help ]]; then described+=("${word//:/\\\\:}:$help"); else plain+=("$word"); fi ;;
        esac
    done < <(COMP_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)
    (( $#described )) && _describe -V %(prog_name)s described
    (( $#plain )) && compadd -V plain -a plain
    (( $#part )) && compadd -V part -S '' -a part
    return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

    def complete(self) -> str:
        found = super().complete()
        option = JOINED.fullmatch(split(os.environ.get("COMP_LINE", ""))[-1])
        return f"option\n{found}" if option else found

    def lines(self, item: CompletionItem[str], option: str, word: str) -> Iterator[str]:
        if item.type in ("file", "dir"):
            yield f"{item.type}\t{' '.join(item.patterns or ())}".rstrip("\t")
        else:
            yield f"{item.type}\t{item.value}\t{_one_line(item.help)}".rstrip("\t")


class _Fish(_Shell):
    """Lines `word TAB help` for fish."""

    name = "fish"
    source_template = """\
function %(complete_func)s
    set -lx COMP_LINE (commandline -cp | string join ' ')
    set -lx %(complete_var)s fish_complete
    %(prog_name)s 2>/dev/null
end
complete --no-files --command %(prog_name)s --arguments '(%(complete_func)s)'
"""

    def lines(self, item: CompletionItem[str], option: str, word: str) -> Iterator[str]:
        for kind, found in _expanded(item):
            slash = "/" if kind == "path" and os.path.isdir(os.path.expanduser(found)) else ""  # noqa: PTH111, PTH112
            yield f"{option}{found}{slash}\t{_one_line(item.help)}".rstrip("\t")


SHELLS = {shell.name: add_completion_class(shell) for shell in (_Bash, _Zsh, _Fish)}


def split(line: str) -> list[str]:
    """Return the words of a command line that ends at the cursor; the last one is empty after a space.

    >>> split("hil board "), split("hil 'my mod")
    (['hil', 'board', ''], ['hil', 'my mod'])
    """
    *words, last = split_arg_string(f"{line}x")
    return [*words, last[:-1]]


def _expanded(item: CompletionItem[str]) -> Iterator[tuple[str, str]]:
    """Return kind and text of each word that an item stands for: a path that is begun stands for what it may become."""
    if item.type not in ("file", "dir"):
        yield item.type, item.value
        return
    begun, name = os.path.split(item.value)
    patterns: tuple[str, ...] = () if item.type == "dir" else (item.patterns or ("*",))
    with os.scandir(os.path.expanduser(begun) or ".") as entries:  # noqa: PTH111  Path would lose ./ and //
        found = sorted(entry.name for entry in entries if _fits(entry, name, patterns))
    for entry_name in found:
        yield "path", os.path.join(begun, entry_name)  # noqa: PTH118  as above


def _fits(entry: os.DirEntry[str], begun: str, patterns: tuple[str, ...]) -> bool:
    if not _is_plain(entry.name) or not entry.name.startswith(begun) or (entry.name.startswith(".") and not begun):
        return False
    return entry.is_dir() or any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns)


def _is_plain(name: str) -> bool:
    """Return whether a line of text can hold the name, and a terminal show it."""
    return printable_line(name) == name


def _one_line(text: str | None) -> str:
    return " ".join(text.split()) if text else ""


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and names in SHELL.

    \b
    bash  eval "$(hil completion bash)"             in ~/.bashrc
    zsh   eval "$(hil completion zsh)"              in ~/.zshrc, after compinit
    fish  hil completion fish | source              in ~/.config/fish/config.fish
    """
    root: Any = context.find_root().command
    click.echo(SHELLS[shell](root, {}, PROGRAM, VARIABLE).source(), nl=False)
