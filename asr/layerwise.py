"""Long recordings through a bidirectional encoder, layer by layer, in bounded memory and exactly.

Each layer sweeps over a recording's stretches forward and then backward and carries its states from
one to the next. So what comes out is what the whole recording at once would give, up to rounding,
however long the stretches are. The frames between the layers wait in a temporary file: a megabyte
for every 17 seconds with 384 units and 40 ms a frame.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.encoder import ResidualGRU
from asr.frame_file import FrameFile
from asr.gru import GRU
from asr.model import CTCModel
from asr.windows import Window


@torch.inference_mode()
def encode_layerwise(
    model: CTCModel,
    stretches: Sequence[Window],
    features: Iterator[Tensor],
    progress: Callable[[float], None],
    dtype: torch.dtype | None = None,
) -> Iterator[Tensor]:
    """Compute the log-probabilities of a recording.

    Args:
        model: bidirectional, in evaluation mode.
        stretches: what ``cut_stretches`` cuts the recording into.
        features: the normalised features ``(T_i, F)`` of each stretch.
        progress: called with the share of the work that was done since it was called last.
        dtype: of the matrix products under autocast; None: that of the parameters.

    Yields:
        The log-probabilities of each stretch, ``(U_i, V)`` float32 on the CPU.
    """
    device = next(model.parameters()).device
    offsets = [0]
    for stretch in stretches:
        offsets.append(offsets[-1] + stretch.last - stretch.first)
    bounds = list(pairwise(offsets))
    share = 1 / (len(bounds) * (2 * len(model.encoder.layers) + 1))
    frames, ahead = FrameFile(model.encoder.width), FrameFile(model.encoder.width // 2)
    autocast = torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
    try:
        with autocast:
            for (start, _), stretch, rows in zip(bounds, stretches, features, strict=True):
                length = torch.tensor([len(rows)], device=device)
                hidden, _ = model.encoder.subsampling(rows.unsqueeze(0), length)
                frames.write(start, _array(hidden[0, stretch.first : stretch.last]))
                progress(share)
            for layer in model.encoder.layers:
                assert isinstance(layer, ResidualGRU)
                _sweep(layer, frames, ahead, bounds, device, lambda: progress(share))
        for start, stop in bounds:
            with autocast:
                hidden = torch.from_numpy(frames.read(start, stop)).to(device).unsqueeze(0)
                logits = model.head(model.encoder.norm(hidden))
            yield torch.log_softmax(logits.float(), dim=-1)[0].cpu()
    finally:
        frames.close()
        ahead.close()


def _sweep(
    layer: ResidualGRU,
    frames: FrameFile,
    ahead: FrameFile,
    bounds: Sequence[tuple[int, int]],
    device: torch.device,
    done: Callable[[], None],
) -> None:
    """Run a layer over all frames, forward into ``ahead`` and then backward, replacing them."""
    forward, backward = one_direction(layer.gru, 0), one_direction(layer.gru, 1)
    state: Tensor | None = None
    for start, stop in bounds:
        hidden = torch.from_numpy(frames.read(start, stop)).to(device).unsqueeze(0)
        output, state = forward(layer.norm(hidden), None, state)
        ahead.write(start, _array(output[0]))
        done()
    state = None
    for start, stop in reversed(bounds):
        hidden = torch.from_numpy(frames.read(start, stop)).to(device).unsqueeze(0)
        output, state = backward(layer.norm(hidden).flip(1), None, state)
        before = torch.from_numpy(ahead.read(start, stop)).to(device)
        both = torch.cat([before, output[0].flip(0).float()], dim=1)
        frames.write(start, _array(hidden[0] + both))
        done()


def _array(frames: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = frames.float().cpu().numpy()
    return array


def one_direction(gru: GRU, direction: int) -> GRU:
    """Take one direction out of a bidirectional GRU of one layer.

    Args:
        gru: the GRU.
        direction: 0 for forward; 1 for backward, whose input is then to be given backward.
    """
    single = GRU(gru.input_size, gru.hidden_size, reset=gru.reset, bias=gru.bias)
    state = gru.layers[0].state_dict()
    single.layers[0].load_state_dict(
        {name: value[direction : direction + 1] for name, value in state.items()}
    )
    return single.to(next(gru.parameters()).device).eval()
