"""The folder that holds everything of one `tunery up`: layout, secrets, and the lock that keeps a second one out.

tunery.json     marker with the format's version, written last by the first start
initialising    present until then
lock            held (flock) for life; names the holder's process id and address
runtime.json    the running instance's URLs, for `tunery doctor`; removed on stop
secrets/        one file of mode 0600 each
postgres/  valkey/  sandbox/  storage/  logs/
"""

import base64
import contextlib
import errno
import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import Any, Literal, Self

from tunery.app.embedded.errors import DataFolderError

FORMAT = 1
MARKER = "tunery.json"
INITIALISING = "initialising"
LOCK = "lock"
RUNTIME = "runtime.json"
ROOT_KEYS = "root-key"


class DataFolder:
    """A folder that this process holds alone, until `close`."""

    def __init__(self, path: Path) -> None:
        """Takes the folder, creating it when there is none. Raises DataFolderError."""
        self.path = path.absolute()
        self.is_new = False
        try:
            check_content(self.path)
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = self._take_lock()
        except OSError as error:
            raise DataFolderError(
                f"{self.path} cannot be used ({error.strerror}): choose another folder with --data-dir"
            ) from None
        try:
            # Again, under the lock: whoever held it a moment ago may have changed everything.
            self.is_new = check_content(self.path, held=True) == "empty"
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def valkey(self) -> Path:
        return self.path / "valkey"

    @property
    def sandbox_state(self) -> Path:
        (self.path / "sandbox").mkdir(mode=0o700, exist_ok=True)
        return self.path / "sandbox" / "state.db"

    @property
    def storage(self) -> Path:
        folder = self.path / "storage"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    @property
    def root_key_file(self) -> Path:
        """Root keys in base64, the newest first, one a line. The first is made on first use."""
        file = self.secret_file(ROOT_KEYS)
        if not file.exists():
            write_private(file, random_key())
        return file

    @property
    def installation_secret(self) -> str:
        """32 bytes in base64, made on first use. (In folders from before there was one, that changes the passwords of
        the database's roles, which each start sets.)
        """
        file = self.secret_file("installation-secret")
        if not file.exists():
            write_private(file, random_key())
        return file.read_text().strip()

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def secret_file(self, name: str) -> Path:
        folder = self.path / "secrets"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / name

    def secret(self, name: str, prefix: str = "") -> str:
        """A secret made on first use and kept."""
        return read_or_create_secret(self.secret_file(name), prefix)

    def begin_initialisation(self) -> None:
        """Before anything is stored, so that an interrupted first start is told from a foreign folder."""
        if self.is_new:
            write_private(self.path / INITIALISING, "The first start of `tunery up` has not finished.\n")

    def finish_initialisation(self) -> None:
        """Says that the first start stored everything that later ones build on."""
        if self.is_new:
            write_private(self.path / MARKER, json.dumps({"format": FORMAT}) + "\n")
            (self.path / INITIALISING).unlink()
            self.is_new = False

    def announce(self, address: str) -> None:
        """Tells a second `tunery up` on this folder where the first one is."""
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, json.dumps({"pid": os.getpid(), "address": address}).encode(), 0)

    def write_runtime(self, values: dict[str, Any]) -> None:
        write_private(self.path / RUNTIME, json.dumps(values, indent=2) + "\n")

    def close(self) -> None:
        """Gives the folder back."""
        (self.path / RUNTIME).unlink(missing_ok=True)
        os.close(self._lock)

    def _take_lock(self) -> int:
        # Not inherited by children: the lock ends with this process, however it ends.
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise DataFolderError(f"{self.path} cannot be locked ({error.strerror}): use a local disk") from error
            holder = read_json(self.path / LOCK)
            who = f"process {holder['pid']}" if holder.get("pid") else "another process"
            where = f" at {holder['address']}" if holder.get("address") else ""
            raise DataFolderError(
                f"{self.path} is in use by {who}{where}: stop that one, or choose another folder with --data-dir"
            ) from None
        os.truncate(lock, 0)
        os.pwrite(lock, json.dumps({"pid": os.getpid()}).encode(), 0)
        return lock


def check_content(path: Path, *, held: bool = False) -> Literal["empty", "initialised"]:
    """Raises DataFolderError for every other state. `held`: the caller has the lock."""
    if path.exists() and not path.is_dir():
        raise DataFolderError(f"{path} is not a folder")
    names = {entry.name for entry in path.iterdir()} - {LOCK} if path.exists() else set()
    if MARKER in names:
        version = read_json(path / MARKER).get("format")
        if not isinstance(version, int):
            raise DataFolderError(f"{path / MARKER} is damaged: restore it, or choose another folder with --data-dir")
        if version > FORMAT:
            raise DataFolderError(
                f"{path} was written by a newer Tunery (format {version}, this one knows {FORMAT}): upgrade Tunery"
            )
        return "initialised"
    if INITIALISING in names:
        if not held and is_locked(path / LOCK):
            return "empty"  # the first start is under way in another process; taking the lock will say so
        raise DataFolderError(
            f"the first start in {path} was interrupted before anything was stored: delete that folder and start again"
        )
    if names:
        raise DataFolderError(
            f"{path} is not empty and not a data folder of Tunery: choose another one with --data-dir"
        )
    return "empty"


def is_locked(lock: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def read_runtime(path: Path) -> dict[str, Any] | None:
    """The URLs of the instance that runs in this folder, or None. A file left by a killed one does not count."""
    return read_json(path / RUNTIME) or None if is_locked(path / LOCK) else None


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file; empty when there is none."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_private(path: Path, text: str) -> None:
    """Replaces the file at once; only its owner can read it, from its first byte on."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def root_key_file_of(path: Path) -> Path:
    """Where a data folder has its root keys. It has an installation's secret as well, as soon as they are used."""
    return path.absolute() / "secrets" / ROOT_KEYS


def add_root_key(path: Path) -> None:
    """Put a new root key before those of the data folder, whether it is in use or not. Raises DataFolderError."""
    file = root_key_file_of(path)
    try:
        keys = file.read_text()
    except OSError as error:
        raise DataFolderError(
            f"{file} can't be read ({error.strerror}): is {path.absolute()} the data folder of `tunery up`?"
        ) from None
    write_private(file, f"{random_key()}\n{keys}")


def random_key() -> str:
    """32 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def read_or_create_secret(path: Path, prefix: str = "") -> str:
    """The secret kept in a file of mode 0600: `prefix` and 32 random bytes, URL-safe."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, prefix + secrets.token_urlsafe(32))
    return path.read_text().strip()
