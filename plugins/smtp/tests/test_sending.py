"""What a real server gets, and what its refusals mean."""

import asyncio
import email
import email.policy
from typing import Any

import pytest
from penguin_hub_sdk import Address, Message, errors
from penguin_hub_smtp import pool

GOOD = {"username": "hub", "password": "s3cret-pass"}


def message(**changes: Any) -> Message:
    facts: dict[str, Any] = {
        "id": "eml_1",
        "message_id": "eml_1@mail.example.com",
        "sender": Address("sender@example.com", "Sender"),
        "to": (Address("ann@example.com", "Ann"),),
        "subject": "Hello",
        "text": "Hello\n.\nEnd",
        **changes,
    }
    return Message(**facts)


def parsed(content: bytes) -> email.message.EmailMessage:
    found = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(found, email.message.EmailMessage)
    return found


async def test_a_message_arrives_as_it_was_and_bcc_stays_hidden(mailbox, serve, connect):
    smtp = connect(await serve())
    receipt = await smtp.send(
        message(cc=(Address("bob@example.com"),), bcc=(Address("eve@example.com"), Address("ann@example.com")))
    )
    assert (receipt.id, receipt.refused) == ("eml_1@mail.example.com", ())
    (envelope,) = mailbox.envelopes
    assert envelope.mail_from == "sender@example.com"
    assert envelope.rcpt_tos == ["ann@example.com", "bob@example.com", "eve@example.com"]
    got = parsed(mailbox.content())
    assert got["from"] == "Sender <sender@example.com>"
    assert (got["to"], got["cc"], got["bcc"]) == ("Ann <ann@example.com>", "bob@example.com", None)
    assert got["message-id"] == "<eml_1@mail.example.com>"
    assert got["date"].datetime.tzinfo is not None
    assert got.get_content() == "Hello\r\n.\r\nEnd\r\n"
    assert b"\neve@" not in mailbox.content().replace(b"\r", b"")


async def test_the_message_id_is_the_same_on_every_attempt(mailbox, serve, connect):
    smtp = connect(await serve())
    mailbox.replies["DATA"] = "451 4.3.0 later"
    with pytest.raises(errors.ProviderFailed):
        await smtp.send(message())
    mailbox.replies.clear()
    await smtp.send(message())
    await smtp.send(message())
    assert {parsed(envelope.content)["message-id"] for envelope in mailbox.envelopes} == {"<eml_1@mail.example.com>"}


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_login_happens_after_tls_only(mailbox, serve, connect, certificates, security):
    tls = (
        {"tls": certificates.here}
        if security == "tls"
        else {"tls_context": certificates.here, "require_starttls": True}
    )
    port = await serve(authenticator=mailbox.authenticate, auth_require_tls=security == "starttls", **tls)
    smtp = connect(port, security=security, ca_certificate=certificates.ca, **GOOD)
    await smtp.check()
    await smtp.send(message())
    assert len(mailbox.envelopes) == 1
    assert mailbox.logins
    assert all(encrypted for _, _, encrypted in mailbox.logins)


async def test_login_works_with_a_server_that_knows_only_login(mailbox, serve, connect, certificates):
    port = await serve(
        authenticator=mailbox.authenticate, tls_context=certificates.here, auth_exclude_mechanism=["PLAIN"]
    )
    await connect(port, security="starttls", ca_certificate=certificates.ca, **GOOD).check()
    assert [mechanism for mechanism, _, _ in mailbox.logins] == ["LOGIN"]


async def test_a_wrong_password_stops_the_connection_and_is_not_told(mailbox, serve, connect, certificates):
    port = await serve(authenticator=mailbox.authenticate, tls_context=certificates.here)
    smtp = connect(
        port, security="starttls", ca_certificate=certificates.ca, username="hub", password="wrong-but-secret"
    )
    with pytest.raises(errors.AuthExpired) as caught:
        await smtp.check()
    assert caught.value.code == "5.7.8"
    assert "wrong-but-secret" not in caught.value.detail


