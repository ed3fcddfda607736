"""The public keys as everybody reads them."""

import base64

from sqlalchemy import select

from tunery.core.database import Database
from tunery.core.services import Services
from tunery.vault.models import SigningKey
from tunery.vault.signatures import ML_DSA_65, fingerprint


async def test_public_keys_are_shown_as_their_signatures_name_them(api, services: Services):
    async with services.get(Database).unit_of_work() as uow:
        [key] = await uow.session.scalars(select(SigningKey))
    answer = await api.graphql("{ signingKeys { algorithm fingerprint publicKey } }")
    [shown] = answer["data"]["signingKeys"]
    assert shown == {
        "algorithm": ML_DSA_65,
        "fingerprint": fingerprint(key.public_key),
        "publicKey": base64.b64encode(key.public_key).decode(),
    }
