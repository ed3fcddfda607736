import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tunery.app.settings import Settings
from tunery.core.errors import Unavailable
from tunery.vault.derivation import derive
from tunery.vault.installation import InstallationSecret
from tunery.vault.root_keys import LocalRootKey, RootKeys, parse_root_keys
from tunery.vault.sealing import UnsealingFailed

OLD, NEW = bytes(32), b"n" * 32
OLD_TEXT, NEW_TEXT = base64.b64encode(OLD).decode(), base64.b64encode(NEW).decode()
ARN = "arn:aws:kms:eu-central-1:123456789012:key/1d44a105-bbd6-4ba4-9586-2757e5efa781"


def load(**given_settings) -> Settings:
    return Settings(_env_file=None, **given_settings)


@given(st.binary(max_size=200))
async def test_the_newest_seals_and_all_open(secret: bytes):
    old, both = RootKeys([LocalRootKey(OLD)]), RootKeys([LocalRootKey(NEW), LocalRootKey(OLD)])
    name, sealed = await old.seal(b"here", secret)
    assert name == LocalRootKey(OLD).id
    assert await both.unseal(name, b"here", sealed, "tenant key") == secret
    name, sealed = await both.seal(b"here", secret)
    assert name == LocalRootKey(NEW).id
    for wrong_name, context, content in (
        (LocalRootKey(OLD).id, b"here", sealed),
        (name, b"there", sealed),
        (name, b"here", sealed[:-1]),
    ):
        with pytest.raises(UnsealingFailed):
            await both.unseal(wrong_name, context, content, "tenant key")
    with pytest.raises(Unavailable, match="root key that this needs is not here"):
        await old.unseal(name, b"here", sealed, "tenant key")


def test_an_id_follows_from_the_key_and_tells_nothing_of_it():
    assert LocalRootKey(OLD).id == "local-" + derive(OLD, "root key id", 8).hex()
    assert len({LocalRootKey(key).id for key in (OLD, NEW)}) == 2


@pytest.mark.parametrize("text", [f"{NEW_TEXT},{OLD_TEXT}", f" {NEW_TEXT} , {OLD_TEXT},"])
def test_settings_hold_several_keys_the_newest_first(text: str, tmp_path):
    keys = load(root_key=text).load_root_keys()
    assert keys.ids == [LocalRootKey(NEW).id, LocalRootKey(OLD).id]
    file = tmp_path / "root-key"
    file.write_text(f"{NEW_TEXT}\n\n{OLD_TEXT}\n")
    assert load(root_key_file=file).load_root_keys().ids == keys.ids
    assert load(root_key=OLD_TEXT, root_key_file=file).load_root_keys().ids == keys.ids[1:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c2hvcnQ=", "the root key holds 5 bytes, not 32"),
        ("not base64!", "not valid base64"),
        (f"{OLD_TEXT},{OLD_TEXT}", "the same root key is given twice"),
        (",", "no root key"),
        ("aws-kms:alias/mine", "no ARN of a KMS key"),
        ("aws-kms:arn:aws:kms:eu-central-1:123456789012:alias/mine", "no ARN of a KMS key"),
    ],
)
def test_wrong_root_keys_are_named_before_anything_starts(text: str, message: str):
    with pytest.raises(ValidationError, match=message):
        load(root_key=text)


@pytest.mark.parametrize("new", [NEW_TEXT, f"aws-kms:{ARN}"])
def test_passwords_are_the_same_in_each_step_of_changing_the_root_key(new: str):
    """As the reference has the steps, under “Changing it”."""
    before = load(root_key=OLD_TEXT).load_installation_secret()
    # As the first release derived them.
    assert before.derive("database role tunery_app") == derive(OLD, "database role tunery_app")
    assert before.derive("node gateway") != before.derive("database role tunery_app")
    for root_key in (OLD_TEXT, f"{OLD_TEXT},{new}", f"{new},{OLD_TEXT}", new):
        step = load(root_key=root_key, installation_secret=OLD_TEXT)
        assert step.load_installation_secret().derive("node gateway") == before.derive("node gateway")
        assert step.load_node_token() == before.derive("node gateway").hex()


@pytest.mark.parametrize("text", [f"{OLD_TEXT},{NEW_TEXT}", f"{NEW_TEXT},{OLD_TEXT}"])
def test_of_several_root_keys_none_stands_in_for_the_installation_s_secret(text: str, tmp_path):
    """Their order changes while one takes another's place: passwords would change with it."""
    file = tmp_path / "root-key"
    file.write_text(text.replace(",", "\n"))
    for settings in (load(root_key=text), load(root_key_file=file)):
        with pytest.raises(ValueError, match="set it to the one that was here first") as refused:
            settings.load_installation_secret()
        assert OLD_TEXT not in str(refused.value)
        assert NEW_TEXT not in str(refused.value)
        with pytest.raises(ValueError, match="several root keys need TUNERY_INSTALLATION_SECRET"):
            settings.load_node_token()


def test_one_root_key_that_is_no_kms_key_stands_in_for_the_installation_s_secret():
    one = load(root_key=OLD_TEXT).load_installation_secret().derive("node gateway")
    for settings in (
        load(root_key=f"aws-kms:{ARN},{OLD_TEXT}"),
        load(root_key=f"{OLD_TEXT},aws-kms:{ARN}"),
        load(installation_secret=OLD_TEXT),
    ):
        assert settings.load_installation_secret().derive("node gateway") == one
    with pytest.raises(ValueError, match="need TUNERY_INSTALLATION_SECRET beside them"):
        load(root_key=f"aws-kms:{ARN}").load_installation_secret()
    with pytest.raises(ValidationError, match="the installation's secret holds 5 bytes, not 32"):
        load(installation_secret="c2hvcnQ=")
    with pytest.raises(ValueError, match="has 32 bytes, not 3"):
        InstallationSecret(b"abc")


def test_without_boto3_a_kms_key_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ValueError, match=r"pip install 'tunery\[aws\]'"):
        parse_root_keys([f"aws-kms:{ARN}"])
