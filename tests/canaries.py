"""Words that stand nowhere else, to be looked for wherever bytes are kept."""

import base64
import mmap
import secrets
from collections.abc import Iterator
from pathlib import Path


class Canaries:
    """Each word begins with the same mark: whoever looks for that finds all of them."""

    def __init__(self) -> None:
        self.mark = f"canary{secrets.token_hex(8)}"
        self.count = 0

    def word(self) -> str:
        self.count += 1
        return f"{self.mark}n{self.count}"

    def text(self) -> str:
        """A sentence for people."""
        return f"My parcel {self.word()} goes to number {self.count} of Harbour Street."


def forms_of(mark: str) -> list[bytes]:
    """As text, and as text is carried where bytes can't be: UTF-16, hexadecimal, base64 wherever in it it begins."""
    encoded = mark.encode()
    forms = {encoded, mark.encode("utf-16-le"), mark.encode("utf-16-be"), encoded.hex().encode()}
    forms.add(encoded.hex().upper().encode())
    for before in range(3):
        whole = base64.b64encode(bytes(before) + encoded)
        # What its neighbours have a part in is left out.
        forms.add(whole[4 if before else 0 : -4])
    return sorted(forms)


def find_in(content: bytes | mmap.mmap, mark: str) -> list[bytes]:
    """The forms that stand there."""
    return [form for form in forms_of(mark) if content.find(form) >= 0]


def find_in_folder(folder: Path, mark: str) -> list[str]:
    """Where, in any file below the folder."""
    return [f"{path.relative_to(folder)}: {form!r}" for path in files_in(folder) for form in find_in_file(path, mark)]


def find_in_file(path: Path, mark: str) -> list[bytes]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return find_in(content, mark)


def files_in(folder: Path) -> Iterator[Path]:
    """Those that hold something."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size)
