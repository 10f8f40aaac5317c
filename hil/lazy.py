"""Deferred imports: a package offers names whose modules are imported when a name is first used."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy_names(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of `module`, which imports the names in its block `if TYPE_CHECKING:`."""

    @functools.cache
    def homes() -> dict[str, tuple[str | None, str]]:
        blocks = [node for node in ast.parse(inspect.getsource(sys.modules[module])).body if isinstance(node, ast.If)]
        imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
        return {name.asname or name.name: (node.module, name.name) for node in imports for name in node.names}

    def find(name: str) -> Any:
        if name.startswith("__") or name not in homes():
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, name = homes()[name]
        assert home is not None
        package = import_module(home)  # an error in it is its own, not a missing name
        return getattr(package, name) if hasattr(package, name) else import_module(f"{home}.{name}")

    return find
