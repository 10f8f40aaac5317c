"""What is no coordinator: each is one of our errors, with the reason and nothing on standard error."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress

import grpc
import pytest

from hil.errors import ConfigurationError, InfrastructureError
from hil.places.coordinator import Coordinator


@pytest.mark.parametrize("address", ["", "a:b:c", "127.0.0.1:99999", "localhost:x", "\udcff:1"])
def test_what_is_no_address_is_the_user_s_error(address: str) -> None:
    with pytest.raises(ConfigurationError, match="address"):
        Coordinator(address)


@contextmanager
def serving(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that does `answer` with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "UNAVAILABLE"),
        (lambda connection: connection.sendall(bytes(range(256))), "UNAVAILABLE"),
        (lambda connection: None, "UNAVAILABLE"),
    ],
    ids=["HTTP", "bytes", "nothing"],
)
def test_a_server_that_is_no_coordinator_is_the_test_bed_s_error(
    answer: Callable[[socket.socket], object], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        serving(answer) as address,
        pytest.raises(InfrastructureError, match=rf"{address} .*{reason}"),
    ):
        Coordinator(address)
    assert "Traceback" not in capfd.readouterr().err


def test_another_grpc_service_is_no_coordinator(capfd: pytest.CaptureFixture[str]) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(InfrastructureError, match="UNIMPLEMENTED|INTERNAL"):
            Coordinator(f"127.0.0.1:{port}")
    finally:
        server.stop(None)
    assert "Traceback" not in capfd.readouterr().err


def test_a_user_s_name_that_cannot_be_sent_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LG_USERNAME", "\udcff")
    with pytest.raises(InfrastructureError, match="127.0.0.1:1"):
        Coordinator("127.0.0.1:1")
