"""Makes the storage that the settings name ready for use, once, before anything that needs it starts.

    python -m singscript_storage

Waits for an S3 server that is still starting, and makes its bucket where there is none. Exit status 0 when the storage
can be used.
"""

from __future__ import annotations

import sys
import time

from singscript_storage.s3 import S3Store
from singscript_storage.settings import StorageSettings, open_store
from singscript_storage.store import StorageUnavailable

WAIT_S = 60.0


def main() -> int:
    store = open_store(StorageSettings())
    if store is None:
        print("No storage is set: set SINGSCRIPT_STORAGE_DIR or SINGSCRIPT_S3_ENDPOINT.", file=sys.stderr)
        return 2
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            if isinstance(store, S3Store):
                store.make_bucket()
            store.check()
            return 0
        except StorageUnavailable as error:
            if time.monotonic() > deadline_s:
                print(error.message, file=sys.stderr)
                return 1
            time.sleep(1.0)


if __name__ == "__main__":
    sys.exit(main())
