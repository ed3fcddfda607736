"""Tunery's own processes as children of `tunery up`: which there are and what environment they get."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

import tunery
from tunery.app.embedded.guarded_process import GuardedProcess
from tunery.app.settings import Settings

STOP_TIMEOUT = 15.0
# -P: a module in the user's current folder must not shadow one of ours.
PYTHON = (sys.executable, "-P")
PYTHONPATH = str(Path(tunery.__file__).parent.parent)


@dataclass(frozen=True)
class Program:
    """A process of Tunery itself, started again when it ends. Without the package it `needs` it is left out. The
    settings that are `withheld` from it are none of its business.
    """

    name: str
    command: tuple[str, ...]
    needs: str | None = None
    withheld: frozenset[str] = frozenset()


NOT_FOR_NODES = frozenset(
    {
        *("root_key", "root_key_file", "installation_secret", "database_app_url", "database_dispatcher_url"),
        *("stripe_secret_key", "stripe_webhook_secret", "embeddings"),
    }
)
"""A node runs strangers' data through large libraries: it gets no key but those of the job that it leases, and the
database as a role that reaches little more.
"""

PROGRAMS = (
    Program("api", (*PYTHON, "-m", "tunery.app.cli", "api")),
    Program("worker", (*PYTHON, "-m", "tunery.app.cli", "worker")),
    Program("node", (*PYTHON, "-m", "tunery.app.cli", "node"), needs="torch", withheld=NOT_FOR_NODES),
)


def start_program(program: Program, environment: dict[str, str], log: Path) -> GuardedProcess:
    return GuardedProcess(program.name, program.command, log=log, environment=environment, stop_timeout=STOP_TIMEOUT)


def program_environment(program: Program, settings: Settings) -> dict[str, str]:
    """The environment of one of Tunery's own processes: every setting except those withheld from it, and the owner's
    database URL, which only migrations use. TUNERY_SUPERVISED keeps it from reading `.env`, which may name them again.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("TUNERY_")}
    no_proxy = ",".join(filter(None, (inherited.get("NO_PROXY"), "127.0.0.1", "localhost")))
    texts = setting_texts(settings, without={"database_url", *program.withheld})
    return (
        inherited
        | {f"TUNERY_{name.upper()}": text for name, text in texts.items()}
        | {"TUNERY_SUPERVISED": "1", "PYTHONPATH": PYTHONPATH, "NO_PROXY": no_proxy, "no_proxy": no_proxy}
    )


def setting_texts(settings: Settings, without: set[str]) -> dict[str, str]:
    """Each setting that has a value, as the environment writes it; paths are absolute."""
    texts = {}
    for name in Settings.model_fields.keys() - without:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, Path):
            value = value.absolute()
        if value is not None:
            texts[name] = str(value)
    return texts
