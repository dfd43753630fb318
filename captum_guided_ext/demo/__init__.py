"""The embedded default: a small labelled picture world and a small network trained on it.

Class, face, fur and background of every picture are known, so the share of an attribution that
falls on each of them can be checked against the truth.
"""

from captum_guided_ext.demo._network import DemoNetwork as DemoNetwork
from captum_guided_ext.demo._network import load_demo_network as load_demo_network
from captum_guided_ext.demo._network import prepare as prepare
from captum_guided_ext.demo._network import training_record as training_record
from captum_guided_ext.demo._world import CATEGORIES as CATEGORIES
from captum_guided_ext.demo._world import PARTS as PARTS
from captum_guided_ext.demo._world import Picture as Picture
from captum_guided_ext.demo._world import PictureWorld as PictureWorld
from captum_guided_ext.demo._world import draw_picture as draw_picture

__all__ = [
    "CATEGORIES",
    "PARTS",
    "DemoNetwork",
    "Picture",
    "PictureWorld",
    "draw_picture",
    "load_demo_network",
    "prepare",
    "training_record",
]
