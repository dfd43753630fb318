"""Tables, figures, files and where results come from. Nothing here knows what a result means."""

from captum_guided_ext.output._curves import Curve, CurvePanel, draw_checks
from captum_guided_ext.output._estimates import Estimate, EstimatePanel, draw_estimates
from captum_guided_ext.output._figure_files import FORMATS, figure_bytes
from captum_guided_ext.output._figures import MapPanel, PicturePanel, draw_maps
from captum_guided_ext.output._files import (
    remove_leftovers,
    sync_folder,
    writable_folder,
    write_files,
    write_whole,
)
from captum_guided_ext.output._html import (
    Article,
    Drawing,
    Layer,
    Layers,
    Rows,
    Section,
    Share,
    Words,
)
from captum_guided_ext.output._maps import map_files
from captum_guided_ext.output._matrices import Matrix, draw_matrices
from captum_guided_ext.output._model_identity import bytes_of, identity_of_model
from captum_guided_ext.output._names import file_stem
from captum_guided_ext.output._provenance import (
    described,
    identity_of_data,
    package_version,
    versions,
)
from captum_guided_ext.output._regions import is_grid
from captum_guided_ext.output._result import Result, html_of
from captum_guided_ext.output._tables import Table, markdown_table, number
from captum_guided_ext.output._text import UNPRINTABLE, counted, percent, sections, wrapped
from captum_guided_ext.output._views import (
    HOW_DRAWN,
    VIEWS,
    as_picture,
    map_picture,
    scale_pixels,
    views_of,
)

__all__ = [
    "FORMATS",
    "HOW_DRAWN",
    "UNPRINTABLE",
    "VIEWS",
    "Article",
    "Curve",
    "CurvePanel",
    "Drawing",
    "Estimate",
    "EstimatePanel",
    "Layer",
    "Layers",
    "MapPanel",
    "Matrix",
    "PicturePanel",
    "Result",
    "Rows",
    "Section",
    "Share",
    "Table",
    "Words",
    "as_picture",
    "bytes_of",
    "counted",
    "described",
    "draw_checks",
    "draw_estimates",
    "draw_maps",
    "draw_matrices",
    "figure_bytes",
    "file_stem",
    "html_of",
    "identity_of_data",
    "identity_of_model",
    "is_grid",
    "map_files",
    "map_picture",
    "markdown_table",
    "number",
    "package_version",
    "percent",
    "remove_leftovers",
    "scale_pixels",
    "sections",
    "sync_folder",
    "versions",
    "views_of",
    "wrapped",
    "writable_folder",
    "write_files",
    "write_whole",
]
