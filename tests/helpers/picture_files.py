"""Pictures, and files of pictures, of labels and of regions, as tests write them."""

import gzip
import json
import struct

import numpy as np
from PIL import Image


def noise(width, height, mode="RGB", seed=0):
    """Draw a picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def save(path, picture, **options):
    """Save a picture or its pixels, in a folder that is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(path, **options)
    return path


def halves(width, height):
    """Return the pixels of a label image: 1 in the left half, 0 in the right one."""
    return (np.arange(width) < width // 2).astype(np.uint8)[None].repeat(height, 0)


def write_idx(folder, images, labels, *, compress=False):
    """Write bytes as MNIST's files hold them; return what the two files are called as data."""
    for name, array in (("images", images), ("labels", labels)):
        content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        content += array.astype(np.uint8).tobytes()
        (folder / name).write_bytes(gzip.compress(content) if compress else content)
    return f"idx:{folder / 'images'},{folder / 'labels'}"


def write_coco(folder, *annotations, **others):
    """Write the annotations of one picture of 12 x 10 pixels, as COCO lays them out."""
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 12, "height": 10}],
        "annotations": [{"image_id": 7, "category_id": 1} | each for each in annotations],
        "categories": [{"id": 1, "name": "zebra"}, {"id": 2, "name": "elephant"}],
    } | others
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"
