"""`tunery keys`: what root keys and tenants' keys are used for, and a new root key for the data folder."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tunery.app.database_urls import role_url
from tunery.app.embedded.data_folder import add_root_key, root_key_file_of
from tunery.app.embedded.errors import CannotStart
from tunery.app.instance import ask, find_instance
from tunery.app.settings import Settings
from tunery.core.clock import SystemClock
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, Database
from tunery.vault.inventory import RootKeyUse, VersionUse, count_by_root_key, count_by_version
from tunery.vault.root_keys import UNNAMED, RootKeys


@dataclass(frozen=True)
class RootKeyState:
    """A root key of the settings or of the rows, and what may be done with it."""

    root_key: str
    tenant_keys: int
    signing_keys: int
    advice: str
    may_be_removed: bool = False


@dataclass(frozen=True)
class KeysStatus:
    root_keys: list[RootKeyState]
    versions: list[VersionUse]


async def examine_keys(settings: Settings, data_dir: Path) -> KeysStatus:
    """Raises ValueError that names a setting that is missing."""
    has_secret = settings.installation_secret is not None or settings.root_key_file == root_key_file_of(data_dir)
    keys = settings.load_root_keys()
    database = Database(role_url(settings, APPLICATION_ROLE), role_url(settings, DISPATCHER_ROLE), SystemClock())
    try:
        async with database.dispatch() as uow:
            uses, versions = await count_by_root_key(uow), await count_by_version(uow)
    finally:
        await database.close()
    return KeysStatus(_states(keys, uses, has_installation_secret=has_secret), versions)


def _states(keys: RootKeys, uses: list[RootKeyUse], *, has_installation_secret: bool) -> list[RootKeyState]:
    by_name = {use.root_key: use for use in uses}
    nothing = RootKeyUse(UNNAMED, 0, 0)
    unnamed = by_name.pop(UNNAMED, nothing)
    local = [key.id for key in keys.local]
    states = []
    for name in keys.ids:
        use = by_name.pop(name, nothing)
        counts = (name, use.tenant_keys, use.signing_keys)
        if name == keys.newest.id:
            states.append(RootKeyState(*counts, "the newest: it seals"))
        elif use.tenant_keys or use.signing_keys:
            states.append(RootKeyState(*counts, "still needed: a worker seals what is left under the newest"))
        elif unnamed != nothing and name in local:
            states.append(RootKeyState(*counts, "perhaps needed: see the last line"))
        elif local == [name] and not has_installation_secret:
            states.append(RootKeyState(*counts, "make it TUNERY_INSTALLATION_SECRET, then it may be removed"))
        else:
            states.append(RootKeyState(*counts, "may be removed from the settings", may_be_removed=True))
    missing = "not among the settings: what it sealed cannot be opened here"
    states += [RootKeyState(use.root_key, use.tenant_keys, use.signing_keys, missing) for use in by_name.values()]
    if unnamed != nothing:
        advice = "from before rows named their root key: a worker seals them under the newest"
        states.append(RootKeyState("(one of the local ones)", unnamed.tenant_keys, unnamed.signing_keys, advice))
    return states


def run_keys_status(settings: Settings, data_dir: Path) -> None:
    """The command. Raises CannotStart without settings or database."""
    status = ask(examine_keys(find_instance(settings, data_dir).settings, data_dir), data_dir)
    console = Console(highlight=False, soft_wrap=True)
    table = Table("root key", "tenants' keys", "signing keys", "", box=None, padding=(0, 2, 0, 0))
    for key in status.root_keys:
        table.add_row(key.root_key, f"{key.tenant_keys:,}", f"{key.signing_keys:,}", key.advice)
    console.print(table)
    console.print()
    table = Table("version", "tenants that have it", "retired", "data keys", box=None, padding=(0, 2, 0, 0))
    for use in status.versions:
        table.add_row(str(use.version), f"{use.tenants:,}", f"{use.retired:,}", f"{use.data_keys:,}")
    console.print(table)


def run_rotate_root(settings: Settings, data_dir: Path) -> None:
    """The command. Raises CannotStart for what is no data folder, and where the settings name root keys themselves."""
    if settings.root_key is not None or settings.root_key_file is not None:
        raise CannotStart(
            "the root key is set by TUNERY_ROOT_KEY or TUNERY_ROOT_KEY_FILE: put a new one before it there, on each"
            " machine, as the reference says under “Root keys”"
        )
    add_root_key(data_dir)
    Console(highlight=False, soft_wrap=True).print(
        f"{data_dir / 'secrets' / 'root-key'} has a new first line. Restart `tunery up`; from then on the new key"
        " seals, and the worker seals anew what the old one had. `tunery keys status` says when the old line may go.",
        markup=False,
    )
