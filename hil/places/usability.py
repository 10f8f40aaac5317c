"""The usability of a place: its tags, exporters and resources, whoever has acquired it."""

from __future__ import annotations

import re
from typing import Any

STEADY = re.compile("Serial|Power")  # classes of resources that are available in any state of the board


def why_unusable(session: Any, name: str, *, tagless: bool) -> str:
    """Return why the place `name` cannot be used; empty if it can.

    `session` is labgrid's client session. A place needs a tag `board` unless `tagless`.
    """
    place = session.places.get(name)
    if place is None:
        return "it was deleted"
    if not (tagless or "board" in place.tags):
        return "it has no tag `board`"
    exported = {
        (exporter, group, entry.cls, resource): entry
        for exporter, groups in session.resources.items()
        for group, entries in groups.items()
        for resource, entry in entries.items()
    }
    if match := place.unmatched(list(exported)):
        return f"exporter {match.exporter} with its {match.cls} is not there"
    matching = {path: entry for path, entry in exported.items() if place.hasmatch(path)}
    if not matching:
        return "it has no resources: `labgrid-client -p PLACE add-match` gives it some"
    for (exporter, _, cls, _), entry in matching.items():
        if STEADY.search(cls) and not entry.avail:
            return f"the {cls} of exporter {exporter} is not available"
    return ""
