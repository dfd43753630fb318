"""What the README and the examples say is what happens."""

import re
import subprocess
import sys

import pytest
import torch
from places import ROOT


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_drop_in():
    lines = run(sys.executable, "-W", "ignore", "examples/drop_in.py").splitlines()
    assert len(lines) == 5
    assert all("the same numbers" in line for line in lines)


@pytest.mark.skipif(torch.__version__ < "2.4", reason="written for the Captum it names")
def test_where_captum_differs():
    out = run(sys.executable, "-W", "error", "examples/where_captum_differs.py")
    rows = [line for line in out.splitlines() if re.search(r"\d\.\d{4}", line)]
    assert [("<- Captum differs" in row) for row in rows] == [False] + 7 * [True]
    assert "Captum returns a tensor of shape (0,)" in out
    assert "this package raises: interpolate_mode 'bilinaer' is none of" in out


@pytest.mark.filterwarnings("ignore:the .* is zero everywhere")  # untrained weights
def test_the_readmes_snippets(capsys):
    torch.manual_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 7
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    first, *table, last = capsys.readouterr().out.splitlines()
    assert first == "overridden: 35 ReLU6"
    assert [line.split()[1] for line in table[2:-1]] == ["gradient", "guided_backprop", "grad_cam"]
    assert set(names["found"]) == {"gradient", "guided"}
    assert names["largest"].shape == (1,)
    assert re.fullmatch(r"(\w+ \w+) \1 \d+", last)  # the class, found, and a face
    assert names["maps"].shape == names["images"].shape
    assert not torch.equal(names["guided"], names["gradient"])
