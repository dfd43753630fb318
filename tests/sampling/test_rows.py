"""Functions run row by row, so that nothing depends on the batch."""

import torch
from chance import torch_noise

from captum_guided_ext.sampling import RowByRow


def test_rows_get_their_own_part_of_what_there_is_one_of_each():
    def method(xs, target, further, name):
        assert name == "abc"
        return xs[0] + target.view(-1, 1), torch_noise(xs[1]) * 0 + further[0] * further[1]

    xs, ones = (torch.rand(3, 2), torch.rand(3, 4)), torch.ones(3, 1)
    got = RowByRow(method, own=("target", "further"))(
        xs, {"target": torch.tensor([1, 2, 3]), "further": (ones, 2), "name": "abc"}, [5, 6, 7]
    )
    assert torch.equal(got[0], xs[0] + torch.tensor([[1.0], [2.0], [3.0]]))
    assert torch.equal(got[1], torch.full((3, 4), 2.0))
