"""Amazon SNS and Google push: signatures with certificates and keys that are fetched."""

import base64
import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from penguin_hub_sdk.config import Config
from penguin_hub_sdk.errors import SignatureInvalid
from penguin_hub_sdk.verifiers import GooglePush, Sns, verify
from penguin_hub_sdk.webhooks import InboundRequest

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
KEY = rsa.generate_private_key(65537, 2048)
TOPIC = "arn:aws:sns:us-east-1:123456789012:ses-events"
CERT_URL = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"


class Settings(Config, frozen=True):
    topic_arn: str = TOPIC
    audience: str = "https://hub.example.test/push"
    account: str = "push@project.iam.gserviceaccount.com"


def certificate(start: dt.datetime = NOW - dt.timedelta(days=1), days: int = 30) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    built = x509.CertificateBuilder(name, name, KEY.public_key(), 1, start, start + dt.timedelta(days=days))
    return built.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


CERTIFICATE = certificate()


def inbound(body: bytes, **headers: str) -> InboundRequest:
    return InboundRequest(
        method="POST", url="https://hub/x", headers=tuple(headers.items()), body=body, received_at=NOW
    )


def sns(kind: str = "Notification", version: str = "2", **changes: Any) -> InboundRequest:
    fields = {
        "Type": kind, "MessageId": "22b80b92", "TopicArn": TOPIC, "Message": '{"eventType":"Bounce"} ü',
        "Timestamp": "2026-11-20T12:00:00.000Z", "SignatureVersion": version, "SigningCertURL": CERT_URL,
    }  # fmt: skip
    if kind != "Notification":
        fields |= {"Token": "t", "SubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription"}
    signed = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{fields[name]}\n" for name in signed if name in fields).encode()
    algorithm: hashes.HashAlgorithm = hashes.SHA256() if version == "2" else hashes.SHA1()  # noqa: S303 - SNS version 1
    fields["Signature"] = base64.b64encode(KEY.sign(text, padding.PKCS1v15(), algorithm)).decode()
    return inbound(msgspec.json.encode({**fields, **changes}))


VERIFIER = Sns(topic="topic_arn")


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("kind", ["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"])
async def test_sns_is_verified_with_the_certificate_it_names(kind: str, version: str) -> None:
    asked: list[str] = []

    async def fetch(url: str) -> bytes:
        asked.append(url)
        return CERTIFICATE

    request = sns(kind, version)
    await verify(VERIFIER, request, [Settings()], fetch)
    assert asked == [CERT_URL]
    assert VERIFIER.replay_key(request) == "22b80b92"
    with pytest.raises(SignatureInvalid):
        VERIFIER.verify(request, [Settings()])


@pytest.mark.parametrize(
    "changes",
    [{"Message": "x"}, {"MessageId": "x"}, {"Subject": "added"}, {"TopicArn": TOPIC + "x"}, {"Timestamp": "x"},
     {"Type": "x"},
     {"Type": "SubscriptionConfirmation"}, {"SignatureVersion": "1"}, {"SignatureVersion": "3"}, {"Signature": ""},
     {"Signature": "@@"}, {"Signature": "AAAA"}, {"Signature": None}, {"MessageId": 7}],
)  # fmt: skip
def test_sns_refuses_what_was_changed(changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid):
        VERIFIER.verify_with(CERTIFICATE, sns(**changes), [Settings()])


def test_sns_of_another_topic_is_another_s_though_amazon_signed_it() -> None:
    with pytest.raises(SignatureInvalid):
        VERIFIER.verify_with(CERTIFICATE, sns(), [Settings(topic_arn="arn:aws:sns:us-east-1:666:evil")])
    with pytest.raises(SignatureInvalid):
        VERIFIER.verify_with(CERTIFICATE, sns(), [])


