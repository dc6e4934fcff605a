"""What only a server can do wrong: hang, refuse, cut, lack the bucket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from singscript_storage import ObjectNotFound, S3Store, StorageUnavailable

MakeFile = Callable[[bytes], Path]


def every_call(store: S3Store, source: Path, target: Path) -> list[Callable[[], object]]:
    return [
        store.check,
        lambda: store.put("x", source, "text/plain"),
        lambda: store.fetch("x", target),
        lambda: store.open("x"),
        lambda: store.open("x", 1, 2),
        lambda: store.stat("x"),
        lambda: list(store.list()),
        lambda: store.delete("x"),
    ]


def short_tempered(endpoint: str, **changed: Any) -> S3Store:
    settings = {"bucket": "test", "access_key": "a", "secret_key": "b", "secure": False}
    settings |= {"connect_s": 0.2, "read_s": 0.2, "retries": 1}
    return S3Store(endpoint, **(settings | changed))


@contextmanager
def tcp_server(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """Answers each connection with `handle`, one thread each, and closes it after that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        stopping = threading.Event()
        handlers: list[threading.Thread] = []

        def serve(connection: socket.socket) -> None:
            with connection:
                handle(connection)

        def accept() -> None:
            while not stopping.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                connection.settimeout(20)
                handlers.append(threading.Thread(target=serve, args=(connection,)))
                handlers[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopping.set()
            acceptor.join()
            for handler in handlers:
                handler.join()


@pytest.mark.timeout(60)
def test_R27_a_server_that_never_answers_is_given_up(make_file: MakeFile, tmp_path: Path) -> None:
    source = make_file(b"x")
    # Never accepted: the kernel completes the connection, and nobody reads.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = short_tempered(f"127.0.0.1:{silent.getsockname()[1]}")
        for call in every_call(store, source, tmp_path / "back"):
            with pytest.raises(StorageUnavailable) as raised:
                call()
            assert raised.value.reason == "STORAGE_UNAVAILABLE"
            assert raised.value.retryable
    assert not (tmp_path / "back").exists()


@pytest.mark.timeout(60)
def test_R27_a_body_that_stops_is_given_up(tmp_path: Path) -> None:
    released = threading.Event()

    def stall(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Type: text/plain\r\n\r\n0123456789")
        released.wait(20)

    with tcp_server(stall) as endpoint:
        store = short_tempered(endpoint)
        with pytest.raises(StorageUnavailable):
            store.fetch("x", tmp_path / "back")
        released.set()
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_is_cut_is_not_taken_for_whole(tmp_path: Path) -> None:
    def cut(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Type: text/plain\r\n\r\n0123456789")

    with tcp_server(cut) as endpoint, pytest.raises(StorageUnavailable):
        short_tempered(endpoint).fetch("x", tmp_path / "back")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>!",
        b"HTTP/1.1 400 Bad\r\nContent-Type: application/xml\r\nContent-Length: 4\r\n\r\n<xml",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
)
def test_a_server_that_is_no_s3_is_unavailable(answer: bytes, make_file: MakeFile, tmp_path: Path) -> None:
    source = make_file(b"x")

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with tcp_server(talk) as endpoint:
        for call in every_call(short_tempered(endpoint), source, tmp_path / "back"):
            with pytest.raises(StorageUnavailable):
                call()


def test_no_server_is_unavailable(make_file: MakeFile, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
    for call in every_call(short_tempered(endpoint), make_file(b"x"), tmp_path / "back"):
        with pytest.raises(StorageUnavailable, match="reached"):
            call()


def test_R27_a_missing_bucket_is_said_and_not_made(bucket: Any, make_file: MakeFile, tmp_path: Path) -> None:
    store = bucket.open(bucket="no-such-bucket")
    for call in every_call(store, make_file(b"x"), tmp_path / "back"):
        with pytest.raises(StorageUnavailable, match="no bucket 'no-such-bucket'"):
            call()


@pytest.mark.parametrize("wrong", [{"secret_key": "wrong"}, {"access_key": "test:nobody"}])
def test_wrong_credentials_are_said_without_showing_them(
    bucket: Any, make_file: MakeFile, tmp_path: Path, wrong: dict[str, str]
) -> None:
    for call in every_call(bucket.open(**wrong), make_file(b"x"), tmp_path / "back"):
        with pytest.raises(StorageUnavailable, match="credentials") as raised:
            call()
        assert not any(value in raised.value.message for value in wrong.values())


@pytest.mark.parametrize("size_bytes", [3_000_000, 20_000_000])
def test_R27_an_upload_that_is_cut_is_never_visible(bucket: Any, make_file: MakeFile, size_bytes: int) -> None:
    """Through a proxy that cuts every connection after 2 MB: in the first part, or in a later one."""
    host, _, port = bucket.server.endpoint.partition(":")
    left_bytes = size_bytes - 1_000_000

    def relay(client: socket.socket) -> None:
        nonlocal left_bytes
        with socket.create_connection((host, int(port)), timeout=20) as server:
            answers = threading.Thread(target=_pump, args=(server, client))
            answers.start()
            while left_bytes > 0 and (data := client.recv(65536)):
                left_bytes -= len(data)
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)
            answers.join()

    store = bucket.open()
    with tcp_server(relay) as endpoint, pytest.raises(StorageUnavailable):
        bucket.open(endpoint=endpoint, retries=0).put("x", make_file(bytes(size_bytes)), "text/plain")
    assert left_bytes <= 0
    assert list(store.list()) == []
    with pytest.raises(ObjectNotFound):
        store.stat("x")


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass


def test_an_object_of_another_program_can_be_read(bucket: Any, make_file: MakeFile, tmp_path: Path) -> None:
    server = bucket.server
    other = Minio(server.endpoint, server.access_key, server.secret_key, secure=False, region=server.region)
    other.fput_object(bucket.name, "x", str(make_file(b"hello")), content_type="text/html")
    store = bucket.open()
    assert store.stat("x").sha256 == ""
    fetched = store.fetch("x", tmp_path / "back")
    assert fetched.sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert fetched.media_type == "text/html"
