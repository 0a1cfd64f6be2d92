"""Conversations and their items: create, look, change, delete.

Here live the routes under ``/conversations``. Not here: how a response reads from a conversation and adds to it
(``responses.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from helpers.local_api import ids
from helpers.local_api.checks import Fields, Query, page_body
from helpers.local_api.errors import invalid, missing, not_found
from helpers.local_api.function_calls import check_can_be_added
from helpers.local_api.items import Item, read_items
from helpers.local_api.state import Conversation, State, Transaction

_MOST_ITEMS: Final = 20

Body = dict[str, Any]


class Conversations:
    """The routes under ``/conversations``.

    Args:
        state: where conversations are kept.
        clock: gives the time in seconds since 1970.
    """

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock

    def create(self, body: Body) -> Body:
        """POST /conversations."""
        fields = Fields(body)
        fields.only(("items", "metadata"))
        metadata = fields.metadata() or {}
        values = _read_list(fields)
        with self._state.transaction() as transaction:
            items = _new_items(transaction, values)
            check_can_be_added([], items)
            conversation = Conversation(
                ids.numbered("conv", transaction.next_number("conv")), int(self._clock()), metadata
            )
            transaction.add_conversation(conversation)
            transaction.add_items(conversation.id, items)
        return conversation.body

    def retrieve(self, conversation_id: str) -> Body:
        """GET /conversations/{id}."""
        with self._state.transaction() as transaction:
            return existing(transaction, conversation_id).body

    def update(self, conversation_id: str, body: Body) -> Body:
        """POST /conversations/{id}: replaces the metadata."""
        fields = Fields(body)
        fields.only(("metadata",))
        if "metadata" not in body:
            raise missing("metadata")
        metadata = fields.metadata() or {}
        with self._state.transaction() as transaction:
            existing(transaction, conversation_id)
            transaction.set_conversation_metadata(conversation_id, metadata)
            return existing(transaction, conversation_id).body

    def delete(self, conversation_id: str) -> Body:
        """DELETE /conversations/{id}."""
        with self._state.transaction() as transaction:
            existing(transaction, conversation_id)
            transaction.delete_conversation(conversation_id)
        return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}

    def create_items(self, conversation_id: str, body: Body) -> Body:
        """POST /conversations/{id}/items. An output for a call that nobody answered frees a conversation that is stuck."""
        fields = Fields(body)
        fields.only(("items",))
        values = _read_list(fields)
        if "items" not in body:
            raise missing("items")
        if not values:
            raise invalid(
                "Invalid 'items': empty array. Expected an array with minimum length 1, but got an empty array instead.",
                param="items",
                code="empty_array",
            )
        with self._state.transaction() as transaction:
            existing(transaction, conversation_id)
            items = _new_items(transaction, values)
            check_can_be_added(transaction.items(conversation_id), items)
            transaction.add_items(conversation_id, items)
        return page_body(items, has_more=False)

    def list_items(self, conversation_id: str, query: Query) -> Body:
        """GET /conversations/{id}/items: newest first unless ``order=asc``."""
        after, limit, newest_first = query.page()
        with self._state.transaction() as transaction:
            existing(transaction, conversation_id)
            items = transaction.items_page(
                conversation_id, after=after, limit=limit + 1, newest_first=newest_first
            )
        if items is None:
            raise not_found("Item", str(after))
        return page_body(items[:limit], has_more=len(items) > limit)

    def retrieve_item(self, conversation_id: str, item_id: str) -> Body:
        """GET /conversations/{id}/items/{item}."""
        with self._state.transaction() as transaction:
            existing(transaction, conversation_id)
            return _existing_item(transaction, conversation_id, item_id)

    def delete_item(self, conversation_id: str, item_id: str) -> Body:
        """DELETE /conversations/{id}/items/{item}: answers with the conversation."""
        with self._state.transaction() as transaction:
            conversation = existing(transaction, conversation_id)
            _existing_item(transaction, conversation_id, item_id)
            transaction.delete_item(conversation_id, item_id)
        return conversation.body


def existing(transaction: Transaction, conversation_id: str) -> Conversation:
    """Return a conversation, or refuse with 404."""
    conversation = transaction.conversation(conversation_id)
    if conversation is None:
        raise not_found("Conversation", conversation_id)
    return conversation


def _existing_item(transaction: Transaction, conversation_id: str, item_id: str) -> Item:
    item = transaction.item(conversation_id, item_id)
    if item is None:
        raise not_found("Item", item_id)
    return item


def _read_list(fields: Fields) -> list[Any]:
    values = fields.array("items", of="input items") or []
    if len(values) > _MOST_ITEMS:
        raise invalid(
            f"Invalid 'items': array too long. Expected an array with maximum length {_MOST_ITEMS}, but got an array "
            f"with length {len(values)} instead.",
            param="items",
            code="array_above_max_length",
        )
    return values


def _new_items(transaction: Transaction, values: list[Any]) -> list[Item]:
    return read_items(values, "items", lambda prefix: ids.numbered(prefix, transaction.next_number("item")))
