"""A real notebook kernel for tests: runs cells one after another, and can be interrupted or killed in the middle."""

from __future__ import annotations

import os
import queue
import signal
import time

from jupyter_client.manager import start_new_kernel

from tests.committed_outputs import PROJECT, environment


class Kernel:
    """A kernel in the folder of the notebooks, with the environment of a recorded run and what ``env`` changes."""

    def __init__(self, *, folder=PROJECT / "notebooks", **env):
        self.manager, self.client = start_new_kernel(
            kernel_name="python3", cwd=str(folder), env=environment(**env)
        )

    def run(self, source, interrupt_after=None, *, interrupt_in_s=None, kill_after=None):
        """Run ``source``; returns (text, error name, error text).

        The interrupt comes once ``interrupt_after`` was printed, or ``interrupt_in_s`` seconds after the cell began.
        Once ``kill_after`` was printed, the kernel is killed, and what was printed until then is returned.
        """
        message = self.client.execute(source)
        text, error = "", ("", "")
        interrupt_at = None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            wait_s = 1.0 if interrupt_at is None else max(0.0, min(1.0, interrupt_at - time.monotonic()))
            try:
                reply = self.client.get_iopub_msg(timeout=wait_s)
            except queue.Empty:
                reply = None
            if interrupt_at is not None and time.monotonic() >= interrupt_at:
                self.manager.interrupt_kernel()
                interrupt_at = None
            if reply is None or reply["parent_header"].get("msg_id") != message:
                continue
            content = reply["content"]
            if reply["msg_type"] == "stream":
                text += content["text"]
            elif reply["msg_type"] in ("display_data", "execute_result", "update_display_data"):
                text += content["data"].get("text/plain", "") + "\n"
            elif reply["msg_type"] == "error":
                error = (content["ename"], "\n".join(content["traceback"]))
            elif reply["msg_type"] == "status" and content["execution_state"] == "busy" and interrupt_in_s:
                interrupt_at = time.monotonic() + interrupt_in_s
            elif reply["msg_type"] == "status" and content["execution_state"] == "idle":
                return text, *error
            if interrupt_after and interrupt_after in text:
                self.manager.interrupt_kernel()
                interrupt_after = None
            if kill_after and kill_after in text:
                self.kill()
                return text, *error
        raise TimeoutError(f"The cell did not end: {source}")

    def kill(self):
        """End it as the system does when memory runs out: nothing in it gets a chance to clear up."""
        process = self.manager.provisioner.process
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def close(self):
        """End it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
