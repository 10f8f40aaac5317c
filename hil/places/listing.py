"""The places of a coordinator, listed quickly and without labgrid: for the completion of a shell."""

from __future__ import annotations

import os
import socket
import threading
from importlib import util
from pathlib import Path
from typing import Any

LIMIT = 1.0  # seconds for an answer
PORT = "20408"  # labgrid's default
GET_PLACES = "/labgrid.Coordinator/GetPlaces"


def places(address: str, limit: float = LIMIT) -> dict[str, dict[str, str]]:
    """Return the tags of each place of the coordinator at `address`, by the place's name.

    Returns none where no coordinator answers within `limit` seconds, or where it is reached through LG_PROXY only.
    """
    host, _, port = address.rpartition(":") if ":" in address else (address, "", PORT)
    if os.environ.get("LG_PROXY") or not port.isdecimal() or not _listens(host, int(port), limit):
        return {}
    import grpc  # takes long, so only where something listens

    messages = _messages()
    with grpc.insecure_channel(f"{host}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        get = channel.unary_unary(
            GET_PLACES,
            request_serializer=messages.GetPlacesRequest.SerializeToString,
            response_deserializer=messages.GetPlacesResponse.FromString,
        )
        try:
            answer = get(messages.GetPlacesRequest(), timeout=limit)
        except grpc.RpcError:
            return {}
    return {place.name: dict(place.tags) for place in answer.places}


def _listens(host: str, port: int, limit: float) -> bool:
    """Return whether a connection is accepted within `limit` seconds; the resolution of a name has no limit itself."""
    accepted = threading.Event()

    def connect() -> None:
        try:
            with socket.create_connection((host, port), limit):
                accepted.set()
        except (OSError, UnicodeError):
            pass
        finally:
            ended.set()

    ended = threading.Event()
    threading.Thread(target=connect, daemon=True).start()
    ended.wait(limit)
    return accepted.is_set()


def _messages() -> Any:
    """Return labgrid's messages. The import of its package takes half a second, that of this file a few ms."""
    package = util.find_spec("labgrid")
    assert package is not None, "labgrid is a requirement"
    file = Path(package.origin or "").parent / "remote" / "generated" / "labgrid_coordinator_pb2.py"
    spec = util.spec_from_file_location("labgrid_coordinator_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
