"""The embedded default: a small labelled picture world and a small network trained on it.

Class, face, fur and background of every picture are known, so the share of an attribution that
falls on each of them can be checked against the truth. ``python -m captum_guided_ext.demo.train``
trains the network anew.
"""

from captum_guided_ext.demo._network import DemoNetwork as DemoNetwork
from captum_guided_ext.demo._network import load_demo_network, prepare
from captum_guided_ext.demo._network import training_record as training_record
from captum_guided_ext.demo._world import CATEGORIES, PARTS, Picture, PictureWorld
from captum_guided_ext.demo._world import draw_picture as draw_picture

# Names in ``__all__`` are for users; the others, for the rooms above and for training.
__all__ = ["CATEGORIES", "PARTS", "Picture", "PictureWorld", "load_demo_network", "prepare"]
