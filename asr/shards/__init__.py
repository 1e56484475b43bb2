"""Shards: a corpus as large tar files in WebDataset's layout, read in place, near or far."""

from asr.shards.reading import ShardReader
from asr.shards.reference import ShardReference, is_shard_reference
from asr.shards.writing import ShardSummary, write_shards

__all__ = ["ShardReader", "ShardReference", "ShardSummary", "is_shard_reference", "write_shards"]
