import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunery import __version__


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "tunery.app.cli", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("TUNERY_")} | environment,
    )


def test_version(tmp_path: Path) -> None:
    assert run("version", folder=tmp_path).stdout == f"{__version__}\n"


def test_starting_the_command_imports_no_training_stack(tmp_path: Path) -> None:
    program = (
        "import sys, tunery.app.cli, tunery.app.up, tunery.app.doctor\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["up"], {"TUNERY_DATA_DIR": "/dev/null/x"}, "cannot be used"),
        (["up"], {"TUNERY_PORT": "eighty"}, "TUNERY_PORT: Input should be a valid integer"),
        (["up"], {"TUNERY_ROOT_KEY": "c2hvcnQ="}, "TUNERY_ROOT_KEY: Value error, the root key holds 5 bytes, not 32"),
        (["up"], {"TUNERY_ROOT_KEY_FILE": "/no/such/file"}, "/no/such/file"),
        (["migrate"], {}, "set TUNERY_DATABASE_URL"),
        (["api"], {}, "set TUNERY_REDIS_URL"),
        (["worker"], {}, "TUNERY_ROOT_KEY or TUNERY_ROOT_KEY_FILE"),
        (["node"], {}, "set TUNERY_STORAGE_URL"),
        (["backup", "data", "data.dump"], {}, "set TUNERY_DATABASE_URL"),
        (["backup", "keys", "keys.dump"], {"TUNERY_DATABASE_URL": "postgresql://x@127.0.0.1:9/x"}, "pg_dump failed"),
        (["restore", "data.dump", "keys.dump"], {}, "set TUNERY_DATABASE_URL"),
        (["node"], {}, "set TUNERY_INSTALLATION_SECRET"),
        (["node"], {"TUNERY_NODE_TOKEN": "c2hvcnQ="}, "TUNERY_NODE_TOKEN: Value should have at least 32 items"),
    ],
)
def test_what_the_user_can_mend_is_one_message_and_status_2(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    result = run(*arguments, folder=tmp_path, **environment)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert "c2hvcnQ=" not in result.stderr


def test_a_node_needs_no_root_key(tmp_path: Path) -> None:
    program = "from tunery.app.cli import complete_settings; print(complete_settings(node=True).load_node_token())"
    environment = {
        "TUNERY_DATABASE_NODE_URL": "postgresql://tunery_node:x@127.0.0.1:9/x",
        "TUNERY_REDIS_URL": "redis://127.0.0.1:9",
        "TUNERY_STORAGE_URL": tmp_path.as_uri(),
        "TUNERY_NODE_TOKEN": "t" * 32,
    }
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert result.stdout == f"{'t' * 32}\n"
    assert "root key" not in run("node", folder=tmp_path, TUNERY_NODE_TOKEN="t" * 32).stderr


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.tex").touch()
    result = run("up", folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "choose another one with --data-dir" in result.stderr


def test_a_supervised_process_does_not_read_the_owners_url_from_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TUNERY_DATABASE_URL=postgresql://owner:secret@127.0.0.1:9/x\n")
    program = "from tunery.app.cli import load_settings; print(load_settings().database_url)"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | extra,
        ).stdout.strip()
        for extra in ({}, {"TUNERY_SUPERVISED": "1"})
    ]
    assert outputs == ["postgresql://owner:secret@127.0.0.1:9/x", "None"]
