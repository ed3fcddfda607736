"""Whoever looks for something and finds nothing must be able to find it."""

import base64
import itertools
from pathlib import Path

import pytest

from tests.canaries import Canaries, find_in, find_in_folder

CANARIES = Canaries()
TEXT = f"My parcel {CANARIES.word()} goes to Harbour Street."


@pytest.mark.parametrize(
    "carried",
    [
        TEXT.encode(),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-be"),
        TEXT.encode().hex().encode(),
        TEXT.encode().hex().upper().encode(),
        *(base64.b64encode(bytes(before) + TEXT.encode()) for before in range(4)),
        base64.urlsafe_b64encode(TEXT.encode()),
    ],
    ids=itertools.count(),  # the words are others in each process
)
def test_a_canary_is_found_however_it_is_carried(carried: bytes, tmp_path: Path) -> None:
    assert find_in(carried, CANARIES.mark)
    assert find_in(carried, Canaries().mark) == []
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(bytes(100_000) + carried)
    (tmp_path / "empty").touch()
    assert {found.split(":")[0] for found in find_in_folder(tmp_path, CANARIES.mark)} == {"folder/file"}
