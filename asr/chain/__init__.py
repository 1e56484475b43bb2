"""From nothing to a scored model: one step after another, each skipped when its output is whole."""

from asr.chain.chain import Chain
from asr.chain.options import ChainOptions
from asr.chain.outlook import Outlook, look_ahead

__all__ = ["Chain", "ChainOptions", "Outlook", "look_ahead"]
