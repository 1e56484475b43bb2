"""What a training run will take, told before it starts: time, memory, floating-point operations."""

import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from asr.data import Batch
from asr.errors import ConfigError, TrainingError
from asr.manifest import Utterance
from asr.schema import check_keys
from asr.training.auto_batch import AutoBatch
from asr.training.batch_size import silence
from asr.training.memory import peak_memory_mib
from asr.training.module import CTCTraining
from asr.training.parts import SECTIONS, Expected, Parts, build_parts
from asr.training.run import RunFolder
from asr.training.trainer import make_trainer, quiet_lightning

# The first steps load code and grow caches.
WARM_UP_STEPS = 2
MEASURED_STEPS = 10
# Seconds of the utterance that operations and memory are counted on; both grow with its length.
COUNTED_SECONDS = 10.0
# Validation has a forward pass only, and no second view: a third of training's time.
VALIDATION_SHARE = 1 / 3
# Of a parameter: its value, its gradient, and AdamW's two moments, in float32.
BYTES_PER_PARAMETER = 16
ABSENT = "the configuration asks for a GPU and this machine has none"


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        train_hours: speech to train on.
        valid_hours: speech to validate on.
        train_utterances: their number.
        valid_utterances: their number.
        epoch_hours: what an epoch trains on, utterances joined and at their speed, padding left
            out.
        epochs: passes over the training speech.
        steps_per_epoch: optimizer steps.
        padding_share: of a batch.
        batch_seconds: of a step over all devices.
        devices: processes that train together.
        parameters: trained numbers of the model.
        flops_per_second: floating-point operations of training on a second of audio; a
            multiplication and an addition count as two.
        fixed_bytes: parameters, gradients and the optimizer's state, on each device.
        activation_bytes: kept between forward and backward pass for a batch's share of one device.
        measured_on: where the steps were measured; None if they were not.
        unmeasured: why they were not, a clause.
        step_seconds: time of a step.
        peak_mib: most memory that was held; of the GPU, or of the process on a CPU.
    """

    train_hours: float
    valid_hours: float
    train_utterances: int
    valid_utterances: int
    epoch_hours: float
    epochs: int
    steps_per_epoch: int
    padding_share: float
    batch_seconds: float
    devices: int
    parameters: int
    flops_per_second: float
    fixed_bytes: int
    activation_bytes: int
    measured_on: str | None
    step_seconds: float
    peak_mib: float
    unmeasured: str = ""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def flops_per_epoch(self) -> float:
        """Floating-point operations of training for an epoch, padding included."""
        return self.flops_per_second * 3600 * self.epoch_hours / (1 - self.padding_share)

    @property
    def hours(self) -> float:
        """Time of the whole run by the clock, validation included."""
        train = self.steps * self.step_seconds
        share = self.valid_hours / max(1e-9, self.epoch_hours) / self.devices
        per_epoch = self.steps_per_epoch * self.step_seconds * self.devices
        return (train + self.epochs * VALIDATION_SHARE * share * per_epoch) / 3600


def estimate(config: Mapping[str, Any], expected: Expected | None = None) -> Estimate:
    """Check a configuration and all its files, and measure ten steps of it; nothing is written.

    Args:
        config: as for ``train``.
        expected: stands for data that is not there yet: then no file is looked for, and no step
            measured.

    Raises:
        ConfigError, ManifestError, TokenizerError, TrainingError: as ``train`` does.
        TrainingError: audio files are missing; names the first ones.
        ConfigError: the largest batch is to be found for data that is not there.
    """
    check_keys(config, SECTIONS, "config")
    quiet_lightning()
    run = RunFolder(Path(str(config["output_dir"])).absolute())
    run.check(config)
    parts = build_parts(config, run, expected)
    options = dict(parts.trainer_options)
    wanted = str(options.get("accelerator"))
    absent = wanted in ("gpu", "cuda") and not torch.cuda.is_available()
    unmeasured = ABSENT if absent else ""
    if expected is None:
        check_audio([*parts.data.train_set.utterances, *parts.data.valid_set.utterances])
    elif parts.data.automatic:
        raise ConfigError(
            "data.batch_seconds is auto, which needs the data; give seconds for an estimate before "
            "it is there"
        )
    else:
        unmeasured = "there is no audio yet"
    devices = _devices(options, absent) * int(options.get("num_nodes", 1))
    parts.data.dealt_to = devices
    flops, kept = count_operations(parts.module)
    timer = _Timer()
    device = _measure(parts, options, timer, bool(unmeasured))
    data = parts.data
    accumulate = int(options.get("accumulate_grad_batches", 1))
    padded = data.sampler.batch_seconds / devices
    module = parts.module
    own = sum(p.numel() for p in module.parameters() if p.requires_grad)
    extra = 0 if module.average is None else 4 * module.model.parameter_count()
    return Estimate(
        train_hours=_hours(data.train_set.utterances),
        valid_hours=_hours(data.valid_set.utterances),
        train_utterances=len(data.train_set),
        valid_utterances=len(data.valid_set),
        epoch_hours=data.sampler.heard_seconds(0) / 3600,
        epochs=int(options["max_epochs"]),
        steps_per_epoch=-(-data.batch_count(0) // accumulate),
        padding_share=data.sampler.padding_share(0),
        batch_seconds=data.sampler.batch_seconds * accumulate,
        devices=devices,
        parameters=module.model.parameter_count(),
        flops_per_second=flops,
        fixed_bytes=BYTES_PER_PARAMETER * own + extra,
        activation_bytes=round(kept * padded),
        measured_on=device,
        step_seconds=timer.mean,
        peak_mib=timer.peak_mib,
        unmeasured=unmeasured,
    )


def check_audio(utterances: Iterable[Utterance]) -> None:
    """Look whether every audio file is there.

    Raises:
        TrainingError: some are not; names the first ones.
    """
    missing = [
        utterance
        for utterance in tqdm(utterances, "looking for audio", unit="file", leave=False, delay=3)
        if not Path(utterance.audio_filepath).is_file()
    ]
    if missing:
        names = ", ".join(f"'{u.id}' ({u.audio_filepath})" for u in missing[:5])
        raise TrainingError(
            f"{len(missing)} audio files are missing: {names}; was the corpus moved? "
            "Prepare it again"
        )


def count_operations(module: CTCTraining) -> tuple[float, float]:
    """Count what training takes for a second of audio, on the CPU.

    Args:
        module: on the CPU.

    Returns:
        Floating-point operations of the forward and backward pass, spectra left out, and bytes kept
        between the two in float32, each storage once and parameters left out.
    """
    # The counters see this thread only, and a GRU's directions take one each where they can.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _count(module, silence(module, 1, COUNTED_SECONDS, tokens_per_second=2.0))
    finally:
        torch.set_num_threads(threads)


def _count(module: CTCTraining, batch: Batch) -> tuple[float, float]:
    sizes: dict[int, int] = {}
    # Kept alive, so that no storage takes the address of one counted before.
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    aten = torch.ops.aten
    added = {
        aten.addmm_: _operations_of_addmm,
        aten.mkldnn_rnn_layer: _operations_of_lstm,
        aten.mkldnn_rnn_layer_backward: lambda *shapes, **others: 2 * _operations_of_lstm(*shapes),
    }
    with FlopCounterMode(display=False, custom_mapping=added) as counter:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = module.batch_losses(batch).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch
    module.zero_grad(set_to_none=True)
    for parameter in module.parameters():
        sizes.pop(parameter.untyped_storage().data_ptr(), None)
    return counter.get_total_flops() / COUNTED_SECONDS, sum(sizes.values()) / COUNTED_SECONDS


def _operations_of_addmm(total: Any, left: list[int], right: list[int], **others: Any) -> int:
    # PyTorch's counter knows the product that makes a new tensor, not the one that adds in place.
    return 2 * left[0] * left[1] * right[1]


def _operations_of_lstm(x: list[int], weight_input: list[int], *others: Any, **named: Any) -> int:
    # One direction of an LSTM, all its frames at once: oneDNN's, which PyTorch's counter passes by.
    frames, rows, units = x[0] * x[1], weight_input[0], weight_input[0] // 4
    return 2 * frames * rows * (weight_input[1] + units)


class _Timer(Callback):
    # Times optimizer steps from the end of one to the end of the next, reading included.
    def __init__(self) -> None:
        self.ends: list[float] = []
        self.peak_mib = 0.0

    @property
    def mean(self) -> float:
        ends = self.ends[WARM_UP_STEPS:] if len(self.ends) > WARM_UP_STEPS + 1 else self.ends
        return (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else 0.0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.ends = [time.perf_counter()]

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        if trainer.global_step >= len(self.ends):
            self.ends.append(time.perf_counter())
        self.peak_mib = peak_memory_mib(module.device)


def _measure(parts: Parts, options: dict[str, Any], timer: _Timer, not_at_all: bool) -> str | None:
    # On one device, which gets its share of the batches.
    own = {**options, "devices": 1, "num_nodes": 1, "strategy": "auto"}
    own |= {"max_steps": WARM_UP_STEPS + MEASURED_STEPS, "limit_val_batches": 0}
    if not_at_all:
        own |= {"accelerator": "cpu", "precision": "32-true", "max_steps": 0}
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(own, Path(folder), [AutoBatch(fresh=True), timer], [])
        trainer.fit(parts.module, datamodule=parts.data)
    if not_at_all:
        return None
    device = parts.module.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def _devices(options: Mapping[str, Any], absent: bool) -> int:
    devices = options.get("devices", 1)
    if isinstance(devices, int) and devices > 0:
        return devices
    if isinstance(devices, list | tuple):
        return len(devices)
    # -1 and auto: all GPUs of this machine.
    return 1 if absent else max(1, torch.cuda.device_count())


def _hours(utterances: Iterable[Utterance]) -> float:
    return sum(utterance.duration for utterance in utterances) / 3600
