"""The labgrid resource of a bench's CAN interface. labgrid 26.0 has none."""

from __future__ import annotations

from typing import Any

import attr
from attr.validators import instance_of, optional
from labgrid.factory import target_factory
from labgrid.resource import Resource


@target_factory.reg_resource
@attr.s(eq=False)
class HilCanInterface(Resource):  # type: ignore[misc]
    """A CAN interface of the test's host that python-can can open, wired to the partition's bus.

    `interface` is python-can's name of its kind, such as `socketcan`, and `channel` the interface, such as `can0`.
    `bitrate` in bit/s is passed on if given; of SocketCAN it is set with `ip link` and only used for figures. `options`
    are further arguments of `can.Bus`.
    """

    channel: str = attr.ib(validator=instance_of(str))
    interface: str = attr.ib(default="socketcan", validator=instance_of(str))
    bitrate: int | None = attr.ib(default=None, validator=optional(instance_of(int)))
    options: dict[str, Any] = attr.ib(factory=dict, validator=instance_of(dict))
