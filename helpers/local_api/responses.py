"""Responses: from a request to an answer, and everything that can happen to it on the way.

Here live the routes under ``/responses`` and the life of a response: who may begin one, how it goes from queued to
completed, what cancels it, and when its items join a conversation. Not here: reading the request (``requests.py``),
choosing the model's turn (a ``TurnSource``) and making the events (``playback.py``).
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import gc
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from helpers.local_api import ids
from helpers.local_api.bodies import Body, count_input
from helpers.local_api.checks import Query, page_body
from helpers.local_api.code_interpreter_tool import CodeInterpreter, filled, found_groups
from helpers.local_api.conversations import existing
from helpers.local_api.errors import APIError, invalid, not_found, shown
from helpers.local_api.file_search_tool import INCLUDE, FileSearch
from helpers.local_api.function_calls import CarriedOver, check_pairs
from helpers.local_api.items import Item, readable_text, text_of
from helpers.local_api.models import Models
from helpers.local_api.playback import TERMINAL, TERMINAL_EVENTS, Script, failed_body, play, write_script
from helpers.local_api.players import Event, check_playable
from helpers.local_api.requests import (
    CountRequest,
    ResponseRequest,
    read_count_request,
    read_request,
)
from helpers.local_api.schemas import misfit
from helpers.local_api.state import State, StoredResponse, Transaction
from helpers.local_api.tokens import CONTEXT_TOKENS, estimate
from helpers.local_api.turns import Run, Say, Turn, TurnRequest, TurnSource

_STREAMABLE_S: Final = 300.0
"""How long a background response can be streamed again, as live (https://github.com/openai/openai-python/issues/2828)."""
_SHOWN_OUTPUT: Final = 1_000
_PATIENCE: Final = 3
"""After so many requests that found a conversation busy with a stream that nobody reads, the stream ends by itself."""


_given_up: contextvars.ContextVar[list[Callable[[], None]] | None] = contextvars.ContextVar(
    "_given_up", default=None
)


class Waiting:
    """Somebody's waiting for an answer that another thread makes; :meth:`give_up` ends what is made.

    Example:
        >>> with Waiting() as waiting:
        ...     ...  # hand the request to a thread, in a copy of this context
        >>> waiting.give_up()
    """

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []

    def __enter__(self) -> Waiting:
        self._token = _given_up.set(self._callbacks)
        return self

    def __exit__(self, *_: object) -> None:
        _given_up.reset(self._token)

    def give_up(self) -> None:
        """Tell whoever works on the answer that nobody waits for it any more."""
        for callback in list(self._callbacks):
            callback()


@contextlib.contextmanager
def giving_up(callback: Callable[[], None]) -> Iterator[None]:
    """Call ``callback`` if whoever waits for this request gives up while the block runs."""
    callbacks = _given_up.get()
    if callbacks is None:
        yield
        return
    callbacks.append(callback)
    try:
        yield
    finally:
        callbacks.remove(callback)


class Reading:
    """Somebody's reading of the events of a response, one at a time.

    Closing it, or forgetting it, before its end tells the response that nobody listens.
    """

    def __init__(
        self,
        events: Iterator[Event],
        on_abandon: Callable[[], None] | None = None,
        *,
        runs_first: bool = False,
    ) -> None:
        self.runs_first = runs_first
        """Whether code may have to run before the first event, because what came before it is not sent again."""
        self._events = events
        # No __del__: it would run for every reading, and Python drops an interrupt that arrives inside of one.
        self._abandon = weakref.finalize(self, on_abandon) if on_abandon else None
        if self._abandon:
            self._abandon.atexit = False

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            return next(self._events)
        except StopIteration:
            if self._abandon:
                self._abandon.detach()
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop reading."""
        if self._abandon:
            self._abandon()


class _Live:
    """What is known of a response that this process makes while somebody waits for it or reads it."""

    def __init__(self) -> None:
        self.turned_away = 0
        self.looked_for = False


class Responses:
    """The routes under ``/responses``.

    Args:
        state: where responses are kept.
        source: plays the model.
        models: the models that there are.
        clock: gives the time in seconds since 1970.
        file_search: searches the vector stores.
        code_interpreter: runs code.
        carried_over: what the response that made a call leaves to the one that goes on after it.
    """

    def __init__(
        self,
        state: State,
        source: TurnSource,
        models: Models,
        clock: Callable[[], float],
        file_search: FileSearch,
        code_interpreter: CodeInterpreter,
        carried_over: CarriedOver,
    ) -> None:
        self._file_search = file_search
        self._code = code_interpreter
        self._carried_over = carried_over
        self._state = state
        self._source = source
        self._models = models
        self._clock = clock
        self._live: dict[str, _Live] = {}
        self._abandoned: deque[str] = deque()

    # -- routes -------------------------------------------------------------------------------------------------

    def create(self, body: Body) -> Body | Reading:
        """POST /responses: the response, or the reading of its events if a stream was asked for."""
        request = read_request(body, self._models, str)
        context, context_end = self._context(request)
        items = [*context, *request.input_items]
        check_pairs(items)
        _check_json_is_asked_for(request, items)
        items, context_tokens = _within_window(request, items)
        self._file_search.check(request.tools)
        self._code.check(request.tools, request.input_items)
        turn = self._source.next_turn(
            TurnRequest(
                items=items,
                model=request.model.id,
                instructions=request.instructions,
                tools=request.tools,
                tool_choice=request.tool_choice,
                metadata=request.metadata,
                text_format=request.text["format"],
                parallel_tool_calls=request.parallel_tool_calls,
            )
        )
        check_playable(list(turn.steps))
        turn, tokens_found = self._file_search.carry_out(
            turn, request.tools, show_results=INCLUDE in request.include
        )
        container_id = ""
        if any(isinstance(step, Run) for step in turn.steps):
            container_id = self._code.container(request.tools, items).id
        with self._state.transaction() as transaction:
            # Somebody else may have begun since the context was read, or even have ended.
            _check_still_free(transaction, request, context_end)
            response_id = ids.numbered("resp", transaction.next_number("resp"))
            for index, item in enumerate(request.input_items):
                item["id"] = ids.within(response_id, item["id"], f"input {index}")
            tokens_read = context_tokens + tokens_found
            created_at = int(self._clock())
            script = write_script(request, turn, response_id, created_at, tokens_read, container_id)
            transaction.add_response(
                StoredResponse(
                    id=response_id,
                    status=script.body["status"],
                    background=request.background,
                    streamed=request.stream,
                    stored=request.store,
                    conversation_id=request.conversation_id,
                    previous_response_id=request.previous_response_id,
                    owner=self._state.owner,
                    created_at=self._clock(),
                    body=script.body,
                    input_items=request.input_items,
                    script=script.to_json(),
                    context_end=context_end,
                )
            )
            if not request.background:
                # Before the end of the transaction, so that it is never in progress and unknown.
                self._live[response_id] = _Live()
        if turn.refusal:
            self._refuse_other_output(turn, script)
        if request.background:
            return Reading(self._background(script, -1, None)) if request.stream else script.body
        reading = self._foreground(script)
        if request.stream:
            return reading
        with giving_up(reading.close):
            last = deque(reading, maxlen=1)
        if last[0]["type"] not in TERMINAL_EVENTS:
            # Somebody gave up waiting or closed the API meanwhile.
            raise invalid("The response was cancelled before it was complete.")
        finished: Body = last[0]["response"]
        return {**finished, "billing": {"payer": "developer"}}

    def retrieve(self, response_id: str, query: Query) -> Body | Reading:
        """GET /responses/{id}: lets a background response go one state further, or streams it again."""
        after = query.integer("starting_after", least=0)
        obfuscation = query.boolean("include_obfuscation")
        if query.boolean("stream"):
            return self._stream_again(response_id, -1 if after is None else after, obfuscation)
        response = self._visible(response_id)
        if response.background:
            response = self._advance(response_id) or response
        return response.body

    def cancel(self, response_id: str) -> Body:
        """POST /responses/{id}/cancel: only background responses; a second time changes nothing."""
        response = self._visible(response_id)
        if not response.background:
            raise invalid("Cannot cancel a synchronous response.")
        with self._state.transaction() as transaction:
            _cancel(transaction, response_id)
            now = transaction.response(response_id)
        self._code.interrupt(response_id)
        return response.body if now is None else now.body

    def delete(self, response_id: str) -> Body:
        """DELETE /responses/{id}. What joined a conversation stays there."""
        self._visible(response_id)
        with self._state.transaction() as transaction:
            transaction.delete_response(response_id)
            self._code.forget(transaction, response_id)
        self._live.pop(response_id, None)
        return {"id": response_id, "object": "response", "deleted": True}

    def input_items(self, response_id: str, query: Query) -> Body:
        """GET /responses/{id}/input_items: newest first unless ``order=asc``."""
        after, limit, newest_first = query.page()
        items = self._visible(response_id).input_items
        if newest_first:
            items = items[::-1]
        if after is not None:
            places = [index for index, item in enumerate(items) if item["id"] == after]
            if not places:
                raise not_found("Item", after)
            items = items[places[0] + 1 :]
        return page_body(items[:limit], has_more=len(items) > limit)

    def count_input_tokens(self, body: Body) -> Body:
        """POST /responses/input_tokens: an estimate."""
        request = read_count_request(body, self._models, str)
        with self._state.transaction() as transaction:
            context = _context_items(transaction, request)
        tokens = count_input(request, [*context, *request.input_items])
        return {"object": "response.input_tokens", "input_tokens": tokens}

    @property
    def code_is_running(self) -> bool:
        """Whether code runs just now, for any response."""
        return self._code.busy

    def waits_for_code(self, response_id: str) -> bool:
        """Return whether asking for a response now would run its code."""
        with self._state.transaction() as transaction:
            response = transaction.response(response_id)
        return response is not None and response.running and bool(response.script.get("container_id"))

    def _refuse_other_output(self, turn: Turn, script: Script) -> None:
        """Run the code now, and refuse the response if what is recorded does not go with its output (only if strict)."""
        response_id, found = script.body["id"], dict(turn.carried.found)
        try:
            for position, step in enumerate(script.steps):
                if isinstance(step, Run):
                    run = self._code.run(response_id, position, script.container_id, step.code)
                    groups = found_groups(step, run)
                    if groups is None:
                        raise _strictly(f"{turn.refusal} It printed: {run.logs[-_SHOWN_OUTPUT:]!r}")
                    found |= groups
            answer = script.steps[-1]
            form = script.body["text"]["format"]
            why = misfit(filled(answer, found).text, form) if isinstance(answer, Say) else ""
            if why:
                raise _strictly(f"{turn.refusal} With what it printed, the answer cannot be given: {why}.")
        except BaseException:
            with self._state.transaction() as transaction:
                transaction.delete_response(response_id)
                self._code.forget(transaction, response_id)
            self._live.pop(response_id, None)
            raise

    # -- what a response can see --------------------------------------------------------------------------------

    def _context(self, request: ResponseRequest) -> tuple[list[Item], int]:
        """Return the items before the request's own, and where its conversation ends.

        Refuse if they are not there or somebody works on them.
        """
        if request.conversation_id is not None:
            self._check_not_busy(request.conversation_id)
        with self._state.transaction() as transaction:
            items = _context_items(transaction, request)
            return items, transaction.last_position(request.conversation_id or "")

    def _check_not_busy(self, conversation_id: str) -> None:
        """Refuse with ``conversation_locked`` while another response works on a conversation."""
        running = self._running_in(conversation_id)
        live = self._live.get(running.id) if running else None
        if live:
            # A stream that no variable holds any more may only wait for the garbage collector. A full collection takes
            # a moment, so each stream is looked for thoroughly only once.
            gc.collect(1 if live.looked_for else 2)
            live.looked_for = True
            self.sweep()
            running = self._running_in(conversation_id)
        if running is None:
            return
        self._push(running)
        raise _locked()

    def _running_in(self, conversation_id: str) -> StoredResponse | None:
        with self._state.transaction() as transaction:
            existing(transaction, conversation_id)
            running = transaction.running_in(conversation_id)
        if running is None or self._settled(running).running:
            return running
        return None

    def _push(self, running: StoredResponse) -> None:
        """Let a response get on, so that whoever waits for its conversation does not wait for ever."""
        if running.background:
            self._advance(running.id)
            return
        live = self._live.get(running.id)
        if live is None:
            return
        live.turned_away += 1
        if live.turned_away >= _PATIENCE:
            # Live, the model would long be done: it does not wait for its reader.
            self._run_to_end(running)

    # -- the life of a response ---------------------------------------------------------------------------------

    def _visible(self, response_id: str) -> StoredResponse:
        """Return a response that may be retrieved, or refuse with 404."""
        with self._state.transaction() as transaction:
            response = transaction.response(response_id)
        if response is None or not response.stored:
            raise not_found("Response", response_id)
        return self._settled(response)

    def _settled(self, response: StoredResponse) -> StoredResponse:
        """Return a response, after ending it if the process that streamed it is gone."""
        if not response.running or response.background or self._state.is_alive(response.owner):
            return response
        message = "The process that was making this response ended before the response was complete."
        self._finish(response.id, failed_body(response.body, "server_error", message))
        with self._state.transaction() as transaction:
            return transaction.response(response.id) or response

    def _advance(self, response_id: str) -> StoredResponse | None:
        """Let a background response go one state further; return what it is now."""
        with self._state.transaction() as transaction:
            response = transaction.response(response_id)
            if response and response.status == "queued":
                transaction.set_response(response_id, {**response.body, "status": "in_progress"})
                return transaction.response(response_id)
        if response and response.running:
            self._run_to_end(response)
            with self._state.transaction() as transaction:
                return transaction.response(response_id)
        return response

    def _run_to_end(self, response: StoredResponse) -> None:
        script = Script.from_json(response.script)
        for event in play(script, run_code=self._code.run, carry=self._carried_over.keep):
            if event["type"] in TERMINAL_EVENTS:
                self._finish(response.id, event["response"])

    def _finish(self, response_id: str, body: Body) -> Body | None:
        """Store the end of a response, and add its items to its conversation.

        Returns:
            How it ended: whoever comes first decides. ``None`` if it was cancelled or deleted.
        """
        with self._state.transaction() as transaction:
            ended = _end(transaction, response_id, body, int(self._clock()))
            if transaction.status(response_id) is None:
                self._code.forget(transaction, response_id)
        self._live.pop(response_id, None)
        return ended

    def _foreground(self, script: Script) -> Reading:
        response_id = script.body["id"]
        events = _foreground_events(self, script, self._live[response_id])
        return Reading(events, functools.partial(self._abandon, response_id))

    def _background(self, script: Script, after: int, obfuscation: bool | None) -> Iterator[Event]:
        """Yield the events of a background response that come after a number, and move it on as they are read."""
        response_id = script.body["id"]
        events = play(script, obfuscation=obfuscation, run_code=self._code.run, carry=self._carried_over.keep)
        for event in events:
            kind = event["type"]
            with self._state.transaction() as transaction:
                response_status = transaction.status(response_id)
                if kind == "response.in_progress" and response_status == "queued":
                    transaction.set_response(response_id, event["response"])
            if response_status is None:
                return
            if response_status == "cancelled" and kind not in {"response.created", "response.queued"}:
                return
            if kind in TERMINAL_EVENTS:
                body = self._finish(response_id, event["response"])
                if body is None:
                    return
                event = {**event, "type": f"response.{body['status']}", "response": body}
            if event["sequence_number"] > after:
                yield event

    def _stream_again(self, response_id: str, after: int, obfuscation: bool | None) -> Reading:
        response = self._visible(response_id)
        for missing_field, there in (("background", response.background), ("stream", response.streamed)):
            if not there:
                raise invalid(
                    f"This response cannot be streamed because it was not created with {missing_field}=true."
                )
        if self._clock() - response.created_at > _STREAMABLE_S:
            raise invalid("This response can no longer be streamed because it is more than 5 minutes old.")
        script = Script.from_json(response.script)
        return Reading(self._background(script, after, obfuscation), runs_first=bool(script.container_id))

    # -- abandoned streams --------------------------------------------------------------------------------------

    def _abandon(self, response_id: str) -> None:
        # The garbage collector may call this at any moment, even inside a transaction of this thread.
        self._live.pop(response_id, None)
        self._abandoned.append(response_id)
        self._code.interrupt(response_id)
        self.sweep()

    def sweep(self) -> None:
        """Cancel what was abandoned, unless somebody is inside a transaction just now: then the next one does it."""
        while self._abandoned and not self._state.closed:
            with self._state.transaction_if_free() as transaction:
                if transaction is None:
                    return
                try:
                    response_id = self._abandoned.popleft()
                except IndexError:
                    return
                _cancel(transaction, response_id)
                if transaction.status(response_id) is None:
                    self._code.forget(transaction, response_id)

    def cancel_all(self) -> None:
        """Cancel every stream of this process that is not read to its end, because the API closes."""
        for response_id in self._live:
            self._code.interrupt(response_id)
        self._abandoned.extend(self._live)
        self._live.clear()
        self.sweep()


def _foreground_events(responses: Responses, script: Script, live: _Live) -> Iterator[Event]:
    # A function and not a method of the reading: a reading that its own generator held would never be collected
    # at once.
    for event in play(script, run_code=responses._code.run, carry=responses._carried_over.keep):
        live.turned_away = 0
        if event["type"] in TERMINAL_EVENTS:
            body = responses._finish(script.body["id"], event["response"])
            if body is None:
                return
            event = {**event, "type": f"response.{body['status']}", "response": body}
        yield event


def _end(transaction: Transaction, response_id: str, body: Body, now: int) -> Body | None:
    response = transaction.response(response_id)
    if response is None or response.status == "cancelled":
        return None
    if response.status in TERMINAL:
        return response.body
    if body["status"] == "completed":
        body = {**body, "completed_at": now}
    transaction.set_response(response_id, body)
    conversation = response.conversation_id
    if conversation and body["status"] != "failed" and transaction.conversation(conversation):
        transaction.add_items(conversation, [*response.input_items, *body["output"]])
    if not response.stored:
        transaction.delete_response(response_id)
    return body


def _cancel(transaction: Transaction, response_id: str) -> None:
    response = transaction.response(response_id)
    if response is None or not response.running:
        return
    if response.stored:
        transaction.set_response(response_id, {**response.body, "status": "cancelled"})
    else:
        transaction.delete_response(response_id)


def _strictly(message: str) -> APIError:
    return APIError(400, message, kind="workshop_strict", code="workshop_strict", retry=False)


def _locked() -> APIError:
    return invalid(
        "Another process is currently operating on this conversation. Please retry in a few seconds.",
        param="conversation",
        code="conversation_locked",
    )


def _check_still_free(transaction: Transaction, request: ResponseRequest, context_end: int) -> None:
    """Take a last look that nobody works on the request's conversation, or added to it meanwhile."""
    if request.conversation_id is None:
        return
    existing(transaction, request.conversation_id)
    if transaction.running_in(request.conversation_id):
        raise _locked()
    if transaction.last_position(request.conversation_id) != context_end:
        raise _locked()


def _context_items(transaction: Transaction, request: ResponseRequest | CountRequest) -> list[Item]:
    if request.conversation_id is not None:
        existing(transaction, request.conversation_id)
        return transaction.items(request.conversation_id)
    if request.previous_response_id is not None:
        return _chain_items(transaction, request.previous_response_id)
    return []


def _chain_items(transaction: Transaction, response_id: str) -> list[Item]:
    """Return the items of a response and of those before it, oldest first."""
    response = transaction.response(response_id)
    if response is None or not response.stored:
        raise APIError(
            404,
            f"Previous response with id '{shown(response_id)}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    if response.status not in {"completed", "incomplete"}:
        raise invalid(
            f"The previous response with id '{response_id}' is {response.status}, not completed.",
            param="previous_response_id",
        )
    chain: list[StoredResponse] = []
    items: list[Item] = []
    while response:
        chain.append(response)
        if response.conversation_id:
            items = transaction.items(response.conversation_id, up_to=response.context_end)
            break
        # A response that was deleted ends the chain.
        earlier = response.previous_response_id
        response = transaction.response(earlier) if earlier else None
    for each in reversed(chain):
        items += [*each.input_items, *each.body["output"]]
    return items


def _check_json_is_asked_for(request: ResponseRequest, items: list[Item]) -> None:
    """Refuse JSON without a schema where no message speaks of JSON, as live: the model would not know of it."""
    if request.text["format"]["type"] != "json_object":
        return
    if not any("json" in text_of(item).lower() for item in items):
        raise invalid(
            "Response input messages must contain the word 'json' in some form to use 'text.format' of type "
            "'json_object'.",
            param="input",
        )


def _within_window(request: ResponseRequest, items: list[Item]) -> tuple[list[Item], int]:
    """Return the items that the model can read, and about how many tokens it then reads.

    Refuse if they are too many and none may be dropped.
    """
    total, first = count_input(request, items), 0
    while total > CONTEXT_TOKENS and request.truncation == "auto" and first < len(items) - 1:
        total -= estimate(readable_text(items[first]))
        first += 1
    if total > CONTEXT_TOKENS:
        raise invalid(
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            param="input",
            code="context_length_exceeded",
        )
    return items[first:], total
