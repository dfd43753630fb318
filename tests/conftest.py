"""What every test module shares."""

import pytest
import torch

pytest.register_assert_rewrite("messages", "methods", "unchanged")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    # On small networks, threads waiting for one another would take most of the time.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def dynamo():
    """Let a test compile: what was compiled before it, and in it, is forgotten."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
