import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tunery.app.embedded.data_folder import DataFolder, read_runtime
from tunery.app.embedded.errors import DataFolderError


def initialise(path: Path) -> None:
    with DataFolder(path) as folder:
        folder.begin_initialisation()
        folder.finish_initialisation()


def test_a_folder_is_new_until_its_first_start_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "a" / "data"
    with DataFolder(path) as folder:
        assert folder.is_new
        folder.begin_initialisation()
        folder.finish_initialisation()
        assert not folder.is_new
    with DataFolder(path) as folder:
        assert not folder.is_new


def test_a_start_that_stored_nothing_leaves_a_usable_folder(tmp_path: Path) -> None:
    with DataFolder(tmp_path):
        pass
    with DataFolder(tmp_path) as folder:
        assert folder.is_new


def test_an_interrupted_first_start_says_that_nothing_was_stored(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        folder.begin_initialisation()
    with pytest.raises(DataFolderError, match=r"interrupted before anything was stored: delete that folder"):
        DataFolder(tmp_path)


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(DataFolderError, match=r"not a data folder of Tunery: choose another one with --data-dir"):
        DataFolder(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(DataFolderError, match="is not a folder"):
        DataFolder(tmp_path / "data")


@pytest.mark.parametrize(
    ("marker", "message"), [('{"format": 99}', "newer Tunery .*upgrade"), ("{", "damaged"), ("{}", "damaged")]
)
def test_a_marker_of_another_format_is_refused(tmp_path: Path, marker: str, message: str) -> None:
    initialise(tmp_path)
    (tmp_path / "tunery.json").write_text(marker)
    with pytest.raises(DataFolderError, match=message):
        DataFolder(tmp_path)
    assert (tmp_path / "tunery.json").read_text() == marker


@pytest.mark.parametrize("is_first_start", [True, False])
def test_a_folder_in_use_names_its_holder(tmp_path: Path, is_first_start: bool) -> None:
    if not is_first_start:
        initialise(tmp_path)
    with DataFolder(tmp_path) as folder:
        folder.begin_initialisation()
        folder.announce("http://127.0.0.1:8123")
        with pytest.raises(DataFolderError, match=rf"in use by process {os.getpid()} at http://127.0.0.1:8123"):
            DataFolder(tmp_path)
        folder.finish_initialisation()
    with DataFolder(tmp_path):
        pass


def test_a_killed_holder_frees_the_folder(tmp_path: Path) -> None:
    initialise(tmp_path)
    program = (
        "import sys, time; from pathlib import Path; from tunery.app.embedded.data_folder import DataFolder\n"
        "folder = DataFolder(Path(sys.argv[1])); folder.write_runtime({'pid': 1}); print('held', flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert read_runtime(tmp_path) == {"pid": 1}
        with pytest.raises(DataFolderError, match=rf"process {holder.pid}"):
            DataFolder(tmp_path)
        holder.kill()
    assert read_runtime(tmp_path) is None, "a killed instance's addresses lead nowhere"
    with DataFolder(tmp_path):
        pass


def test_secrets_are_kept_and_private(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "data") as folder:
        first = folder.secret("stripe-secret-key", prefix="sk_test_")
        assert first.startswith("sk_test_")
        assert folder.secret("stripe-secret-key") == first
        assert folder.secret("valkey-password") != first
        root_key = folder.root_key_file.read_text()
        assert folder.root_key_file.read_text() == root_key
        folder.write_runtime({"settings": {}})
        private = [*(folder.path / "secrets").iterdir(), folder.path / "runtime.json"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in private} == {0o600}
        assert stat.S_IMODE((folder.path / "secrets").stat().st_mode) == 0o700
    assert not (tmp_path / "data" / "runtime.json").exists()
    assert json.loads((tmp_path / "data" / "lock").read_text()) == {"pid": os.getpid()}
