"""The `tunery` command. Each command imports what it needs when it runs, so that `tunery --help` is quick."""

import os
import sys
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

import tunery
from tunery.app.embedded.errors import CannotStart
from tunery.app.settings import Settings, explain

USAGE = 2  # the exit status of what the user can mend

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=tunery.__doc__)

DataDir = Annotated[
    Path, typer.Option(envvar="TUNERY_DATA_DIR", file_okay=False, help="folder that holds everything of this instance")
]
Host = Annotated[str | None, typer.Option(help="address that the API listens on [TUNERY_HOST]")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="port of the API, 0 for a free one [TUNERY_PORT]")]


@app.command()
def up(data_dir: DataDir = Path("data"), port: Port = None, host: Host = None) -> None:
    """Run everything on this machine; embedded services stand in for what the settings do not name."""
    from tunery.app.up import run_up

    raise typer.Exit(run_up(load_settings(port=port, host=host), data_dir))


@app.command()
def doctor(data_dir: DataDir = Path("data")) -> None:
    """Check the settings and every service, and say what to do about each problem."""
    from tunery.app.doctor import run_doctor

    raise typer.Exit(run_doctor(load_settings(), data_dir))


@app.command()
def migrate() -> None:
    """Bring the database of TUNERY_DATABASE_URL up to date, as its owner."""
    from tunery.app.up import migrate_or_explain

    settings = load_settings()
    if settings.database_url is None:
        raise CannotStart("no database: set TUNERY_DATABASE_URL to the owner's URL (`tunery up` migrates its own)")
    migrate_or_explain(settings)


@app.command()
def api(port: Port = None, host: Host = None) -> None:
    """Run the API."""
    settings = complete_settings(port=port, host=host)
    from tunery.app.processes import run_api

    run_api(settings)


@app.command()
def worker() -> None:
    """Run the background worker: outbox, webhooks, schedules."""
    settings = complete_settings()
    from tunery.app.processes import run_worker

    run_worker(settings)


@app.command()
def node() -> None:
    """Run a node, which trains and serves adapters. It needs no root key."""
    settings = complete_settings(node=True)
    from tunery.app.processes import run_node

    run_node(settings)


@app.command()
def demo(
    fast: Annotated[bool, typer.Option(help="train for a moment only; answers are not judged")] = False,
    stay: Annotated[bool, typer.Option(help="play in DATA_DIR, print commands to try, run until Ctrl-C")] = False,
    data_dir: DataDir = Path("data"),
    port: Port = None,
    host: Host = None,
) -> None:
    """Play the whole path on embedded services, from chats to a sold and deployed adapter."""
    from tunery.app.demo.run import run_and_stay, run_demo

    settings = load_settings(port=port, host=host)
    raise typer.Exit(run_and_stay(settings, data_dir) if stay else run_demo(settings, fast=fast))


base_model = typer.Typer(no_args_is_help=True, help="The catalogue of base models.")
app.add_typer(base_model, name="base-model")


@base_model.command("add")
def add_base_model(
    name: Annotated[str, typer.Argument(help="what tenants call it, e.g. HuggingFaceTB/SmolLM2-135M-Instruct")],
    train_price: Annotated[str, typer.Option(help="US dollars per million trained tokens")],
    input_price: Annotated[str, typer.Option(help="US dollars per million tokens read in chats")],
    output_price: Annotated[str, typer.Option(help="US dollars per million tokens written in chats")],
    repository: Annotated[str | None, typer.Option(help="on the Hugging Face hub [NAME]")] = None,
    revision: Annotated[str, typer.Option(help="branch, tag or commit; its commit is what is kept")] = "main",
    licence: Annotated[str | None, typer.Option(help="default: what the model card says")] = None,
    data_dir: DataDir = Path("data"),
) -> None:
    """Register a causal language model of the Hugging Face hub, or change its line."""
    from tunery.app.base_models import add_base_model
    from tunery.app.instance import find_instance

    settings = find_instance(load_settings(), data_dir).settings
    prices = (_price(train_price), _price(input_price), _price(output_price))
    entry = add_base_model(settings, name, repository=repository, revision=revision, licence=licence, prices=prices)
    typer.echo(f"{entry.name}: {entry.parameters:,} parameters, {entry.licence}, commit {entry.revision}")


