"""The page of HTML of an explanation: the words of its report, and maps to lay over the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from captum_guided_ext.attr import method_title
from captum_guided_ext.output import (
    HOW_DRAWN,
    Article,
    Drawing,
    Layer,
    Layers,
    Rows,
    Section,
    Share,
    Words,
    draw_maps,
    figure_bytes,
    is_grid,
    map_picture,
    percent,
    scale_pixels,
)
from captum_guided_ext.pictures import grid_regions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from captum_guided_ext.explanation._shares import RegionShare
    from captum_guided_ext.output import MapPanel, PicturePanel


def article(
    *,
    title: str,
    headline: str,
    report: Mapping[str, Sequence[str]],
    about: Mapping[str, Any],
    panels: tuple[PicturePanel, Sequence[MapPanel]],
    shares: Mapping[str, Sequence[RegionShare]],
    main: str,
) -> Article:
    """Return what a page shows of an explanation.

    Args:
        title: What it is of.
        headline: The first line of the report.
        report: The lines of the report, by section.
        about: The report as data.
        panels: What the network saw of the picture, and its maps, as a figure shows them.
        shares: What each region holds, by method of the maps.
        main: The method the report speaks about, which is shown first.
    """
    of_main, *_, key = report["regions"]
    classes = [(one["name"], Share(one["probability"])) for one in about["predictions"]]
    explained = Words([f"explained: {line}" for line in report["explained"]])
    sections = [
        Section("Prediction", [Rows(("class", "probability"), classes), explained]),
        Section("Maps", [_layers(about, *panels, shares, main)]),
        Section(
            "Regions",
            [
                _bars(shares[main], of_main),
                Words([key]),
                *_compared(shares),
                *_outlines(panels[0]),
            ],
            in_short=True,
        ),
    ]
    where_from = {name: " ".join(report[name]) for name in ("picture", "network", "preprocessed")}
    sections.append(Section("Picture and network", [Rows.of_settings(where_from)]))
    own = {"prediction", "explained", "regions", *where_from}
    rest = {name: lines for name, lines in report.items() if name not in own}
    sections += [Section(name.capitalize(), [Words(lines)]) for name, lines in rest.items()]
    settings = {
        "target": f"class {about['target']['index']}",
        "methods": [*shares, *about["methods"]["not_applicable"]],
        "layer": about["network"]["layer"],
        "versions": about["versions"],
    }
    sections.append(Section("Settings and versions", [Rows.of_settings(settings)]))
    return Article(title, [headline], sections, _code(about, list(shares), panels[0]))


def _layers(
    about: Mapping[str, Any],
    picture: PicturePanel,
    maps: Sequence[MapPanel],
    shares: Mapping[str, Sequence[RegionShare]],
    main: str,
) -> Layers:
    """Return the picture, with each method's map to lay over it."""
    seen = Layer("Picture", picture.picture, f"The picture {picture.title}, as the network sees it")
    shown = []
    for panel, own in zip(maps, shares.values(), strict=True):
        most = max(own, key=lambda share: share.attribution)
        held = f"{percent(most.attribution)} of its magnitude lies in {most.name}"
        empty = "" if panel.values.any() else "zero everywhere"
        alt = f"Map of {panel.title} for {about['target']['name']}: {empty or held}"
        drawn = map_picture(panel.values, picture.picture, panel.view)
        title = f"{panel.title} ({empty})" if empty else panel.title
        shown.append(Layer(title, Image.fromarray(drawn), alt))
    view = maps[0].view
    scale = Layer("", Image.fromarray(scale_pixels(view)), "from blue over white to red")
    ends = ("negative −1", "1 positive")
    return Layers(seen, shown, list(shares).index(main), scale, ends, [HOW_DRAWN[view]])


def _outlines(picture: PicturePanel) -> list[Drawing]:
    """Return the picture with the regions on it, where their names do not say their places."""
    if is_grid(picture.outlines):
        return []
    alt = f"The picture with the outlines of its regions: {', '.join(picture.outlines)}"
    return [Drawing(lambda: figure_bytes(draw_maps([(picture, [])]), "png"), alt)]


def _bars(shares: Sequence[RegionShare], caption: str) -> Rows:
    """Return what each region holds of the main map, beside what it covers."""
    rows: list[list[str | Share]] = [
        [
            f"{one.mark}\N{NO-BREAK SPACE}{one.name}",
            Share(one.attribution),
            Share(one.area),
            one.words,
        ]
        for one in shares
    ]
    return Rows(("region", "of the map", "of the area", "in words"), rows, caption)


def _compared(shares: Mapping[str, Sequence[RegionShare]]) -> list[Rows]:
    """Return what each region holds of each method's map, where there are several."""
    if len(shares) == 1:
        return []
    rows: list[list[str | Share]] = [
        [one[0].name, *(f"{share.mark} {percent(share.attribution)}" for share in one)]
        for one in zip(*shares.values(), strict=True)
    ]
    titles = [method_title(method) for method in shares]
    return [Rows(("region", *titles), rows, "of the magnitude of each method's map:")]


def _code(about: Mapping[str, Any], methods: Sequence[str], picture: PicturePanel) -> str:
    network = about["network"]
    arguments = {
        "target": about["target"]["index"],
        "methods": [*methods, *about["methods"]["not_applicable"]],
        "layer": network["layer"],
    }
    lines = [f"    {name}={value!r}," for name, value in arguments.items() if value is not None]
    regions = list(picture.outlines)
    if regions != list(grid_regions(*picture.picture.size[::-1])):
        lines.append(f"    regions=...,  # {', '.join(map(repr, regions))}")
    return "\n".join(
        [
            "import captum_guided_ext as cg",
            "",
            f"network = cg.load_network({network['name']!r})  # or your own of this name, with",
            *(f"# {words!r}" for words in (network["weights"], about["preprocessing"]) if words),
            "found = cg.explain(",
            f"    network, {about['image']!r},",
            *lines,
            ")",
            "print(found)",
        ]
    )
