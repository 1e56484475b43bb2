"""An exported model with its tokenizer, loaded from a folder, that transcribes without torch."""

import os
from pathlib import Path

from asr.encoding import LogProbs
from asr.errors import ModelFolderError, UsageError
from asr.model_config import ModelConfig, load_config
from asr.runtime.acoustic import GraphAcoustic
from asr.runtime.engine import installed, open_engine
from asr.transcriber import Transcriber

BACKENDS = ("auto", "torch", "onnx", "openvino")


class ExportedRecognizer(Transcriber):
    """Transcribes speech with an exported model, on the CPU.

    Args:
        folder: as ``asr export`` wrote it.
        backend: ``"onnx"`` for ONNX Runtime or ``"openvino"``.
        threads: how many compute at once; None: as many as the process may use.

    Raises:
        ModelFolderError: a file is missing, broken, or of a format number not known here.
        UsageError: the backend is not installed, or does not compute in the model's precision.
    """

    def __init__(
        self, folder: Path | str, backend: str = "onnx", threads: int | None = None
    ) -> None:
        config = load_config(folder)
        if config.export is None:
            raise ModelFolderError(
                f"{folder} holds no graphs for --backend {backend}; `asr export {folder} -o DIR` "
                "writes them"
            )
        self.backend = backend
        self.precision = str(config.export["precision"])
        threads = threads or len(os.sched_getaffinity(0))
        engine = open_engine(backend, self.precision, threads)
        super().__init__(
            GraphAcoustic(Path(folder), config, engine, threads),
            config.tokenizer,
            name=str(folder),
            decoder_options=config.decoder,
        )

    def log_probs(self, audio: Path | str) -> LogProbs:
        """Compute the log-probabilities of a file.

        Returns:
            ``(U, V)`` float32, natural logarithms.

        Raises:
            AudioError: the file cannot be read.
        """
        return self._log_probs(audio)


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
    return _fastest(load_config(folder), folder)


def _fastest(config: ModelConfig, folder: Path | str) -> str:
    if config.export is None:
        if not installed("torch"):
            raise UsageError(
                f"{folder} needs torch, which is not installed; export it where torch is, with "
                f"`asr export {folder} -o DIR`, or pip install torch torchaudio safetensors"
            )
        return "torch"
    order = ("onnx",) if config.export["precision"] == "int8" else ("onnx", "openvino")
    for name in order:
        if installed(name):
            return name
    raise UsageError(f"{folder} needs onnxruntime, which is not installed: pip install onnxruntime")
