"""Pictures, regions of them, and data sets of them."""

from captum_guided_ext.pictures._batches import LoadedBatch, load_batches, masks_of
from captum_guided_ext.pictures._datasets import DEMO_SEED, Pictures, open_data
from captum_guided_ext.pictures._prepared import PreparedPictures
from captum_guided_ext.pictures._reading import open_picture
from captum_guided_ext.pictures._region_files import load_regions
from captum_guided_ext.pictures._regions import Mask, grid_regions, lay_regions

__all__ = [
    "DEMO_SEED",
    "LoadedBatch",
    "Mask",
    "Pictures",
    "PreparedPictures",
    "grid_regions",
    "lay_regions",
    "load_batches",
    "load_regions",
    "masks_of",
    "open_data",
    "open_picture",
]
