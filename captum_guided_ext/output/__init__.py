"""Tables, figures, files and where results come from. Nothing here knows what a result means."""

from captum_guided_ext.output._figures import (
    Estimate,
    EstimatePanel,
    MapPanel,
    PicturePanel,
    as_picture,
    draw_estimates,
    draw_maps,
    png,
)
from captum_guided_ext.output._files import (
    remove_leftovers,
    sync_folder,
    writable_folder,
    write_files,
    write_whole,
)
from captum_guided_ext.output._maps import map_files
from captum_guided_ext.output._model_identity import bytes_of, identity_of_model
from captum_guided_ext.output._provenance import (
    described,
    identity_of_data,
    package_version,
    versions,
)
from captum_guided_ext.output._result import Result
from captum_guided_ext.output._tables import Table, markdown_table, number
from captum_guided_ext.output._text import counted, percent, sections, wrapped

__all__ = [
    "Estimate",
    "EstimatePanel",
    "MapPanel",
    "PicturePanel",
    "Result",
    "Table",
    "as_picture",
    "bytes_of",
    "counted",
    "described",
    "draw_estimates",
    "draw_maps",
    "identity_of_data",
    "identity_of_model",
    "map_files",
    "markdown_table",
    "number",
    "package_version",
    "percent",
    "png",
    "remove_leftovers",
    "sections",
    "sync_folder",
    "versions",
    "wrapped",
    "writable_folder",
    "write_files",
    "write_whole",
]
