"""The worked examples show what their page says they show, on smaller settings."""

import re

import pytest
from places import ROOT, needs


def table_of(out, first):
    """Return the rows of the table whose first head this is, as lists of cells by first cell."""
    (block,) = [one for one in out.split("\n\n") if one.lstrip().startswith(f"| {first} |")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.strip().splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_a_tag_is_learned_and_the_maps_say_so(printed, tmp_path):
    figure = tmp_path / "figure.png"
    out = printed("clever_hans", "--quick", "--output", figure)
    assert figure.read_bytes()[1:4] == b"PNG"

    right = {
        kind: [int(cell.split()[0]) for cell in cells]
        for kind, cells in table_of(out, "right").items()
        if kind not in ("right", "---")
    }
    assert right["cats with the tag"][0] >= 11  # of 12
    assert right["cats without the tag"][0] < right["cats with the tag"][0]
    assert right["dogs and rabbits with the tag"][0] < right["dogs and rabbits without"][0]
    with_tag, retrained = right["the tag changes the answer"]
    assert with_tag > 2 * retrained

    shares = table_of(out, "the corner's share")
    for method in (
        "gradient",
        "input_x_gradient",
        "guided_backprop",
        "grad_cam",
        "guided_grad_cam",
    ):
        learned, above, control, _ = shares[method]
        low = float(re.search(r"\((.*) to", learned)[1])
        assert above == "yes", method
        assert low > float(re.search(r"to (.*)\)", control)[1]), method
    # the floors know nothing of the network, and an even map holds what the corner covers
    for floor in ("edges", "constant_map", "random_map"):
        assert shares[floor][0] == shares[floor][2]
    assert shares["constant_map"][0].startswith(f"{16**2 / 96**2:.3f} ")


def test_the_page_keeps_its_figure_where_the_example_is_only_seen_to_run(example, monkeypatch):
    main = example("clever_hans")["main"]
    draw, drawn = main.__globals__["draw"], []

    def save(_, file, **__):
        drawn.append(file)

    def nothing(*_, **__):
        return []

    parts = dict.fromkeys(("train", "show_answers", "show_maps", "draw_maps"), nothing)
    main.__globals__.update(parts, draw=lambda _, seed: draw(3, seed), save_small=save)
    monkeypatch.setattr("sys.argv", ["clever_hans", "--quick"])
    main()
    assert not drawn
    monkeypatch.setattr("sys.argv", ["clever_hans", "--quick", "--output", "here.png"])
    main()
    assert [str(file) for file in drawn] == ["here.png"]


@needs("squeezenet1_0_imagenet")
def test_what_is_blamed_for_a_wrong_prediction(printed, tmp_path):
    figure = tmp_path / "figure.png"
    out = printed("wrong_prediction", "--quick", "--output", figure)
    assert figure.read_bytes()[1:4] == b"PNG"
    whole, part = out.split("a part without the zebra: ")
    # what the README of the data says of it, 0.41
    assert "the whole photo: zebra 0.409, an elephant 0.010 (African elephant 0.006)" in whole
    assert part.startswith("gibbon ")

    held = table_of(whole, "zebra / African elephant")
    for method in ("gradient", "guided_backprop", "grad_cam", "guided_grad_cam"):
        of_zebra, of_elephant = map(float, held[method][0].split(" / "))
        assert of_zebra > 2 * of_elephant > 0, method
        assert held[method][-1] == "zebra"
    answer, zebra, *_ = table_of(whole, "grey")["zebra"]
    assert answer == "badger"
    assert float(zebra) < 0.01
    assert table_of(part, "gibbon / African elephant")["guided_grad_cam"][-1] == "trunk"
    for block in (whole, part):
        answers = [cells[0] for cells in list(table_of(block, "grey").values())[2:]]
        assert not {"tusker", "Indian elephant", "African elephant"} & set(answers)
    # its own place and no other, of those that the page tells of
    assert table_of(whole, "view moved by")["grad_cam"][3] == "tusker"
    assert table_of(part, "view moved by")["guided_backprop"][3] == "tusker"

    # the shares are those of the page, whose controls are more
    page = (ROOT / "examples/worked_examples.md").read_text(encoding="utf-8")
    for block, classes in ((whole, "zebra"), (part, "gibbon")):
        heads = f"{classes} / African elephant"
        printed, shown = table_of(block, heads), table_of(page, heads)
        assert printed.keys() == shown.keys()
        assert printed[heads] == shown[heads]
        for method in list(printed)[2:]:
            found, said = (
                [float(number) for cell in rows[method][:-1] for number in cell.split(" / ")]
                for rows in (printed, shown)
            )
            assert found == pytest.approx(said, abs=0.02), method
            assert printed[method][-1] == shown[method][-1]
