"""The seed of an utterance, from which every random draw for it follows."""

import hashlib


def utterance_seed(seed: int, epoch: int, utterance_id: str) -> int:
    """Derive the random seed of one utterance in one epoch.

    Workers, ranks, batches and restarts cannot change it, so augmentation repeats exactly.

    Returns:
        An integer in [0, 2**63).
    """
    digest = hashlib.blake2b(f"{seed}/{epoch}/{utterance_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
