"""A lab of emulated boards behind a real labgrid coordinator and exporter.

The supervisor's process needs neither `Lab` nor labgrid: they are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.lazy import lazy_names

if TYPE_CHECKING:
    from hil.lab.directory import take_down
    from hil.lab.lab import Lab
else:
    __getattr__ = lazy_names(__name__)

__all__ = ["Lab", "take_down"]
