"""What the tests of networks share."""

import pytest
import torch
from torchvision import models


@pytest.fixture
def saved(tmp_path):
    """Save a torchvision network with random parameters; return it and its file."""

    def save(name, change=lambda state: state, **config):
        torch.manual_seed(0)
        model = models.get_model(name, weights=None, **config).eval()
        file = tmp_path / f"{name}.pth"
        torch.save(change(model.state_dict()), file)
        return model, file

    return save
