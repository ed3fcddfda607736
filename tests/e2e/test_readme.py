"""The README's snippets, executed exactly as they are printed, from the checkout's root, in their order."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
ADDRESS = ("127.0.0.1", 8000)
DOWNLOAD = Path("/tmp/tunery-support")
SECONDS = 240


def snippets() -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user's, except that nothing of it lands in the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TUNERY_", "HF_"))}
    return {**kept, "TUNERY_DATA_DIR": str(tmp_path / "data"), "HF_HOME": str(tmp_path / "hf"), "BASH_ENV": ""}


@pytest.fixture
def running(environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """The terminal in which `tunery up` runs."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(ADDRESS)
        except OSError:
            pytest.skip("port 8000 is taken, and the README's snippets name it")
    [command] = [code for language, code in snippets() if language == "sh" and "tunery up" in code]
    with (tmp_path / "up.log").open("w") as log:
        process = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while not _healthy():
        assert process.poll() is None, (tmp_path / "up.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield
    shutil.rmtree(DOWNLOAD, ignore_errors=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def _healthy() -> bool:
    try:
        return httpx.get("http://127.0.0.1:8000/health").status_code == 200
    except httpx.HTTPError:
        return False


def test_it_opens_with_the_two_commands_that_ci_runs():
    language, first = snippets()[0]
    assert language == "sh"
    commands = [line.partition("#")[0].strip() for line in first.splitlines()]
    assert commands == ["make demo", "make test"]
    ci = (ROOT / ".ci" / "run").read_text()
    assert all(command in ci for command in commands)


@pytest.mark.skipif(not (ROOT / ".venv").exists(), reason="the snippets use .venv, which `make setup` makes")
@pytest.mark.usefixtures("running")
def test_the_snippets_do_what_they_say(environment: dict[str, str], tmp_path: Path):
    others = [(language, code) for language, code in snippets()[1:] if ".venv/bin/tunery up" not in code]
    assert [language for language, _ in others] == ["sh", "python", "sh", "sh"]
    script = ["set -euo pipefail"]
    for number, (language, code) in enumerate(others):
        if language == "python":
            path = tmp_path / f"snippet{number}.py"
            path.write_text(code)
            script.append(f"{sys.executable} {path}")
        else:
            script.append(code)
    result = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for expected in ("tokens for 0.0", "succeeded", "adapter_loss", "PostgreSQL"):
        assert expected in result.stdout, result.stdout
    downloaded = {path.name for path in DOWNLOAD.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tunery_signature.json"} <= downloaded