@pytest.mark.parametrize(
    "document", [b"", b"x", certificate(NOW + dt.timedelta(days=1)), certificate(NOW - dt.timedelta(days=40))]
)
def test_sns_refuses_a_certificate_that_is_none_or_out_of_date(document: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        VERIFIER.verify_with(document, sns(), [Settings()])


@pytest.mark.parametrize(
    "url",
    ["http://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",
     "https://sns.us-east-1.amazonaws.com.evil.test/SimpleNotificationService-0.pem",
     "https://evil.test/SimpleNotificationService-0.pem",
     "https://sns.us-east-1.amazonaws.com@evil.test/SimpleNotificationService-0.pem",
     "https://s3.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",
     "https://sns.us-east-1.amazonaws.com/other.pem",
     "https://sns.us-east-1.amazonaws.com:8443/SimpleNotificationService-0.pem",
     "https://a.sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",
     "https://sns.us-east-1.amazonaws.com/../x/SimpleNotificationService-0.pem", "", "https://[",
     "https://sns.x.amazonaws.com\\@evil/"],
)  # fmt: skip
def test_sns_certificates_come_from_amazon_alone(url: str) -> None:
    with pytest.raises(SignatureInvalid):
        VERIFIER.document_url(sns(SigningCertURL=url))


def test_sns_in_china() -> None:
    url = "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0.pem"
    assert VERIFIER.document_url(sns(SigningCertURL=url)) == url


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def google(head: dict[str, Any] | None = None, **claims: Any) -> InboundRequest:
    now = int(NOW.timestamp())
    told = {"iss": "https://accounts.google.com", "aud": Settings().audience, "email": Settings().account,
            "email_verified": True, "iat": now, "exp": now + 3600, "sub": "1", **claims}  # fmt: skip
    text = f"{_part({'alg': 'RS256', 'kid': 'k1', 'typ': 'JWT', **(head or {})})}.{_part(told)}"
    signature = (
        base64.urlsafe_b64encode(KEY.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).rstrip(b"=").decode()
    )
    return inbound(b"{}", authorization=f"Bearer {text}.{signature}")


def _number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


NUMBERS = KEY.public_key().public_numbers()
KEYS = json.dumps(
    {"keys": [{"kid": "k1", "kty": "RSA", "alg": "RS256", "n": _number(NUMBERS.n), "e": _number(NUMBERS.e)}]}
).encode()
PUSH = GooglePush(audience="audience", email="account")


async def test_google_push_is_verified_with_google_s_keys() -> None:
    async def fetch(url: str) -> bytes:
        assert url == "https://www.googleapis.com/oauth2/v3/certs"
        return KEYS

    await verify(PUSH, google(), [Settings()], fetch)
    await verify(PUSH, google(iss="accounts.google.com"), [Settings()], fetch)


@pytest.mark.parametrize(
    "request_",
    [google(iss="https://evil.test"), google(aud="other"), google(email="x@y"), google(email_verified=False),
     google(exp=1),
     google(iat=int(NOW.timestamp()) + 100), google({"alg": "none"}), google({"alg": "HS256"}), google({"kid": "k2"}),
     google(exp="soon"), inbound(b"{}"), inbound(b"{}", authorization="Bearer a.b"), inbound(b"{}",
     authorization="Bearer a.b.c"),
     inbound(b"{}", authorization="Bearer ..")],
)  # fmt: skip
def test_google_push_refuses(request_: InboundRequest) -> None:
    with pytest.raises(SignatureInvalid):
        PUSH.verify_with(KEYS, request_, [Settings()])


@given(body=st.binary(max_size=100), document=st.binary(max_size=100), text=st.text(max_size=100))
def test_w39_hostile_documents_and_bodies(body: bytes, document: bytes, text: str) -> None:
    for request in (inbound(body, authorization=text), sns(), google()):
        for verifier in (VERIFIER, PUSH):
            with pytest.raises(SignatureInvalid):
                verifier.verify_with(document, request, [Settings()])
