"""A stand-in for the parts of the API that uploads and evaluations use, small enough to be seen through.

It keeps files and one vector store in dictionaries. What a test wants to go wrong it says with ``fail`` (a status for
the next requests to a route) or ``on`` (a function that is called before a route answers).
"""

import email.parser
import email.policy
import json
import re

import httpx2
import openai

STORE = "vs_1"


def api_error(status, message="It went wrong.", code=None, kind="invalid_request_error"):
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return httpx2.Response(status, json=body, headers={"x-should-retry": "false"})


class StoreServer:
    def __init__(self, *, polls=1, status="completed", name="Notes"):
        self.polls = polls  # how often a file is still being parsed
        self.store = {"id": STORE, "object": "vector_store", "name": name, "status": status, "created_at": 1}
        self.files = {}  # id -> (name, content)
        self.expiry = {}
        self.attached = {}  # id -> the vector store file
        self.left = {}
        self.outcome = {}  # file name -> (code, message) with which its parsing fails
        self.requests = []
        self.failures = {}
        self.hooks = {}
        self.search = lambda query, limit: []
        self.respond = None

    # -- what a test says and asks

    def client(self, host="api.openai.com", **options):
        http = httpx2.Client(transport=httpx2.MockTransport(self))
        return openai.OpenAI(
            api_key="not-a-key",
            base_url=f"https://{host}/v1",
            http_client=http,
            **{"max_retries": 0, **options},
        )

    def fail(self, route, *answers):
        """Answer the next requests to ``route`` with these statuses, responses or exceptions, and then as usual."""
        self.failures.setdefault(route, []).extend(answers)

    def on(self, route, action):
        """Call ``action(request)`` each time before ``route`` is answered."""
        self.hooks[route] = action

    def count(self, route):
        return self.requests.count(route)

    @property
    def names(self):
        """The names of the files in the store."""
        return sorted(self.files[id][0] for id in self.attached)

    # -- answering

    def __call__(self, request):
        path = request.url.path.removeprefix("/v1")
        route = re.sub(r"(file-|vs_)\w+", r"*", f"{request.method} {path}")
        self.requests.append(route)
        if route in self.hooks:
            self.hooks[route](request)
        if self.failures.get(route):
            answer = self.failures[route].pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return api_error(answer) if isinstance(answer, int) else answer
        ids = re.findall(r"(?:file-|vs_)\w+", path)
        answer = self.routes()[route](request, *ids)
        if isinstance(answer, httpx2.Response):
            return answer
        return httpx2.Response(200, json=answer, headers={"openai-poll-after-ms": "0"})

    def routes(self):
        return {
            "POST /files": self.create_file,
            "DELETE /files/*": self.delete_file,
            "GET /vector_stores/*": lambda request, store: self.store if store == STORE else api_error(404),
            "GET /vector_stores/*/files": self.list_files,
            "POST /vector_stores/*/files": self.attach,
            "GET /vector_stores/*/files/*": self.look,
            "POST /vector_stores/*/files/*": self.update,
            "DELETE /vector_stores/*/files/*": self.detach,
            "POST /vector_stores/*/search": self.answer_search,
            "POST /responses": lambda request: self.respond(json.loads(request.content)),
        }

    def create_file(self, request):
        head = b"content-type: " + request.headers["content-type"].encode() + b"\r\n\r\n"
        form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.read())
        parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
        id = f"file-{len(self.expiry) + 1}"
        content = parts["file"].get_payload(decode=True)
        self.files[id] = (parts["file"].get_filename(), content)
        self.expiry[id] = int(parts["expires_after[seconds]"].get_payload())
        return {
            "id": id,
            "object": "file",
            "filename": self.files[id][0],
            "bytes": len(content),
            "created_at": 1,
            "purpose": "assistants",
            "status": "processed",
        }

    def delete_file(self, request, id):
        if self.files.pop(id, None) is None:
            return api_error(404)
        self.attached.pop(id, None)
        return {"id": id, "object": "file", "deleted": True}

    def list_files(self, request, store):
        return {
            "object": "list",
            "data": [dict(entry) for entry in reversed(self.attached.values())],
            "has_more": False,
            "first_id": None,
            "last_id": None,
        }

    def attach(self, request, store):
        body = json.loads(request.content)
        strategy = body.get("chunking_strategy") or {
            "type": "static",
            "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
        }
        self.left[body["file_id"]] = self.polls
        self.attached[body["file_id"]] = {
            "id": body["file_id"],
            "object": "vector_store.file",
            "vector_store_id": store,
            "created_at": 1,
            "usage_bytes": 10,
            "status": "in_progress",
            "last_error": None,
            "attributes": body.get("attributes"),
            "chunking_strategy": strategy,
        }
        return dict(self.attached[body["file_id"]])

    def look(self, request, store, id):
        if id not in self.attached:
            return api_error(404)
        entry = self.attached[id]
        self.left[id] -= 1
        if self.left[id] <= 0 and entry["status"] == "in_progress":
            name = self.files[id][0]
            entry["status"] = "failed" if name in self.outcome else "completed"
            if name in self.outcome:
                code, message = self.outcome[name]
                entry["last_error"] = {"code": code, "message": message}
        return dict(entry)

    def update(self, request, store, id):
        self.attached[id]["attributes"] = json.loads(request.content)["attributes"]
        return dict(self.attached[id])

    def detach(self, request, store, id):
        if self.attached.pop(id, None) is None:
            return api_error(404)
        return {"id": id, "object": "vector_store.file.deleted", "deleted": True}

    def answer_search(self, request, store):
        body = json.loads(request.content)
        found = self.search(body["query"], body["max_num_results"])
        data = [
            {
                "file_id": "file-1",
                "filename": filename,
                "score": score,
                "attributes": {},
                "content": [{"type": "text", "text": text}],
            }
            for filename, score, text in found
        ]
        return {
            "object": "vector_store.search_results.page",
            "search_query": [body["query"]],
            "data": data,
            "has_more": False,
            "next_page": None,
        }
