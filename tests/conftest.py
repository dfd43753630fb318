"""What every test module shares."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    # On small networks, threads waiting for one another would take most of the time.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
