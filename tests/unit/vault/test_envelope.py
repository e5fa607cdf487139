"""What is sealed for one place opens at no other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penguin_hub.platform import ids
from penguin_hub.vault import keyfile
from penguin_hub.vault.envelope import DataKey, Sealed
from penguin_hub.vault.errors import SecretDamaged

KEK, OTHER_KEK = keyfile.new_kek(), keyfile.new_kek()
TENANT, OTHER = ids.new("ten"), ids.new("ten")
KEY = DataKey.new(TENANT)


@given(st.binary(max_size=500))
def test_what_is_sealed_opens(plaintext: bytes) -> None:
    sealed = KEY.seal("smtp/a", 3, plaintext)
    assert KEY.open("smtp/a", 3, sealed) == plaintext
    assert len(sealed.ciphertext) == len(plaintext) + 16
    assert KEY.seal("smtp/a", 3, plaintext) != sealed


@pytest.mark.parametrize(("path", "version"), [("smtp/b", 3), ("smtp/a", 2), ("smtp/a", 33), ("smtp/a|3", 3), ("", 3)])
def test_at_another_place_it_does_not(path: str, version: int) -> None:
    with pytest.raises(SecretDamaged):
        KEY.open(path, version, KEY.seal("smtp/a", 3, b"x"))


def test_another_key_tenant_or_id_does_not_open_it() -> None:
    sealed = KEY.seal("smtp/a", 3, b"x")
    wrapped = KEY.wrapped(KEK)
    twin = DataKey.unwrapped(TENANT, KEY.id, KEK, wrapped)
    assert twin.open("smtp/a", 3, sealed) == b"x"
    for key in (DataKey.new(TENANT), DataKey(OTHER, KEY.id, KEY._raw), DataKey(TENANT, ids.new("dek"), KEY._raw)):
        with pytest.raises(SecretDamaged):
            key.open("smtp/a", 3, sealed)


def test_a_wrapped_key_is_bound_to_its_tenant_its_id_and_its_kek() -> None:
    wrapped = KEY.wrapped(KEK)
    renamed = keyfile.Kek(OTHER_KEK.id, KEK.created_at, KEK.key)
    for tenant, key_id, kek in [
        (OTHER, KEY.id, KEK),
        (TENANT, ids.new("dek"), KEK),
        (TENANT, KEY.id, OTHER_KEK),
        (TENANT, KEY.id, renamed),
    ]:
        with pytest.raises(SecretDamaged):
            DataKey.unwrapped(tenant, key_id, kek, wrapped)


def test_a_head_vouches_for_one_number_and_is_no_secret() -> None:
    seal = KEY.seal_head("smtp/a", 2)
    KEY.open_head("smtp/a", 2, seal)
    for path, number in (("smtp/a", 1), ("smtp/b", 2)):
        with pytest.raises(SecretDamaged):
            KEY.open_head(path, number, seal)
    with pytest.raises(SecretDamaged):
        KEY.open("smtp/a", 2, seal)
    with pytest.raises(SecretDamaged):
        KEY.open_head("smtp/a", 2, KEY.seal("smtp/a", 2, b""))


@pytest.mark.parametrize("nonce", [b"", b"x", b"x" * 11, b"x" * 129])
def test_a_nonce_of_another_length_is_damage(nonce: bytes) -> None:
    with pytest.raises(SecretDamaged):
        KEY.open("smtp/a", 3, Sealed(nonce, KEY.seal("smtp/a", 3, b"x").ciphertext))


def test_keys_are_in_no_repr() -> None:
    for thing in (KEY, KEK, [KEK], KEK.__rich_repr__()):
        assert KEK.key not in repr(thing)
        assert repr(KEY._raw)[2:-1] not in repr(thing)
