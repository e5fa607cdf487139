"""Contacts as clients send and see them."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from penguin_hub.http.bodies import Input

Email = Annotated[
    str, msgspec.Meta(min_length=3, max_length=254, description="An e-mail address.", examples=["ada@example.com"])
]
Name = Annotated[str, msgspec.Meta(max_length=200, examples=["Ada"])]
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f,]+$", examples=["customer"])]
Tags = Annotated[list[Tag], msgspec.Meta(max_length=100, description="Labels, without order or repetition.")]
Attributes = Annotated[
    dict[Annotated[str, msgspec.Meta(min_length=1, max_length=64)], Any],
    msgspec.Meta(max_length=200, description="Further fields of your own.", examples=[{"plan": "gold"}]),
]


class NewContact(Input, frozen=True, kw_only=True):
    email: Email
    first_name: Name | None = None
    last_name: Name | None = None
    tags: Tags = []
    attributes: Attributes = {}


class ContactChange(Input, frozen=True, kw_only=True):
    """What is absent stays as it is; null takes a name away."""

    email: Email | msgspec.UnsetType = msgspec.UNSET
    first_name: Name | msgspec.UnsetType | None = msgspec.UNSET
    last_name: Name | msgspec.UnsetType | None = msgspec.UNSET
    tags: Tags | msgspec.UnsetType = msgspec.UNSET
    attributes: Attributes | msgspec.UnsetType = msgspec.UNSET


class Contact(msgspec.Struct, frozen=True):
    id: str
    workspace: str
    email: str
    first_name: str | None
    last_name: str | None
    tags: list[str]
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    version: int
    """Rises with every change; the ETag is made of it."""


class Known(msgspec.Struct, frozen=True):
    """What other features are told of a contact."""

    id: str
    tags: list[str]
