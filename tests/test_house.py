"""The walls between the rooms: imports run downwards, and each folder says what may be taken."""

import ast
from graphlib import CycleError, TopologicalSorter

import pytest
from sources import NAME, SOURCES, imported

MOST_FLOORS = 11


def imports(module, sources):
    """Return the modules of ours that ``module`` imports: lazily and for types alone as well."""
    found = set()
    for node in ast.walk(ast.parse(sources[module])):
        assert not getattr(node, "level", 0), f"{module} has a relative import"
        ours = [name for name in imported(node) if name.split(".")[0] == NAME]
        found |= {name if name in sources else name.rpartition(".")[0] for name in ours}
    return found - {module}


def room(module):
    """Return the folder or file at the package's top that a module lies in."""
    return ".".join(module.split(".")[:2])


def floors(graph):
    """Return each node's floor, 1 for what imports nothing; a circle raises CycleError."""
    found = {}
    for node in TopologicalSorter(graph).static_order():
        found[node] = 1 + max((found[below] for below in graph[node]), default=0)
    return found


def rooms(sources):
    graph = {room(module): set() for module in sources}
    for module in sources:
        graph[room(module)] |= {room(one) for one in imports(module, sources)} - {room(module)}
    return graph


def test_no_file_imports_in_a_circle():
    floors({module: imports(module, SOURCES) for module in SOURCES})


def test_rooms_stand_on_one_another_and_on_few_floors():
    graph = rooms(SOURCES)
    assert not any(NAME in below for below in graph.values())
    found = floors(graph)
    assert max(found.values()) <= MOST_FLOORS, found


def trespasses(sources):
    """Yield each import of a module whose underscore belongs to another folder."""
    for module in sources:
        for one in imports(module, sources):
            parts = one.split(".")
            for place, part in enumerate(parts):
                owner = ".".join(parts[:place])
                inside = module == owner or module.startswith(f"{owner}.")
                if part.startswith("_") and not part.startswith("__") and not inside:
                    yield f"{module} imports {one}"


def test_nobody_reaches_into_another_folders_underscore():
    assert list(trespasses(SOURCES)) == []


SMALL = {
    NAME: f"from {NAME}.high import f",
    f"{NAME}.high": f"from {NAME}.low import g",
    f"{NAME}.low": "",
    f"{NAME}.low._inner": "",
}


@pytest.mark.parametrize(
    "line",
    [
        f"from {NAME}.high import f",
        f"def f():\n    import {NAME}.high",
        f"if TYPE_CHECKING:\n    from {NAME} import high",
    ],
)
def test_a_circle_is_noticed(line):
    floors(rooms(SMALL))
    with pytest.raises(CycleError):
        floors(rooms(SMALL | {f"{NAME}.low": line}))


def test_a_trespass_is_noticed():
    assert list(trespasses(SMALL)) == []
    assert list(trespasses(SMALL | {f"{NAME}.low": f"from {NAME}.low import _inner"})) == []
    assert list(trespasses(SMALL | {f"{NAME}.high": f"from {NAME}.low import _inner"}))
