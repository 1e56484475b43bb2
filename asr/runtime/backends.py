"""The backends: which are installed, which runs a model fastest, and the engine of each."""

from importlib.util import find_spec
from pathlib import Path

from asr.errors import UsageError
from asr.model_config import ModelConfig, load_config
from asr.runtime.engine import Engine, OnnxEngine, OpenVinoEngine, computes_half
from asr.runtime.kernel.layer import MOST_WIDTH
from asr.runtime.layout import INDEX

BACKENDS = ("auto", "torch", "compiled", "onnx", "openvino")
# What each needs besides NumPy.
_LIBRARIES = {
    "torch": ("torch",),
    "compiled": ("llvmlite", "onnxruntime"),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
}
# Fastest first, as tools/benchmark/export.py measured them.
_EXPORTED = ("compiled", "onnx", "openvino")


def missing(backend: str) -> list[str]:
    """Name the packages that a backend lacks.

    Args:
        backend: one of ``BACKENDS``, not ``"auto"``.
    """
    return [library for library in _LIBRARIES[backend] if find_spec(library) is None]


def choose_backend(backend: str, folder: Path | str) -> str:
    """Choose what runs a model.

    Args:
        backend: one of ``BACKENDS``; ``"auto"`` takes the fastest that is installed.
        folder: of the model, exported or not.

    Returns:
        One of ``BACKENDS``, not ``"auto"``.

    Raises:
        ModelFolderError: the folder is none of a model.
        UsageError: nothing that is installed runs it.
    """
    if backend != "auto":
        return backend
    config = load_config(folder)
    if config.export is None:
        if missing("torch"):
            raise UsageError(
                f"{folder} needs torch, which is not installed; export it where torch is, with "
                f"`asr export {folder} -o DIR`, or pip install torch torchaudio safetensors"
            )
        return "torch"
    usable = usable_backends(folder)
    if not usable:
        raise UsageError(
            f"{folder} needs onnxruntime, which is not installed: pip install onnxruntime"
        )
    return usable[0]


def usable_backends(folder: Path | str) -> list[str]:
    """List the installed backends that run an exported model, the fastest first.

    Args:
        folder: of the model.

    Raises:
        ModelFolderError: the folder is none of a model.
    """
    config = load_config(folder)
    # Folders of older versions have no index of their weights.
    indexed = (Path(folder) / INDEX).is_file()
    return [
        name
        for name in _EXPORTED
        if (indexed or name != "compiled") and not missing(name) and _refusal(name, config) is None
    ]


def open_engine(backend: str, config: ModelConfig, threads: int) -> Engine:
    """Open an engine.

    Args:
        backend: ``"compiled"``, ``"onnx"`` or ``"openvino"``.
        config: of the exported model.
        threads: how many calls may run at once.

    Raises:
        UsageError: its library is not installed, or does not run this model.
    """
    refusal = _refusal(backend, config)
    if refusal is not None:
        raise UsageError(refusal)
    if lacking := missing(backend):
        names = " ".join(lacking)
        raise UsageError(f"--backend {backend} needs what is not installed: pip install {names}")
    precision = _precision(config)
    if backend == "compiled":
        from asr.runtime.compiled import CompiledEngine

        return CompiledEngine(config.model["encoder"]["reset"] == "after", precision == "int8")
    if backend == "onnx":
        return OnnxEngine(precision == "int8")
    return OpenVinoEngine(threads, half=precision == "bf16" and computes_half())


def _refusal(backend: str, config: ModelConfig) -> str | None:
    """Say why a backend does not run a model, if it does not."""
    if _precision(config) != "int8":
        return None
    if backend == "openvino":
        return (
            "the 8-bit products of this model are ONNX Runtime's; give --backend onnx, or export "
            "the model in fp32 for OpenVINO"
        )
    width = config.model["encoder"]["width"]
    if backend == "compiled" and width > MOST_WIDTH:
        return (
            f"--backend compiled sums integers over at most {MOST_WIDTH} units and this model has "
            f"{width}; give --backend onnx"
        )
    return None


def _precision(config: ModelConfig) -> str:
    return str((config.export or {})["precision"])
