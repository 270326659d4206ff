"""The rules of the house: who imports whom, what stays light, what is public, how large things grow."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import emo_affectnet

PACKAGE = Path(emo_affectnet.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "bundled" not in path.parts)

# A module imports only from lines above its own.
LAYERS = (
    {"emotions", "errors", "__init__"},
    {"answers", "boxes", "cells", "files", "locks", "places", "threads"},
    {"inputs"},
    {"baseline", "containers", "people", "report_folder", "summary", "weights"},
    {"merging", "records", "video", "workers"},
    {"baseline_run", "carrier"},
    {"cluster"},
    {"seeking", "video_writer"},
    {"faces", "timeline", "models", "camera"},
    {"catalogue", "detection", "keras_files", "feature_files", "mobilenet", "onnx_graph"},
    {"store", "keras_graph"},
    {"networks", "weight_sets"},
    {"engines", "window"},
    {"convert", "stream"},
    {"zoo"},
    {"interpretation"},
    {"recognizer", "reports", "drawing"},
    {"readings"},
    {"analysis", "annotation", "batch", "plots", "recording", "training"},
    {"live", "pages", "worker"},
    {"app_guard", "viewing", "app_sessions"},
    {"app_fragments"},
    {"app"},
    {"cli_terminal"},
    {"cli_training", "cli_viewing", "cli_weights"},
    {"cli_evaluation"},
    {"cli"},
    {"__main__"},
)

# Where a package may be imported, at the top or inside a function.
CONFINED = {
    "av": {"camera", "containers", "seeking", "video", "video_writer"},
    "cv2": {"annotation", "camera", "drawing", "faces", "window"},
    "mediapipe": {"detection"},
    "torch": {"mobilenet", "models", "networks", "engines", "convert", "training", "zoo"},
    "h5py": {"keras_files"},
    "onnx": {"convert", "engines", "onnx_graph", "zoo"},
    "onnxruntime": {"convert", "engines", "zoo"},
    "openvino": {"engines"},
    "requests": {"store"},
    "platformdirs": {"store"},
    "pandas": {"reports", "plots", "pages", "viewing"},
    "PIL": {"app_fragments", "drawing", "pages", "training"},
    "jinja2": {"pages"},
    "markupsafe": {"app", "app_fragments", "pages"},
    "gradio": {"app"},
    "fastapi": {"app"},
    "uvicorn": {"app"},
    "matplotlib": {"plots"},
    "sklearn": {"training"},
    "tensorflow": set(),
    "ray": {"cluster"},
    "upath": {"places"},
    "pyarrow": {"reports"},
    "keras": {"keras_graph"},
    "rich": {"cli", "cli_terminal", "cli_training", "cli_weights"},
    "click": {"cli", "cli_evaluation", "cli_terminal", "cli_training", "cli_viewing", "cli_weights"},
}


def layer_name(path: Path) -> str:
    """Return the name under which a module stands in LAYERS: its package for those of a sub-package."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (module, is_ours) for every import, leaving out those for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0], False
        elif isinstance(node, ast.ImportFrom):
            depth = len(path.relative_to(PACKAGE).parts)
            if node.level < depth:
                continue  # within the sub-package
            names = [node.module.partition(".")[0]] if node.module else [alias.name for alias in node.names]
            for name in names:
                is_module = (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()
                yield name if is_module else "__init__", True


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_the_layers_below_it(path: Path) -> None:
    rank = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    own = layer_name(path)
    if own == "__init__":
        return  # the package's public names load lazily; see below
    for name, is_ours in imported(path):
        if is_ours:
            assert rank[name] < rank[own], f"{own} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_third_party_package_stays_where_it_belongs(path: Path) -> None:
    for name, is_ours in imported(path):
        if not is_ours and name in CONFINED:
            assert layer_name(path) in CONFINED[name], f"{path.name} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module opens with what goes in and what comes out"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.end_lineno:
            body = node.end_lineno - node.body[0].lineno + 1
            assert body <= 60, f"{node.name} has {body} lines"


@pytest.mark.parametrize("statement", ["import emo_affectnet", "import emo_affectnet.cli"])
def test_importing_loads_nothing_heavy_and_does_nothing(statement: str) -> None:
    script = f"""
import os, sys, threading
before = dict(os.environ), threading.active_count()
{statement}
names = "torch cv2 mediapipe matplotlib pandas av tensorflow numpy rich PIL jinja2 gradio ray upath pyarrow"
heavy = set(names.split()) & set(sys.modules)
assert not heavy, heavy
assert before == (dict(os.environ), threading.active_count())
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_public_names_are_sorted_there_and_load_on_demand() -> None:
    assert emo_affectnet.__all__ == sorted(emo_affectnet.__all__)
    for name in emo_affectnet.__all__:
        assert getattr(emo_affectnet, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        emo_affectnet.nothing  # noqa: B018


def test_the_only_list_of_labels_is_in_emotions() -> None:
    for path in [*MODULES, *PACKAGE.parent.glob("*.py")]:
        if path.name != "emotions.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
            assert not {"Neutral", "Happiness", "Sadness"} <= set(map(str, words)), path
