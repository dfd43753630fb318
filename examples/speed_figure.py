"""The figure of ``speed.py``: how the cost grows."""

from statistics import median

from speed_contenders import CONTENDERS, is_right

PANELS = (
    ("batch", "batch", "guided backprop, ms an image"),
    ("depth", "layers", "guided backprop, ms"),
    ("methods", "methods", "maps of 8 images, ms"),
    ("samples", "samples", "both metrics of four methods, s"),
    ("memory", "samples", "the same: peak, MB"),
    ("images", "images of the data set", "benchmark, images a second"),
)
COLOURS = dict(zip(CONTENDERS, ("0.6", "0.3", "C0", "C9", "C1", "C2", "C4", "C5"), strict=True))


def _plotted(kind, size, one):
    if kind == "memory":
        return one["bytes"] / 1e6
    seconds = median(one["seconds"])
    if kind == "images":
        return size / seconds
    return seconds * {"batch": 1000 / size, "samples": 1}.get(kind, 1000)


def draw(cells, file):
    """Draw what grows, a panel each."""
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415

    plain = FuncFormatter(lambda value, _: f"{value:g}")

    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, (kind, across, up) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        asked = "samples" if kind == "memory" else kind
        sizes = sorted(key[1] for key in cells if key[0] == asked)
        for name, one in CONTENDERS.items():
            found = {size: cells[asked, size] for size in sizes if name in cells[asked, size]}
            if not found or (kind == "memory" and name == "passes"):
                continue
            values = [_plotted(kind, size, here[name]) for size, here in found.items()]
            right = all(is_right(name, {"distance": 0} | here[name]) for here in found.values())
            label = one.title + ("" if right else " (WRONG)")
            style = "o-" if right else "x--"
            axes.plot([*found], values, style, color=COLOURS[name], label=label, markersize=4)
        axes.set(xlabel=across, ylabel=up)
        if kind != "methods":
            axes.set_xscale("log", base=10 if asked == "samples" else 2)
            axes.set_xticks(sizes, map(str, sizes))
            axes.minorticks_off()
        else:
            axes.set_xticks(sizes)
        if kind in ("samples", "depth"):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(plain)
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            highest = max((max(one.get_ydata()) for one in axes.lines), default=1)
            axes.set_ylim(0, 1.05 * highest)
        axes.grid(alpha=0.3)
        if sizes:
            axes.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=150)