def _price(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise CannotStart(f"{text!r} is no price: write dollars per million tokens, e.g. 0.40") from None


backup = typer.Typer(no_args_is_help=True, help="Dumps of the database in which erasures hold.")
app.add_typer(backup, name="backup")

DumpFile = Annotated[Path, typer.Argument(dir_okay=False, help="is written anew")]


@backup.command("data")
def back_up_data(file: DumpFile, data_dir: DataDir = Path("data")) -> None:
    """Dump everything but keys: to be kept for as long as you like."""
    from tunery.app.backup import back_up_data
    from tunery.app.instance import find_instance

    back_up_data(find_instance(load_settings(), data_dir).settings, file)


@backup.command("keys")
def back_up_keys(file: DumpFile, data_dir: DataDir = Path("data")) -> None:
    """Dump the keys: keep the newest of these dumps alone, so that what is erased is erased in backups, too."""
    from tunery.app.backup import back_up_keys
    from tunery.app.instance import find_instance

    back_up_keys(find_instance(load_settings(), data_dir).settings, file)


@app.command()
def restore(
    data: Annotated[Path, typer.Argument(help="a dump of `tunery backup data`")],
    keys: Annotated[Path, typer.Argument(help="the newest dump of `tunery backup keys`")],
) -> None:
    """Fill the empty database of TUNERY_DATABASE_URL from a dump of data and the newest dump of keys."""
    from tunery.app.backup import restore

    restore(load_settings(), data, keys, typer.echo)


@app.command()
def erasures(
    tenant: Annotated[str, typer.Argument(help="the organisation's id, as its certificates name it")],
    data_dir: DataDir = Path("data"),
) -> None:
    """Print an organisation's certificates of erasure, one in each line, for `tunery verify`."""
    from tunery.app.erasures import run_erasures

    for line in run_erasures(load_settings(), data_dir, tenant):
        typer.echo(line)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="an adapter's folder, or a file of erasure certificates")],
    key: Annotated[list[str], typer.Option(help="public key you trust: base64, or a file with it; may be repeated")],
    digest: Annotated[
        str | None, typer.Option(help="the digest that was promised: the adapter's, or the last certificate's")
    ] = None,
) -> None:
    """Check offline that files are what an installation signed: 0 they are, 1 refused, 2 it cannot be checked."""
    from tunery.app.verify import run_verify

    raise typer.Exit(run_verify(path, key, digest))


keys = typer.Typer(no_args_is_help=True, help="Root keys and tenants' keys.")
app.add_typer(keys, name="keys")


@keys.command("status")
def keys_status(data_dir: DataDir = Path("data")) -> None:
    """How many keys are under each root key and each version, and which root key may be removed."""
    from tunery.app.keys import run_keys_status

    run_keys_status(load_settings(), data_dir)


@keys.command("rotate-root")
def rotate_root(data_dir: DataDir = Path("data")) -> None:
    """Put a new root key before those of the data folder of `tunery up`."""
    from tunery.app.keys import run_rotate_root

    run_rotate_root(load_settings(), data_dir)


@app.command()
def schema() -> None:
    """Print the GraphQL schema (SDL)."""
    from tunery.app.schema import schema

    typer.echo(schema.as_str())


@app.command()
def version() -> None:
    """Print Tunery's version."""
    typer.echo(tunery.__version__)


def load_settings(**overrides: Any) -> Settings:
    """The settings, with command-line options over them. Raises CannotStart that names each wrong one."""
    # A child of `tunery up` has all its settings in the environment; `.env` could add the owner's database URL.
    env_file = None if "TUNERY_SUPERVISED" in os.environ else ".env"
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(_env_file=env_file, **given)  # type: ignore[call-arg]
    except ValidationError as error:
        raise CannotStart(f"wrong settings:\n{explain(error)}") from None


def complete_settings(*, node: bool = False, **overrides: Any) -> Settings:
    """Settings with which a process can run by itself. Raises CannotStart that names each missing one."""
    from tunery.app.database_urls import role_url
    from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, NODE_ROLE

    settings = load_settings(**overrides)
    roles = (NODE_ROLE,) if node else (APPLICATION_ROLE, DISPATCHER_ROLE)
    problems = []
    for check in (
        *(() if node else (settings.load_root_keys,)),
        settings.load_node_token,
        *(partial(role_url, settings, role) for role in roles),
    ):
        try:
            check()
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if settings.redis_url is None:
        problems.append("no Redis or Valkey: set TUNERY_REDIS_URL")
    if settings.storage_url is None:
        problems.append("no object storage: set TUNERY_STORAGE_URL (file:///folder or s3://bucket/prefix)")
    if problems:
        unique = list(dict.fromkeys(problems))
        raise CannotStart("\n".join([*unique, "`tunery up` runs everything that is missing; see `tunery doctor`"]))
    return settings


def main() -> None:
    """The console's entry: what the user can mend is one message and exit status 2, without a traceback."""
    try:
        app()
    except CannotStart as error:
        print(f"tunery: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
