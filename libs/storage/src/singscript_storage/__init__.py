"""Object storage behind one small protocol: a folder on this machine, or a bucket of any S3 server."""

from singscript_storage.folder import FolderStore
from singscript_storage.keys import artifact_key
from singscript_storage.s3 import S3Store
from singscript_storage.settings import StorageSettings, open_store
from singscript_storage.store import (
    ChecksumMismatch,
    InvalidKey,
    ObjectNotFound,
    ObjectStore,
    Reader,
    StorageUnavailable,
    StoredObject,
    sha256_of,
)

__all__ = [
    "ChecksumMismatch",
    "FolderStore",
    "InvalidKey",
    "ObjectNotFound",
    "ObjectStore",
    "Reader",
    "S3Store",
    "StorageSettings",
    "StorageUnavailable",
    "StoredObject",
    "artifact_key",
    "open_store",
    "sha256_of",
]
