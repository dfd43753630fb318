"""Write the page of public names, one line each, from the docstrings.

Run: python examples/public_names.py > examples/api.md
"""

import ast
import importlib
import inspect
import itertools
import re
from pathlib import Path

import captum_guided_ext

MODULES = ("captum_guided_ext", *(f"captum_guided_ext.{m}" for m in ("attr", "metrics", "demo")))


def constants():
    """Return the text below each constant of the package, by name."""
    found = {}
    for file in Path(captum_guided_ext.__file__).parent.rglob("*.py"):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        for one, text in itertools.pairwise(body):
            if isinstance(one, (ast.Assign, ast.AnnAssign)) and isinstance(text, ast.Expr):
                target = one.targets[0] if isinstance(one, ast.Assign) else one.target
                if isinstance(text.value, ast.Constant) and isinstance(target, ast.Name):
                    found[target.id] = text.value.value
    return found


def first_sentence(text):
    """Return the first paragraph of a docstring in one line, its markup as Markdown's."""
    line = " ".join(text.strip().split("\n\n")[0].split()).replace("``", "`")
    return re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", line)


def page():
    """Return the page."""
    texts = constants()
    lines = [
        "# Public names",
        "",
        "Made by `python examples/public_names.py` from the docstrings; `help(name)` says more.",
    ]
    listed = set()
    for module in MODULES:
        found = importlib.import_module(module)
        lines += ["", f"## {module}"]
        if also := sorted(listed.intersection(found.__all__)):
            lines += ["", f"From above: {', '.join(f'`{name}`' for name in also)}."]
        names = sorted(set(found.__all__) - listed, key=lambda n: (not n.isupper(), n.lower(), n))
        lines += ["", "| name | what it is |", "|---|---|"] if names else []
        for name in names:
            thing = getattr(found, name)
            documented = inspect.isclass(thing) or inspect.isfunction(thing)
            text = inspect.getdoc(thing) if documented else texts[name]
            lines.append(f"| `{name}` | {first_sentence(text)} |")
        listed |= set(names)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
