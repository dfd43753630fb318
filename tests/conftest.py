"""What every test module shares."""

import os
import signal

# On small networks, threads waiting for one another would take most of the time. Processes that
# tests start inherit it; torch reads it when it is imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["COLUMNS"] = "80"  # help is folded to it

# Shells let what they start in the background ignore Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import torch

pytest.register_assert_rewrite("messages", "methods", "unchanged")


@pytest.fixture
def dynamo():
    """Let a test compile: what was compiled before it, and in it, is forgotten."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
