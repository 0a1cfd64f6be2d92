"""Clean-up with proof: what a notebook creates ends by itself if it is forgotten, and is gone after its last cell."""

import ast

import nbformat
import pytest

from tests.committed_outputs import NOTEBOOKS
from tests.observed import observed

pytestmark = pytest.mark.notebook
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

CAN_EXPIRE = {"file", "vector_store", "container"}
# Not of the account: numbers that go on counting, and what a call had found, which goes with its conversation's items.
NOT_OF_THE_ACCOUNT = {"counters", "sqlite_sequence", "carried"}


@each_notebook
def test_everything_that_can_expire_does(path):
    created = [one for one in observed(path).created if one["object"] in CAN_EXPIRE]
    endless = [one for one in created if not one["expires_at"] and not one["expires_after"]]
    assert endless == []


def test_files_stores_and_containers_were_among_what_was_looked_at():
    kinds = {one["object"] for path in NOTEBOOKS for one in observed(path).created}
    assert kinds >= CAN_EXPIRE | {"conversation", "response"}


@each_notebook
def test_so_does_what_cells_create_only_once_a_learner_filled_them_in(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert creations_without_expiry(cell.source) == [], cell.id


def test_a_creation_without_expiry_would_be_noticed():
    source = "if mine:\n    store = client.vector_stores.create(name='Mine')"
    assert creations_without_expiry(source) == ["client.vector_stores.create(name='Mine')"]
    assert creations_without_expiry("client.files.create(file=file, expires_after=day)") == []


def creations_without_expiry(source):
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    creations = [
        call
        for call in calls
        if ast.unparse(call.func).endswith(
            ("vector_stores.create", "client.files.create", "containers.create")
        )
    ]
    return [
        ast.unparse(call)
        for call in creations
        if "expires_after" not in {keyword.arg for keyword in call.keywords}
    ]


@each_notebook
def test_after_its_last_cell_the_api_holds_nothing_that_it_created(path):
    seen = observed(path)
    assert seen.created != []
    assert seen.after["kinds"] == {"files": 0, "vector_stores": 0, "containers": 0}
    assert {name: count for name, count in seen.rows.items() if count} == {
        name: seen.rows[name] for name in NOT_OF_THE_ACCOUNT if seen.rows[name]
    }


@each_notebook
def test_no_process_no_temporary_file_and_no_line_in_the_journal_is_left(path):
    seen = observed(path)
    assert seen.after["processes"] == 0
    assert seen.after["folders"] == []
    assert not [name for name in seen.texts if name.startswith("journal")]
