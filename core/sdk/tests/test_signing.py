"""Standard Webhooks, as a sender: published vectors, rotation, and what is no secret. CASES W36 to W38, W40."""

import base64
import random
from datetime import UTC, datetime

import pytest
from penguin_hub_sdk import signing
from penguin_hub_sdk.signing import Ed25519Signer, SecretInvalid, parse
from standardwebhooks import Webhook

ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
HMAC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# svix/svix-webhooks, server/svix-server/src/worker.rs, test_asymmetric_key_signing (MIT).
ED25519_KEY = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="


def test_w36_published_vectors() -> None:
    assert signing.signature([parse(HMAC_SECRET)], ID, AT, BODY) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signing.signature([parse(ED25519_KEY)], ID, AT, BODY) == (
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    )


def test_w37_each_secret_of_a_rotation_signs_newest_first() -> None:
    secrets = [signing.new_secret(), HMAC_SECRET, ED25519_KEY]
    parts = signing.signature([parse(secret) for secret in secrets], ID, AT, BODY).split(" ")
    assert parts == [signing.signature([parse(secret)], ID, AT, BODY) for secret in secrets]
    assert [part.partition(",")[0] for part in parts] == ["v1", "v1", "v1a"]


def test_an_independent_library_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(5)
    for _ in range(50):
        secret, body = signing.new_secret(), chance.randbytes(chance.randrange(0, 200)).hex().encode()
        found = signing.headers([parse(signing.new_secret()), parse(secret)], "msg_1", AT, body)
        assert found["webhook-signature"].split(" ")[1] == Webhook(secret).sign("msg_1", _utc(AT), body.decode())


def test_a_key_pair_s_public_half_verifies() -> None:
    key = parse(signing.new_key())
    assert isinstance(key, Ed25519Signer)
    signed = key.sign(b"content").removeprefix("v1a,")
    signing.parse_public(key.public()).verify(base64.b64decode(signed), b"content")
    seed_only = "whsk_" + base64.b64encode(base64.b64decode(ED25519_KEY[5:])[:32]).decode()
    assert parse(seed_only).sign(b"x") == parse(ED25519_KEY).sign(b"x")


@pytest.mark.parametrize(
    "secret",
    [
        "", "whsec_", "whsec_abc", "secret", "WHSEC_" + "A" * 32, "whsec_" + "A" * 28, "whsec_" + "A" * 31 + "!",
        "whsec_" + base64.b64encode(b"x" * 23).decode(), "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whsec_ü" + "A" * 31, "whsk_" + base64.b64encode(b"x" * 31).decode(),
        "whsk_" + base64.b64encode(b"x" * 64).decode(),
        "whpk_" + base64.b64encode(b"x" * 32).decode(), "whsec_ " + "A" * 32, "whsec_" + "A" * 32 + "\n",
    ],
)  # fmt: skip
def test_w38_what_is_no_secret(secret: str) -> None:
    with pytest.raises(SecretInvalid) as caught:
        parse(secret)
    assert len(secret) < 8 or secret not in str(caught.value)


@pytest.mark.parametrize("length", [24, 32, 64])
def test_w38_lengths_that_are_fine(length: int) -> None:
    assert parse("whsec_" + base64.b64encode(b"x" * length).decode()).sign(b"").startswith("v1,")


def test_w40_message_ids() -> None:
    assert signing.valid_message_id("msg_1")
    for text in ("", "a.b", "a b", "a\nb", "a\x00", "ü", "x" * 257):
        assert not signing.valid_message_id(text)


def test_a_signer_shows_nothing() -> None:
    assert HMAC_SECRET[6:] not in repr(parse(HMAC_SECRET))
    assert ED25519_KEY[5:30] not in repr(parse(ED25519_KEY))


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
