"""Pictures, regions of them, and data sets of them."""

from captum_guided_ext.pictures._batches import LoadedBatch, load_batches
from captum_guided_ext.pictures._dataset import PictureDataset
from captum_guided_ext.pictures._photos import Photo, PhotoFiles, demo_photo, open_photo
from captum_guided_ext.pictures._reading import as_rgb, open_picture
from captum_guided_ext.pictures._region_files import load_regions
from captum_guided_ext.pictures._regions import Mask, grid_regions, lay_regions
from captum_guided_ext.pictures._sources import DEMO_SEED, Pictures, open_data

__all__ = [
    "DEMO_SEED",
    "LoadedBatch",
    "Mask",
    "Photo",
    "PhotoFiles",
    "PictureDataset",
    "Pictures",
    "as_rgb",
    "demo_photo",
    "grid_regions",
    "lay_regions",
    "load_batches",
    "load_regions",
    "open_data",
    "open_photo",
    "open_picture",
]