async def test_without_starttls_nothing_is_sent(mailbox, serve, connect):
    smtp = connect(await serve(authenticator=mailbox.authenticate, auth_require_tls=False), security="starttls", **GOOD)
    for attempt in (smtp.check, lambda: smtp.send(message())):
        with pytest.raises(errors.ConfigInvalid) as caught:
            await attempt()
        assert caught.value.field == "security"
    assert (mailbox.mails, mailbox.logins) == ([], [])


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("case", ["unknown authority", "another host"])
async def test_a_certificate_that_is_not_in_order_gets_nothing(mailbox, serve, connect, certificates, security, case):
    context = certificates.here if case == "unknown authority" else certificates.elsewhere
    port = await serve(**({"tls": context} if security == "tls" else {"tls_context": context}))
    authority = {} if case == "unknown authority" else {"ca_certificate": certificates.ca}
    smtp = connect(port, security=security, **authority)
    with pytest.raises(errors.NetworkFailed, match="certificate"):
        await smtp.send(message())
    assert mailbox.mails == []


async def test_a_ca_certificate_that_is_none_names_the_setting(serve, connect, certificates):
    port = await serve(tls_context=certificates.here)
    with pytest.raises(errors.ConfigInvalid) as caught:
        await connect(port, security="starttls", ca_certificate="-----BEGIN NONSENSE-----").check()
    assert caught.value.field == "ca_certificate"


async def test_a_server_without_login_names_the_setting(serve, connect, certificates):
    port = await serve(tls_context=certificates.here, auth_exclude_mechanism=["PLAIN", "LOGIN"])
    with pytest.raises(errors.PluginError) as caught:
        await connect(port, security="starttls", ca_certificate=certificates.ca, **GOOD).check()
    assert isinstance(caught.value, errors.ConfigInvalid)
    assert caught.value.field == "username"


async def test_a_server_that_wants_login_names_the_setting(mailbox, serve, connect):
    mailbox.replies["MAIL"] = "530 5.7.0 Authentication required"
    with pytest.raises(errors.ConfigInvalid) as caught:
        await connect(await serve()).send(message())
    assert (caught.value.field, caught.value.code) == ("username", "5.7.0")


async def test_refused_recipients_are_told_one_by_one(mailbox, serve, connect):
    mailbox.replies |= {"bad@example.com": "550 5.1.1 No such user", "busy@example.com": "450 4.2.1 Mailbox busy"}
    receipt = await connect(await serve()).send(
        message(to=tuple(Address(f"{name}@example.com") for name in ("bad", "ann", "busy")))
    )
    assert [(one.recipient, one.code, one.permanent) for one in receipt.refused] == [
        ("bad@example.com", "5.1.1", True),
        ("busy@example.com", "4.2.1", False),
    ]
    assert receipt.refused[0].detail == "5.1.1 No such user"
    assert mailbox.envelopes[0].rcpt_tos == ["ann@example.com"]


@pytest.mark.parametrize(
    ("replies", "kind", "code"),
    [
        ({"ann": "550 5.1.1 No such user", "bob": "550 no"}, errors.Rejected, "5.1.1"),
        ({"ann": "550 5.1.1 No such user", "bob": "450 4.2.1 Busy"}, errors.ProviderFailed, "4.2.1"),
        ({"ann": "451 Greylisted", "bob": "451 Greylisted"}, errors.ProviderFailed, "451"),
    ],
)
async def test_nobody_taken_is_an_error(mailbox, serve, connect, replies, kind, code):
    mailbox.replies |= {f"{name}@example.com": reply for name, reply in replies.items()}
    smtp = connect(await serve())
    with pytest.raises(kind) as caught:
        await smtp.send(message(to=(Address("ann@example.com"), Address("bob@example.com"))))
    assert caught.value.code == code
    mailbox.replies.clear()
    await smtp.send(message())
    assert mailbox.connections == 1, "a refusal is no reason to connect anew"


