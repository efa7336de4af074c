"""The shape of the code base: who may import whom, how long things get, what never appears."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "core": {"core"},
    "geometry": {"core", "geometry"},
    "pretext": {"core", "geometry", "pretext"},
    "heads": {"core", "geometry", "heads"},
}
DEPENDENCIES = {"torch", "einops", "kornia", "numpy", "safetensors", "ross3d"}
OPTIONAL = {"diffusers", "transformers", "huggingface_hub", "open3d", "xformers"}
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 250, 50
MAX_IMPORT_SECONDS = 0.3


def files_of(*folders: str) -> list[Path]:
    return [
        path.relative_to(ROOT)
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def name_of(path: Path) -> str:
    return path.as_posix()


LIBRARY = files_of("ross3d")
PROGRAMS = files_of("examples", "benchmarks")
in_library = pytest.mark.parametrize("path", LIBRARY, ids=name_of)
in_programs = pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
everywhere = pytest.mark.parametrize("path", LIBRARY + PROGRAMS, ids=name_of)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imports_of(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Each ``from module import name``, and (module, None) for each ``import module``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((module, alias.name) for alias in node.names)


def calls_of(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """(dotted name, call) of each call whose function is a name or an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def typing_only(tree: ast.AST) -> set[tuple[str, str | None]]:
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ]
    return {found for block in blocks for found in imports_of(block)}


