"""Change one import, and everything else stays as it is.

Run: python examples/drop_in.py
"""

import captum.attr
import torch
from torchvision.models import resnet18

import captum_guided_ext.attr

torch.manual_seed(0)
model = resnet18().eval()  # random weights: nothing is downloaded
images = torch.rand(2, 3, 64, 64)


def attributions(attr):
    """Use Captum's classes as its users know them; ``attr`` is the only thing that changes."""
    return {
        "GuidedBackprop": attr.GuidedBackprop(model).attribute(images, target=3),
        "Deconvolution": attr.Deconvolution(model).attribute(images, target=[3, 7]),
        "GuidedGradCam": attr.GuidedGradCam(model, model.layer4).attribute(
            images, target=3, interpolate_mode="bilinear"
        ),
        "NeuronGuidedBackprop": attr.NeuronGuidedBackprop(model, model.layer2).attribute(
            images, (5, 1, 1)
        ),
        "NeuronDeconvolution": attr.NeuronDeconvolution(model, model.layer2).attribute(
            images, (5, 1, 1)
        ),
    }


before = attributions(captum.attr)
after = attributions(captum_guided_ext.attr)
for name in before:
    same = "the same numbers" if torch.equal(before[name], after[name]) else "DIFFERENT"
    print(f"{name:<22}{same}, sum of magnitudes {after[name].abs().sum():.4f}")
