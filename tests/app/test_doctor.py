import asyncio
from pathlib import Path

import asyncpg
import pytest

from tests.app.stand_ins import STAND_INS
from tunery.app.doctor import Finding, examine, find_instance, run_doctor, source
from tunery.app.settings import Settings
from tunery.app.up import Up


async def findings(settings: Settings, data: Path) -> dict[str, Finding]:
    return {finding.part: finding for finding in await examine(find_instance(settings, data))}


async def test_a_running_instance_is_found_and_healthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    with Up(Settings(_env_file=None, port=0), data_dir=data, durable=False, programs=STAND_INS) as up:
        found = await findings(Settings(_env_file=None), data)
        assert not [finding for finding in found.values() if finding.state == "failed"]
        assert set(found) >= {"PostgreSQL", "pgvector", "Schema", "Application role", "Redis or Valkey", "Storage"}
        assert found["Stripe"].text == f"sandbox at {up.settings.stripe_api_base}"
        assert found["Stripe webhooks"].text == f"{up.base_url}/webhooks/stripe"
        assert found["API"].text == f"healthy at {up.base_url}"
        assert found["Nodes"].state == "note"

        assert await asyncio.to_thread(run_doctor, Settings(_env_file=None), data) == 0
        output = capsys.readouterr().out
        for secret in (data / "secrets").iterdir():
            assert secret.read_text().strip() not in output
        assert up.settings.database_url is not None
        assert up.settings.database_url.split("@")[0].rpartition(":")[2] not in output

        given = find_instance(Settings(_env_file=None, stripe_secret_key="sk_test_own"), data)
        assert given.settings.stripe_api_base == "https://api.stripe.com", "a real key never meets the sandbox"
        assert source(given, "stripe_secret_key") == "set"
        assert source(given, "redis_url") == "embedded"


def test_nothing_at_all_fails_and_says_what_to_do(tmp_path: Path) -> None:
    found = asyncio.run(findings(Settings(_env_file=None), tmp_path))
    failed = {finding.part: finding for finding in found.values() if finding.state == "failed"}
    assert set(failed) == {"Root key", "PostgreSQL", "Application role", "Redis or Valkey", "Storage", "Stripe"}
    assert all(finding.advice for finding in failed.values())
    assert run_doctor(Settings(_env_file=None), tmp_path) == 1


async def test_unreachable_services_are_reported_each(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = Settings(
        _env_file=None,
        database_url="postgresql://x:topsecret@127.0.0.1:9/x",
        redis_url="redis://:topsecret@127.0.0.1:9",
        storage_url=(tmp_path / "file").as_uri(),
        stripe_secret_key="sk_test_topsecret",
        stripe_api_base="http://127.0.0.1:9",
        root_key="A" * 43 + "=",
    )
    found = await findings(nowhere, tmp_path)
    for part in ("PostgreSQL", "Application role", "Redis or Valkey", "Storage", "Stripe"):
        assert found[part].state == "failed", part
        assert found[part].advice
        assert "topsecret" not in found[part].text


async def test_a_role_that_bypasses_row_level_security_is_found(tmp_path: Path, settings: Settings) -> None:
    good = await findings(settings, tmp_path)
    assert good["Application role"].state == "ok"
    assert good["Schema"].state == "ok"

    owner = settings.model_copy(update={"database_app_url": settings.database_url})
    bad = (await findings(owner, tmp_path))["Application role"]
    assert bad.state == "failed"
    for problem in ("can bypass row-level security", "owns ", "reads without row-level security: "):
        assert problem in bad.text
    assert "tunery migrate" in bad.advice


async def test_an_unmigrated_database_is_found(tmp_path: Path, settings: Settings) -> None:
    assert settings.database_url is not None
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute("CREATE DATABASE unmigrated")
    await connection.close()
    unmigrated = settings.model_copy(update={"database_url": settings.database_url.rpartition("/")[0] + "/unmigrated"})
    schema = (await findings(unmigrated, tmp_path))["Schema"]
    assert schema.state == "failed"
    assert schema.text.startswith("revision none, the newest is ")
    assert schema.advice == "run `tunery migrate`"
