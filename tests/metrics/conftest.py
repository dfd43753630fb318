"""What the tests of metrics share."""

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _global_streams_put_back():
    legacy = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    np.random.set_state(legacy)  # noqa: NPY002
