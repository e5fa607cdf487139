"""Where a secret lies: no input reaches another tenant's place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penguin_hub.platform import ids
from penguin_hub.vault.paths import SYSTEM, checked, located

TENANT = "ten_" + "0" * 26


@pytest.mark.parametrize(
    ("tenant", "path", "place"),
    [
        (TENANT, "api_keys/key_1", f"api_keys/{TENANT}/key_1"),
        (TENANT, "smtp", f"smtp/{TENANT}"),
        (TENANT, "dkim/example.com/2026@a", f"dkim/{TENANT}/example.com/2026@a"),
        (SYSTEM, "signing/webhooks", "system/signing/webhooks"),
        (SYSTEM, f"oauth/{TENANT}", f"system/oauth/{TENANT}"),
    ],
)
def test_a_path_lies_under_its_tenant(tenant: str, path: str, place: str) -> None:
    assert located(tenant, path) == place
    assert checked(tenant, path) == path


@given(st.text(alphabet="abAB01._-/@%|\\ \x00\n~ä", max_size=40))
def test_whatever_is_asked_stays_with_the_tenant(path: str) -> None:
    try:
        place = located(TENANT, path)
    except ValueError:
        return
    segments = place.split("/")
    assert segments[1] == TENANT
    assert not {"", ".", ".."} & set(segments)
    assert segments[0] != SYSTEM


@pytest.mark.parametrize("tenant", [None, 5, TENANT.encode(), TENANT + "\n", TENANT + "/x", TENANT.upper(), "ten_*"])
def test_only_a_tenants_id_is_a_tenant(tenant: object) -> None:
    with pytest.raises(ValueError, match="not a tenant id"):
        located(tenant, "smtp")  # type: ignore[arg-type]  # a fault of a caller that types would have told of


@pytest.mark.parametrize("path", [None, 5, b"smtp", ["smtp"]])
def test_only_text_is_a_path(path: object) -> None:
    with pytest.raises(ValueError, match="not a secret path"):
        located(TENANT, path)  # type: ignore[arg-type]  # as above


def test_two_tenants_never_share_a_place() -> None:
    first, second = ids.new("ten"), ids.new("ten")
    assert located(first, "smtp/a") != located(second, "smtp/a")
    assert located(first, f"smtp/{second}") != located(second, f"smtp/{first}")
