"""The instance that a command speaks of: its own settings, completed by those of a running `tunery up`."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tunery.app.embedded.data_folder import read_runtime
from tunery.app.embedded.errors import CannotStart
from tunery.app.settings import Settings, explain
from tunery.core.database import is_unavailable

STRIPE = {"stripe_secret_key", "stripe_webhook_secret", "stripe_api_base"}
ROOT_KEY = {"root_key", "root_key_file"}

T = TypeVar("T")


@dataclass(frozen=True)
class Instance:
    """The settings in force: those given to this command, completed by those of a running `tunery up`."""

    settings: Settings
    given: set[str]
    embedded: set[str]
    base_url: str | None


def find_instance(settings: Settings, data_dir: Path) -> Instance:
    """Raises CannotStart for a running instance whose settings this release doesn't understand."""
    given = set(settings.model_fields_set)
    runtime = read_runtime(data_dir)
    if runtime is None:
        return Instance(settings, given, set(), None)
    running: dict[str, Any] = runtime["settings"]
    # What is given as one piece is taken as one piece: never a real Stripe key with the sandbox's address.
    own = set(given)
    for group in (STRIPE, ROOT_KEY):
        if group & given:
            own |= group
    completed = {name: value for name, value in running.items() if name not in own}
    try:
        merged = Settings(_env_file=None, **(settings.model_dump(include=given) | completed))  # type: ignore[call-arg]
    except ValidationError as error:
        raise CannotStart(
            f"`tunery up` in {data_dir} runs with settings that are wrong here, as those of another release may be:"
            f"\n{explain(error)}"
        ) from None
    return Instance(merged, given, set(runtime["embedded"]) - own, runtime["base_url"])


def ask(question: Coroutine[Any, Any, T], data_dir: Path) -> T:
    """What the instance's database answers. Raises CannotStart without settings or database."""
    try:
        return asyncio.run(question)
    except (ValueError, OSError) as error:
        raise CannotStart(f"{error}\n`tunery up` in {data_dir} has all of them while it runs") from None
    except Exception as error:
        if not is_unavailable(error):
            raise
        raise CannotStart(f"PostgreSQL does not answer: {error}") from error
