"""From nothing to a scored model: one step after another, each skipped when its output is whole."""

from asr.chain.chain import Chain, ChainOptions

__all__ = ["Chain", "ChainOptions"]
