"""`/contacts`."""

from typing import Annotated, Literal

from litestar import Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, Parameter

from penguin_hub.contacts.schemas import Contact, ContactChange, NewContact
from penguin_hub.contacts.service import ContactsService
from penguin_hub.http.etags import IfMatch, etag, expected_version
from penguin_hub.http.guards import requires
from penguin_hub.http.idempotency import Once
from penguin_hub.http.paging import Cursor, Limit, Offset, Order, Page, Pager
from penguin_hub.http.principal import Principal

TAGS = ["Contacts"]
GUARDS = [requires("manage_contacts")]

ContactId = Annotated[str, Parameter(description="A contact's id, `con_...`.", max_length=64)]


def _one(contact: Contact, status_code: int = 200) -> Response[Contact]:
    return Response(contact, status_code=status_code, headers={"ETag": etag(contact.version)})


@get("/contacts", guards=GUARDS, tags=TAGS, operation_id="listContacts", summary="List contacts")
async def list_contacts(
    principal: NamedDependency[Principal],
    contacts: NamedDependency[ContactsService],
    pager: NamedDependency[Pager],
    limit: Limit = 20,
    offset: Offset = None,
    cursor: Cursor = None,
    sort_by: Annotated[Literal["created_at", "updated_at"], Parameter(description="The order.")] = "created_at",
    order: Order = "desc",
    email: Annotated[str | None, Parameter(max_length=254, description="Only this address.")] = None,
    tag: Annotated[str | None, Parameter(max_length=64, description="Only contacts with this tag.")] = None,
) -> Page[Contact]:
    """The newest first, unless you say otherwise."""
    paging = pager.paging(
        tenant=principal.tenant,
        route="contacts",
        limit=limit,
        offset=offset,
        cursor=cursor,
        sort_by=sort_by,
        order=order,
        filters={"email": email, "tag": tag},
    )
    return await contacts.page(principal, paging, email=email, tag=tag)


@post(
    "/contacts",
    guards=GUARDS,
    tags=TAGS,
    operation_id="createContact",
    summary="Create a contact",
)
async def create_contact(
    data: JSONBody[NewContact],
    principal: NamedDependency[Principal],
    contacts: NamedDependency[ContactsService],
    once: NamedDependency[Once],
) -> Response[Contact]:
    """409 `contact_exists` when you have a contact with this address; `contact_id` names it."""
    return _one(await contacts.create(principal, data, once), 201)


@get("/contacts/{contact_id:str}", guards=GUARDS, tags=TAGS, operation_id="getContact", summary="Get a contact")
async def get_contact(
    contact_id: ContactId, principal: NamedDependency[Principal], contacts: NamedDependency[ContactsService]
) -> Response[Contact]:
    """One contact; its ETag is what If-Match takes."""
    return _one(await contacts.get(principal, contact_id))


@put("/contacts/{contact_id:str}", guards=GUARDS, tags=TAGS, operation_id="replaceContact", summary="Replace a contact")
async def replace_contact(
    contact_id: ContactId,
    data: JSONBody[NewContact],
    principal: NamedDependency[Principal],
    contacts: NamedDependency[ContactsService],
    if_match: IfMatch = None,
) -> Response[Contact]:
    """What the body leaves out becomes empty."""
    return _one(await contacts.change(principal, contact_id, data, expected_version(if_match)))


@patch("/contacts/{contact_id:str}", guards=GUARDS, tags=TAGS, operation_id="updateContact", summary="Change a contact")
async def update_contact(
    contact_id: ContactId,
    data: JSONBody[ContactChange],
    principal: NamedDependency[Principal],
    contacts: NamedDependency[ContactsService],
    if_match: IfMatch = None,
) -> Response[Contact]:
    """What the body leaves out stays as it is."""
    return _one(await contacts.change(principal, contact_id, data, expected_version(if_match)))


@delete(
    "/contacts/{contact_id:str}", guards=GUARDS, tags=TAGS, operation_id="deleteContact", summary="Delete a contact"
)
async def delete_contact(
    contact_id: ContactId,
    principal: NamedDependency[Principal],
    contacts: NamedDependency[ContactsService],
    if_match: IfMatch = None,
) -> None:
    """Messages already sent to the contact stay in the log."""
    await contacts.delete(principal, contact_id, expected_version(if_match))


routes = [list_contacts, create_contact, get_contact, replace_contact, update_contact, delete_contact]
