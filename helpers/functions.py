"""Python functions as tools: the schema from the signature, checked arguments, and a result that a model can act on.

Here lives everything between a Python function and the two items of the API, ``function_call`` and
``function_call_output``. Not here: sending the outputs and asking on (``run.py``), and showing them
(``function_calling.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["FunctionResult"]


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """What came of one function call."""

    call_id: str
    """Which call it answers."""
    name: str
    """The function's name, as the model wrote it."""
    arguments: str
    """The arguments, as the model wrote them."""
    output: str
    """What the model gets: the result as text or JSON, or what went wrong and what to do about it."""
    status: str = "done"
    """``done``, ``raised``, ``timed_out``, ``wrong_arguments``, ``unknown_function``, ``wrong_result``,
    ``interrupted`` or ``not_run``."""
    error: str = ""
    """One sentence for a person; ``""`` if all went well."""
    duration_ms: float = 0.0
    """Milliseconds."""
    printed: str = ""
    """What the function printed, without keys; it does not travel to the model."""
    shortened: bool = False
    """Whether the output was too long and was cut; the output says so."""

    def item(self) -> dict[str, Any]:
        """Return the input item that answers the call."""
        return {"type": "function_call_output", "call_id": self.call_id, "output": self.output}
