"""Memory that training takes."""

import resource
import sys

import torch


def peak_memory_mib(device: torch.device) -> float:
    """Give the most memory held so far, in MiB.

    Args:
        device: a GPU, for what PyTorch has allocated on it; the CPU, for the whole process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if device.type == "mps":
        return torch.mps.driver_allocated_memory() / 2**20
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes.
    return kib / (2**20 if sys.platform == "darwin" else 2**10)
