"""Objects in a bucket of any S3 server; nothing beyond plain S3 is used.

The digest travels as user metadata. Large objects go up in parts and are visible only when the last one is there.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import certifi
import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse
from urllib3.util import parse_url

from singscript_core import stopping
from singscript_storage.keys import check_key, check_prefix
from singscript_storage.store import (
    BLOCK_BYTES,
    LINK_S,
    ObjectNotFound,
    Reader,
    StorageUnavailable,
    StoredObject,
    check_range,
    save,
    sha256_of,
)

_PART_BYTES = 8 * 1024 * 1024
_SEND_BYTES = 64 * 1024
_DIGEST_HEADER = "x-amz-meta-sha256"
_MISSING = frozenset({"NoSuchKey", "NoSuchObject", "ResourceNotFound"})
_REFUSED = frozenset({"AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthorizationHeaderMalformed"})
_NO_MEDIA_TYPE = "application/octet-stream"


class S3Store:
    """An `ObjectStore` in a bucket, which must exist.

    Args:
        endpoint: host:port.
        bucket, access_key, secret_key, region: as the server wants them.
        secure: whether over TLS.
        public_endpoint: https://host:port at which clients reach the same bucket; empty: they do not.
        connect_s: longest wait for a connection, and for 64 KiB to be taken.
        read_s: longest wait for an answer, and between two pieces of one.
        retries: how many more times a request that can be repeated is tried.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        bucket: str,
        access_key: str,
        secret_key: str,
        region: str = "us-east-1",
        secure: bool = True,
        public_endpoint: str = "",
        connect_s: float = 3.0,
        read_s: float = 5.0,
        retries: int = 2,
    ) -> None:
        self._bucket = bucket
        pool = urllib3.PoolManager(
            maxsize=10,
            timeout=urllib3.Timeout(connect=connect_s, read=read_s),
            retries=urllib3.Retry(total=retries, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        pool.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        self._client = Minio(
            endpoint, access_key=access_key, secret_key=secret_key, region=region, secure=secure, http_client=pool
        )
        self._public: Minio | None = None
        if public_endpoint:
            public = parse_url(public_endpoint)
            # Only signs: what is signed holds the host that is asked, and as it knows the region it asks nobody for it.
            self._public = Minio(
                public.netloc or "",
                access_key=access_key,
                secret_key=secret_key,
                region=region,
                secure=public.scheme == "https",
            )

    def check(self) -> None:
        with self._translated():
            exists = self._client.bucket_exists(self._bucket)
        if not exists:
            raise self._no_bucket()

    def make_bucket(self) -> None:
        """Makes the bucket where there is none; raises StorageUnavailable."""
        with self._translated():
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket)

    def put(self, key: str, path: Path, media_type: str) -> StoredObject:
        check_key(key)
        with path.open("rb") as file:
            digest = sha256_of(file)
            size_bytes = file.tell()
            file.seek(0)
            with self._translated(key):
                self._client.put_object(
                    self._bucket,
                    key,
                    file,
                    size_bytes,
                    content_type=media_type,
                    metadata={_DIGEST_HEADER: digest},
                    part_size=_PART_BYTES,
                    num_parallel_uploads=1,
                )
        return StoredObject(key, size_bytes, digest, media_type)

    def fetch(self, key: str, path: Path) -> StoredObject:
        return save(self.open(key), path)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Reader:
        check_key(key)
        check_range(offset, length)
        if offset == 0 and length is None:
            response = self._get(key)
            return self._reader(_described(key, response), response, whole=True)
        stored = self.stat(key)
        end = stored.size_bytes if length is None else min(offset + length, stored.size_bytes)
        if offset >= end:
            return Reader(stored, iter(()), lambda: None, whole=False)
        response = self._get(key, offset, end - offset)
        return self._reader(stored, response, whole=False)

    def stat(self, key: str) -> StoredObject:
        check_key(key)
        try:
            with self._translated(key):
                found = self._client.stat_object(self._bucket, key)
        except ObjectNotFound:
            # The answer to a HEAD has no body that would tell a missing bucket from a missing object.
            self.check()
            raise
        headers: Any = found.metadata or {}
        return StoredObject(key, found.size or 0, headers.get(_DIGEST_HEADER, ""), found.content_type or _NO_MEDIA_TYPE)

    def list(self, prefix: str = "") -> Iterator[str]:
        check_prefix(prefix)
        return self._list(prefix)

    def _list(self, prefix: str) -> Iterator[str]:
        with self._translated():
            for found in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                if found.object_name:
                    yield found.object_name

    def delete(self, key: str) -> None:
        check_key(key)
        with self._translated(key):
            self._client.remove_object(self._bucket, key)

    def link(self, key: str, media_type: str, disposition: str) -> str | None:
        check_key(key)
        if self._public is None:
            return None
        headers: Any = {"response-content-type": media_type, "response-content-disposition": disposition}
        return self._public.presigned_get_object(self._bucket, key, timedelta(seconds=LINK_S), headers)

    def _get(self, key: str, offset: int = 0, length: int = 0) -> BaseHTTPResponse:
        with self._translated(key):
            return self._client.get_object(self._bucket, key, offset=offset, length=length)

    def _reader(self, stored: StoredObject, response: BaseHTTPResponse, *, whole: bool) -> Reader:
        def blocks() -> Iterator[bytes]:
            with self._translated(stored.key):
                yield from response.stream(BLOCK_BYTES)

        def close() -> None:
            response.close()
            response.release_conn()

        return Reader(stored, blocks(), close, whole=whole)

    @contextmanager
    def _translated(self, key: str = "") -> Generator[None, None, None]:
        """What the server or the way to it does wrong, as an `ObjectNotFound` or a `StorageUnavailable`."""
        try:
            yield
        except S3Error as error:
            if error.code in _MISSING:
                raise ObjectNotFound(key) from error
            if error.code == "NoSuchBucket":
                raise self._no_bucket() from error
            if error.code in _REFUSED:
                raise StorageUnavailable(
                    f"The storage server refused the credentials ({error.code}). Check the access key, the secret key "
                    f"and the rights on bucket {self._bucket!r}."
                ) from error
            raise StorageUnavailable(f"The storage server answered {error.code}. Try again later.") from error
        except (MinioException, urllib3.exceptions.HTTPError, ParseError) as error:
            raise StorageUnavailable(
                "The storage server cannot be reached, or did not answer in time. Check that it runs."
            ) from error

    def _no_bucket(self) -> StorageUnavailable:
        return StorageUnavailable(f"The storage server has no bucket {self._bucket!r}. Create it.")


def _described(key: str, response: BaseHTTPResponse) -> StoredObject:
    headers = response.headers
    return StoredObject(
        key,
        int(headers.get("content-length", "0")),
        headers.get(_DIGEST_HEADER, ""),
        headers.get("content-type", _NO_MEDIA_TYPE),
    )


class _SteadySend:
    """Sends bodies in pieces: a socket's time-out covers one whole `send`, which for a part of MiBs is too short."""

    def send(self, data: Any) -> None:
        if isinstance(data, bytes):
            for start in range(0, len(data), _SEND_BYTES):
                if start:  # not before short ones: one of them takes an unfinished upload away
                    stopping.check()
                super().send(data[start : start + _SEND_BYTES])  # type: ignore[misc]  (mixed in before a connection)
        else:
            super().send(data)  # type: ignore[misc]  (as above)


class _Connection(_SteadySend, HTTPConnection):
    pass


class _TlsConnection(_SteadySend, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection  # pyright: ignore[reportAssignmentType]  (urllib3's way to say which)


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection  # pyright: ignore[reportAssignmentType]  (as above)
