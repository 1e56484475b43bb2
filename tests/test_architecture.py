"""The architecture: imports run downward, heavy ones stay at the rim, files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import asr

PACKAGE = Path(asr.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Every part of the package on its floor; a part is a file or a folder of `asr`.
FLOORS = (
    {"__init__", "errors", "files", "interrupt", "schema", "padding"},
    {"audio", "excerpt", "media", "headers", "channels", "resampling", "text", "manifest"}
    | {"tokenizer", "mel", "normalization", "ctc", "transfer", "checksum", "archives"}
    | {"segments", "output", "transcript", "inputs", "run_log"}
    | {"gru", "scoring", "decoding", "synthesis", "pronunciation", "espeak", "english", "numerals"},
    {"features", "augment", "encoder", "corpora", "data", "verification", "listening", "shards"}
    | {"lm", "lstm"},
    {"model", "preparation", "download", "model_config"},
    {
        "model_folder",
        "export",
        "runtime",
        "windows",
        "recordings",
        "cutting",
        "frame_file",
        "acoustic",
        "transcriber",
        "layerwise",
        "encoding",
        "draft",
        "recognizer",
        "decoder",
    },
    {"job", "evaluation", "inspection", "training"}
    | {"alignment", "alignment_formats", "posteriors", "tuning"},
    {"chain"},
    {"cli"},
    {"__main__"},
)
# Parts of one floor that are one family: each may import those behind it.
FAMILIES = (
    ("schema", "files", "errors"),
    ("excerpt", "audio", "media", "headers", "channels", "resampling"),
    ("text", "english", "numerals"),
    ("normalization", "mel"),
    ("transfer", "checksum"),
    ("synthesis", "pronunciation", "espeak"),
    ("decoding", "ctc", "tokenizer"),
    ("transcript", "inputs", "output", "segments", "decoding", "text"),
    ("verification", "listening", "data", "shards", "corpora", "augment"),
    ("lstm", "encoder"),
    ("alignment_formats", "alignment", "posteriors"),
    ("tuning", "posteriors"),
    (
        *("export", "runtime", "recognizer", "transcriber", "draft", "acoustic", "encoding"),
        *("cutting", "layerwise", "frame_file", "recordings", "windows", "model_folder"),
    ),
)
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
# Who may import what, counting imports inside functions too.
GUARDED = {
    "lightning": ("training/",),
    "hydra": ("cli/train.py",),
    "omegaconf": ("cli/train.py",),
    "matplotlib": ("inspection/", "tuning/"),
    "numba": ("decoding/compiled/",),
    "onnx": ("export/",),
    "llvmlite": ("runtime/kernel/",),
    "PIL": ("inspection/", "training/pictures.py"),
}


def dotted_name(path: Path) -> str:
    """Give a file's name as a module: ``asr.cli.train``, and ``asr.cli`` for its ``__init__``."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted_name(path): path for path in FILES}


def part_of(module: str) -> str:
    """Give the part that a module belongs to: ``cli`` for ``asr.cli.train``."""
    return [*module.split("."), "__init__"][1]


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(path: Path, *, when_loaded: bool = False) -> set[str]:
    """Collect what a file imports, except for annotations.

    Args:
        path: the file.
        when_loaded: leave out what only functions import.
    """
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if for_types_only(node):
            continue
        if when_loaded and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            # `from asr import ctc` names a module, `from asr.ctc import BLANK` does not.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & MODULES.keys()) or {str(node.module)}
        waiting += ast.iter_child_nodes(node)
    return found


def own_imports(path: Path, *, when_loaded: bool = False) -> set[str]:
    return {name for name in imports(path, when_loaded=when_loaded) if name in MODULES}


def related(part: str, imported: str) -> bool:
    return any(
        part in family and imported in family and family.index(part) < family.index(imported)
        for family in FAMILIES
    )


def test_every_part_has_a_floor():
    assert {part_of(name) for name in MODULES} <= FLOOR_OF.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward(module):
    part = part_of(module)
    # The package itself offers its best parts by name, on demand.
    upward = {
        name
        for name in own_imports(MODULES[module], when_loaded=module == "asr")
        if (other := part_of(name)) != part
        and FLOOR_OF[other] >= FLOOR_OF[part]
        and not related(part, other)
    }
    assert not upward


def test_no_module_imports_itself_in_a_circle():
    # A verb of `asr demo` may call the command line again; that is a call and not a dependency.
    graph = {name: own_imports(path, when_loaded=True) for name, path in MODULES.items()}
    finished: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " imports ".join((*way[way.index(name) :], name))
        if name not in finished:
            for imported in graph[name]:
                visit(imported, (*way, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("library", GUARDED)
def test_only_the_rim_imports(library):
    users = [
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(name.split(".")[0] == library for name in imports(path))
    ]
    assert users
    assert [user for user in users if not user.startswith(GUARDED[library])] == []


def loaded_by(code: str) -> set[str]:
    """List the top-level modules that a fresh interpreter holds after running code."""
    script = f"{code}\nimport sys\nprint(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.splitlines()[-1].split())


def test_importing_the_recognizer_loads_neither_lightning_nor_hydra():
    loaded = loaded_by(
        "import asr\nfrom asr import Recognizer\nimport asr.evaluation\nimport asr.inspection\n"
        "import asr.lm.loading"
    )
    assert "torch" in loaded
    assert not loaded & {"lightning", "pytorch_lightning", "hydra", "omegaconf", "matplotlib"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["transcribe", "--help"]])
def test_help_loads_no_torch(words):
    loaded = loaded_by(
        f"from asr.cli import main\ntry: main({words!r})\nexcept SystemExit: pass\nimport asr"
    )
    assert not loaded & {"torch", "numpy", "lightning", "hydra"}


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines without its docstring."""
    assert function.end_lineno
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    opening = function.body[0]
    assert opening.end_lineno
    return lines - (opening.end_lineno - opening.lineno + 1)


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_short(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    functions = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert {f.name: code_lines(f) for f in functions if code_lines(f) > 50} == {}


@pytest.mark.parametrize("module", MODULES)
def test_every_file_opens_with_a_sentence(module):
    docstring = ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    assert docstring
    assert docstring.split("\n\n")[0].rstrip().endswith((".", ":"))
