"""The package's own files as text, and what they import."""

import ast
from pathlib import Path

import captum_guided_ext

PACKAGE = Path(captum_guided_ext.__file__).parent
NAME = PACKAGE.name


def _module_of(file):
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    _module_of(file): file.read_text(encoding="utf-8") for file in sorted(PACKAGE.rglob("*.py"))
}


def imported(node):
    """Return the dotted names an import statement asks for; none of any other statement."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []
