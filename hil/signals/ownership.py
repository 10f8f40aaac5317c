"""The owners of pins: a pin that a loop drives must not be driven by anything else at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from hil.errors import ConfigurationError

_owners: WeakKeyDictionary[object, dict[str, str]] = WeakKeyDictionary()


@contextmanager
def claimed(wiring: object, names: Iterable[str], owner: str) -> Iterator[None]:
    """Own the pins or channels `names` of `wiring` in this context. Raises as `check_free`."""
    wanted = tuple(names)
    owned = _owners.setdefault(wiring, {})
    for name in wanted:
        check_free(wiring, name, owner)
    owned.update(dict.fromkeys(wanted, owner))
    try:
        yield
    finally:
        for name in wanted:
            del owned[name]


def check_free(wiring: object, name: str, by: str = "the test") -> None:
    """Check that nothing else drives `name`, on behalf of `by`. Raises `ConfigurationError` with both owners."""
    if owner := _owners.get(wiring, {}).get(name):
        raise ConfigurationError(
            f"{by} cannot drive {name}: {owner} drives it",
            hint=f"Drive {name} from one place: take it out of the loop's outputs, or leave it to the plant.",
        )
