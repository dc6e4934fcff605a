"""What arrives while the disk is full."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from singscript_gateway.uploads.disk import NoTemporarySpace, file_on_disk


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file of this process may be larger than a block of its buffers: as a full disk, and it needs no root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("no_room")
@pytest.mark.parametrize("size_bytes", [5000, 100_000])
def test_r32_a_full_disk_is_no_defect(size_bytes: int) -> None:
    """The smaller one shows only when the file is closed."""
    path = Path()
    with pytest.raises(NoTemporarySpace), file_on_disk() as disk:
        path = Path(disk.name)
        disk.write(bytes(size_bytes))
    assert not path.exists()


@pytest.mark.usefixtures("no_room")
def test_r32_a_disk_that_was_full_from_the_start_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python looks for its temporary folder when it is first asked for, by writing a file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(NoTemporarySpace), file_on_disk():
        pass


def test_other_trouble_stays_what_it_is() -> None:
    with pytest.raises(ConnectionResetError), file_on_disk():
        raise ConnectionResetError