@pytest.mark.parametrize(
    ("command", "reply", "kind", "code"),
    [
        ("MAIL", "421 4.7.0 Too many messages", errors.ProviderFailed, "4.7.0"),
        ("MAIL", "452 Out of space", errors.ProviderFailed, "452"),
        ("MAIL", "553 5.7.1 Sender not yours", errors.Rejected, "5.7.1"),
        ("DATA", "451 4.3.0 Try again", errors.ProviderFailed, "4.3.0"),
        ("DATA", "421 4.7.28 Unusual rate", errors.RateLimited, "4.7.28"),
        ("DATA", "552 5.3.4 Too large", errors.Rejected, "5.3.4"),
        ("DATA", "550 5.4.5 Daily limit", errors.QuotaExceeded, "5.4.5"),
        ("DATA", "538 5.7.11 Encryption required", errors.ConfigInvalid, "5.7.11"),
    ],
)
async def test_a_refusal_means_what_its_code_says(mailbox, serve, connect, command, reply, kind, code):
    mailbox.replies[command] = reply
    with pytest.raises(errors.PluginError) as caught:
        await connect(await serve()).send(message())
    assert type(caught.value) is kind
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (["421 4.3.2 Going down"], errors.ProviderFailed),
        (["554 5.7.1 Your address is on a list"], errors.NotAllowed),
        (["220 hi", "421 4.3.2 Going down"], errors.ProviderFailed),
        (["220 hi", "250 hi", "250 ok"], errors.NetworkFailed),
        (["220 hi", "250 hi", "250 ok", "250 ok", "354 go on"], errors.NetworkFailed),
        (["220 hi", "what?"], errors.PluginError),
        (["HTTP/1.1 400 Bad Request"], errors.PluginError),
    ],
)
async def test_a_server_that_breaks_off_or_babbles_is_an_error_of_the_tree(script, connect, lines, kind):
    with pytest.raises(kind):
        await connect(await script(*lines)).send(message())


async def test_odd_bytes_in_a_reply_can_be_stored(script, connect):
    port = await script("220 hi", "250 hi", "250 ok", "550 no\x00\x1b[31m such \udcff user")
    with pytest.raises(errors.Rejected) as caught:
        await connect(port).send(message())
    caught.value.detail.encode()
    assert "\x00" not in caught.value.detail


async def test_nobody_listening_is_a_network_failure(serve, connect, stack):
    port = await serve()
    await stack.aclose()
    with pytest.raises(errors.NetworkFailed):
        await connect(port).check()


async def test_connections_are_used_again_and_never_more_than_five(mailbox, serve, connect):
    smtp = connect(await serve())
    await asyncio.gather(*[smtp.send(message(id=f"eml_{n}", message_id=f"eml_{n}@example.com")) for n in range(40)])
    assert len(mailbox.envelopes) == 40
    assert mailbox.most_open == mailbox.connections == pool.CONNECTIONS


async def test_a_connection_that_the_server_closed_is_replaced(mailbox, serve, connect):
    smtp = connect(await serve(timeout=0.05))
    await smtp.send(message())
    async with asyncio.timeout(5):
        await mailbox.quiet.wait()
    await smtp.send(message())
    assert (len(mailbox.envelopes), mailbox.connections) == (2, 2)


async def test_an_idle_connection_says_goodbye(mailbox, serve, connect, monkeypatch):
    monkeypatch.setattr(pool, "IDLE", 0.01)
    smtp = connect(await serve())
    await smtp.send(message())
    async with asyncio.timeout(5):
        await mailbox.quiet.wait()


async def test_a_cancelled_sending_leaves_no_half_open_connection(mailbox, script, serve, connect):
    smtp = connect(await script("220 hi", "250 hi", "250 ok"))
    task = asyncio.create_task(smtp.send(message()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert smtp._pool._waiting == {}


async def test_smtputf8_is_used_when_needed_and_offered(mailbox, serve, connect):
    smtp = connect(await serve(enable_SMTPUTF8=True))
    await smtp.send(message())
    await smtp.send(message(to=(Address("jörg@bücher.example"),), subject="Grüße"))
    plain, needed = mailbox.mails
    assert "SMTPUTF8" not in plain[1]
    assert "SMTPUTF8" in needed[1]
    assert mailbox.envelopes[1].rcpt_tos == ["jörg@xn--bcher-kva.example"]
    assert "jörg@xn--bcher-kva.example".encode() in mailbox.envelopes[1].content


async def test_without_smtputf8_such_an_address_is_refused_and_a_domain_is_not(mailbox, serve, connect):
    smtp = connect(await serve())
    with pytest.raises(errors.Rejected) as caught:
        await smtp.send(message(to=(Address("jörg@example.com"),)))
    assert caught.value.code == "5.6.7"
    receipt = await smtp.send(message(to=(Address("ann@bücher.example"), Address("ann@straße.example"))))
    assert receipt.refused == ()
    assert mailbox.envelopes[0].rcpt_tos == ["ann@xn--bcher-kva.example", "ann@xn--strae-oqa.example"]
    assert mailbox.content().isascii()
