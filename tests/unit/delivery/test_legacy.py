"""Second signatures in the form of other systems: CASES W36 and W40."""

import base64
import hashlib
import hmac
import json
from pathlib import Path

import msgspec
import pytest
from penguin_hub.delivery.legacy import LegacySignature, LegacySigner, TemplateInvalid, check_template


def signer(**wanted: str) -> LegacySigner:
    return LegacySigner(msgspec.convert({"header": "X-Signature", "secret": "s", **wanted}, LegacySignature))


def test_w36_github_s_own_vector() -> None:
    github = signer(secret="It's a Secret to Everybody", template="sha256={signature}")
    value = github.value("msg_1", 1700000000, b"Hello, World!")
    assert value == "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_w36_hook0_s_own_vector() -> None:
    hook0 = signer(secret="secret", template="t={timestamp},v0={signature}", signed="{timestamp}.{body}")
    value = hook0.value("msg_1", 1636936200, b"hello !")
    assert value == "t=1636936200,v0=1b3d69df55f1e52f05224ba94a5162abeb17ef52cd7f4948c390f810d6a87e98"


def test_w36_the_vector_that_stripe_s_package_made(vendor_specs: Path) -> None:
    vectors = json.loads((vendor_specs / "_webhook-vectors" / "vectors.json").read_text())["vectors"]
    (vector,) = (one for one in vectors if (one["vendor"], one["name"]) == ("stripe", "valid"))
    stripe = signer(secret=vector["secret"], template="t={timestamp},v1={signature}", signed="{timestamp}.{body}")
    value = stripe.value("msg_1", vector["now"], base64.b64decode(vector["body_b64"]))
    assert value == vector["headers"]["Stripe-Signature"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "sha512"])
def test_the_id_the_time_and_the_exact_bytes_are_signed_in_base64_too(algorithm: str) -> None:
    body = b'{"a": 1.0}\n\xff'
    one = signer(
        algorithm=f"hmac-{algorithm}",
        encoding="base64",
        signed="{id}.{timestamp}.{body}",
        template="{id}/{signature}",
        secret="schlüssel",
    )
    digest = hmac.new("schlüssel".encode(), b"msg_1.7." + body, getattr(hashlib, algorithm)).digest()
    assert one.value("msg_1", 7, body) == "msg_1/" + base64.b64encode(digest).decode()


def test_words_in_the_body_or_the_id_are_not_replaced_again() -> None:
    one = signer(signed="{timestamp}.{body}", template="{signature}")
    plain = hmac.new(b"s", b"7.{id}{timestamp}", "sha256").hexdigest()
    assert one.value("msg_1", 7, b"{id}{timestamp}") == plain


@pytest.mark.parametrize(
    "template",
    [
        "sha256=",
        "{signature}{signature}",
        "{signature} {secret}",
        "{signature.__class__}",
        "{signature!r}",
        "{signature",
        "signature}",
        "{0}{signature}",
        "{{signature}}",
        "{signature}\r\nX-Evil: 1",
        "{signature}\n",
        "é{signature}",
        " {signature}",
    ],
)
def test_w40_a_template_that_says_more_than_it_may_is_refused(template: str) -> None:
    with pytest.raises(TemplateInvalid):
        check_template(template)


@pytest.mark.parametrize("template", ["{signature}", "t={timestamp},v1={signature}", "v0={signature};id={id}"])
def test_a_template_of_the_known_words_is_taken(template: str) -> None:
    check_template(template)


def test_a_secret_stands_in_no_repr() -> None:
    wanted = LegacySignature(header="X-Signature", secret="canary")
    assert "canary" not in repr(wanted) + str(wanted) + repr(LegacySigner(wanted))