def exported() -> list[str]:
    for node in tree_of(Path("ross3d/__init__.py")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    pytest.fail("ross3d/__init__.py must have an __all__")


def layer_errors(path: Path, tree: ast.AST) -> list[str]:
    """Imports of ross3d that point up or sideways."""
    layer = path.parts[1] if len(path.parts) > 2 else None
    allowed = MAY_IMPORT[layer] if layer else set(MAY_IMPORT)
    errors = []
    for module, name in imports_of(tree):
        parts = [*module.split("."), *([name] if name else [])]
        if module.startswith("."):
            errors.append(f"relative import of {module}")
        elif parts[0] == "ross3d" and (len(parts) < 2 or parts[1] not in allowed):
            errors.append(f"{layer} imports {'.'.join(parts)}")
    return errors


def program_errors(tree: ast.AST, public: list[str]) -> list[str]:
    """Uses of ross3d other than of exported names."""
    names = {*public, "__version__"}
    errors = []
    for module, name in imports_of(tree):
        if module.startswith("ross3d."):
            errors.append(f"imports {module}")
        elif module == "ross3d" and name is not None and name not in names:
            errors.append(f"imports ross3d.{name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ross3d":
            errors += [] if node.attr in names else [f"uses ross3d.{node.attr}"]
    return errors


def loading_errors(tree: ast.AST) -> list[str]:
    """Calls that would run code found in a file."""
    unpicklers = {"pickle.load", "pickle.loads", "pickle.Unpickler"}
    errors = [f"from pickle import {n}" for m, n in imports_of(tree) if m == "pickle" and n]
    for function, call in calls_of(tree):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if function in unpicklers:
            errors.append(function)
        elif function == "torch.load" and keywords.get("weights_only") != "True":
            errors.append("torch.load without weights_only=True")
        elif keywords.get("allow_pickle", "False") != "False":
            errors.append(f"{function} with allow_pickle")
    return errors


def function_lengths(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Lines of each function, its docstring not counted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            first = node.body[0]
            if ast.get_docstring(node) is not None and first.end_lineno is not None:
                lines -= first.end_lineno - first.lineno + 1
            yield node.name, lines


@in_library
def test_imports_point_down(path: Path) -> None:
    assert layer_errors(path, tree_of(path)) == []


@in_library
def test_library_imports_its_dependencies_only(path: Path) -> None:
    tree = tree_of(path)
    found = set(imports_of(tree)) - typing_only(tree)
    packages = {module.partition(".")[0] for module, _ in found}
    assert packages - DEPENDENCIES - set(sys.stdlib_module_names) == set()


@in_programs
def test_programs_use_exported_names_only(path: Path) -> None:
    assert program_errors(tree_of(path), exported()) == []


@in_programs
def test_programs_import_no_tests_nor_each_other(path: Path) -> None:
    tests = {p.stem for p in files_of("tests") if len(p.parts) == 2} | {"tests"}
    others = {"examples", "benchmarks"} - {path.parts[0]}
    packages = {module.partition(".")[0] for module, _ in imports_of(tree_of(path))}
    assert packages & (tests | others) == set()


@everywhere
def test_files_are_short(path: Path) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE_LINES


@in_library
def test_functions_are_short(path: Path) -> None:
    long = {name: n for name, n in function_lengths(tree_of(path)) if n > MAX_FUNCTION_LINES}
    assert long == {}


@in_library
def test_library_has_no_assert_print_or_cuda(path: Path) -> None:
    tree = tree_of(path)
    found = [function for function, _ in calls_of(tree)]
    assert [f for f in found if f == "print" or f.endswith(".cuda")] == []
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)] == []


@everywhere
def test_no_drawers(path: Path) -> None:
    assert DRAWERS & {*path.parts[:-1], path.stem} == set()


@everywhere
def test_no_file_may_run_code_when_it_is_loaded(path: Path) -> None:
    assert loading_errors(tree_of(path)) == []


@pytest.mark.parametrize(
    "path", [path for path in LIBRARY if path.name != "__init__.py"], ids=name_of
)
def test_every_module_has_its_test_file(path: Path) -> None:
    mirrored = ROOT / "tests" / Path(*path.parts[1:-1]) / f"test_{path.name}"
    assert mirrored.is_file()


@pytest.mark.parametrize("name", exported())
def test_exported_names_exist_and_are_documented(name: str) -> None:
    value = getattr(import_module("ross3d"), name)
    doc = value.__doc__ or ""
    assert doc.strip()
    assert not doc.startswith(f"{name}("), "a dataclass writes its own when it has none"


def test_conventions_are_documented() -> None:
    doc = import_module("ross3d").__doc__ or ""
    for word in ("camera-to-world", "0 = unknown", "masked", "centre", "RGB"):
        assert word in doc


@pytest.fixture(scope="module")
def imported() -> dict[str, object]:
    """The quickest of three fresh imports, in processor seconds: other jobs must not count."""
    program = """
import json, sys, time
import torch
start = time.process_time()
import ross3d
seconds = time.process_time() - start
packages = sorted({module.partition(".")[0] for module in sys.modules})
print(json.dumps({"seconds": seconds, "modules": packages}))
"""
    runs = []
    for _ in range(3):
        command = [sys.executable, "-W", "error", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        runs.append(json.loads(done.stdout))
    return min(runs, key=lambda run: run["seconds"])


def test_import_leaves_optional_packages_alone(imported: dict[str, list[str]]) -> None:
    assert "ross3d" in imported["modules"]
    assert OPTIONAL & set(imported["modules"]) == set()


def test_import_costs_little_more_than_torch(imported: dict[str, float]) -> None:
    assert imported["seconds"] < MAX_IMPORT_SECONDS


def test_the_rules_notice() -> None:
    """A rule that never fires is no rule: each finds what it looks for in a made-up file."""
    upward = ast.parse(
        "from ross3d.pretext.tasks import VanillaTask\nimport ross3d\nfrom . import x"
    )
    assert len(layer_errors(Path("ross3d/core/made_up.py"), upward)) == 3
    sideways = ast.parse("def f():\n    from ross3d import heads")
    assert layer_errors(Path("ross3d/pretext/made_up.py"), sideways)
    assert layer_errors(Path("ross3d/heads/made_up.py"), sideways) == []

    private = ast.parse("from ross3d.core.dit import X\nfrom ross3d import Y\nross3d.Z\nross3d.W")
    assert len(program_errors(private, ["W"])) == 3
    public = ast.parse("import ross3d\nfrom ross3d import W, __version__\nross3d.W")
    assert program_errors(public, ["W"]) == []

    unsafe = ast.parse(
        "pickle.load(f)\nfrom pickle import loads\ntorch.load(f)\n"
        "torch.load(f, weights_only=False)\nnp.load(f, allow_pickle=True)"
    )
    assert len(loading_errors(unsafe)) == 5
    assert loading_errors(ast.parse("torch.load(f, weights_only=True)\npickle.dumps(x)")) == []

    guarded = ast.parse("if TYPE_CHECKING:\n    from open3d import t\nimport numpy")
    assert typing_only(guarded) == {("open3d", "t")}
    lengths = dict(
        function_lengths(ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1'))
    )
    assert lengths == {"f": 2}
