"""Prefix beam search over a batch in torch, for GPUs: the same results as ``asr.decoding.beam``.

Beams are tensors ``(B, K)`` of natural logarithms in float64. A prefix is known by a 64-bit hash of
its tokens, so that a prefix which is entered anew meets its own continuations; two of the K
prefixes of an utterance share a hash by chance once in about 10^17 frames.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from asr.decoding.hypothesis import Hypothesis
from asr.decoding.pruning import DEFAULT_PRUNING, Pruning
from asr.decoding.scorer import Scorer, ScorerSum
from asr.tokenizer import BLANK

# Odd numbers without a pattern, as multiplicative hashes want them.
_SPREAD, _MIX = 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9
_ROOT = -1


class _Scored:
    # A prefix as the scorers see it; lives on the host.
    __slots__ = ("children", "factor", "scored", "state")

    def __init__(self, factor: float, scored: float, state: Any) -> None:
        self.factor = factor
        self.scored = scored
        self.state = state
        self.children: dict[int, _Scored] = {}

    def child(self, scorer: Scorer[Any], token: int) -> "_Scored":
        found = self.children.get(token)
        if found is None:
            score, state = scorer.score(self.state, token)
            found = self.children[token] = _Scored(score, self.scored + score, state)
        return found


@dataclass
class _Beams:
    # K prefixes of each utterance; those that are none have a total of -inf.
    blank: Tensor
    label: Tensor
    total: Tensor
    last: Tensor
    own: Tensor
    parent: Tensor
    factor: Tensor

    def chosen(self, places: Tensor) -> "_Beams":
        return _Beams(*(each.gather(1, places) for each in vars(self).values()))


class BatchBeamSearch:
    """Searches a batch of utterances, each frame for all of them at once.

    Scorers work on the host: with them every frame waits for the device once.

    Args:
        pruning: how narrow; the same rules as for ``BeamSearch``.
        scorers: language models, phrases, bonuses; their scores add up.
    """

    def __init__(
        self, pruning: Pruning = DEFAULT_PRUNING, scorers: Sequence[Scorer[Any]] = ()
    ) -> None:
        self.pruning = pruning
        self.scorer = ScorerSum(scorers) if scorers else None

    @torch.no_grad()
    def decode(self, log_probs: Tensor, lengths: Tensor, nbest: int = 1) -> list[list[Hypothesis]]:
        """Search a batch.

        Args:
            log_probs: ``(B, U, V)``, natural logarithms, on any device.
            lengths: ``(B,)``, int64, in encoder frames.
            nbest: how many hypotheses of each utterance to give.

        Returns:
            For each utterance at least one hypothesis, the best first; frames are those in which
            the search appended each token.
        """
        lengths = lengths.to(log_probs.device)
        batch, frames, _ = log_probs.shape
        inside = torch.arange(frames, device=log_probs.device) < lengths.unsqueeze(1)
        blanks = log_probs[..., BLANK].double()
        sure = (blanks > math.log(self.pruning.blank_threshold)) & inside
        scale = torch.where(sure, blanks, 0.0).sum(1)
        beams = _start(batch, self.pruning.beam_size, log_probs.device)
        scored = [[self._root()] for _ in range(batch)] if self.scorer else None
        history: list[tuple[int, Tensor, Tensor]] = []
        for frame in (inside & ~sure).any(0).nonzero().squeeze(1).tolist():
            settled = sure[:, max(frame - 1, 0)] & (frame > 0)
            beams = _settle(beams, settled)
            searched = (inside & ~sure)[:, frame]
            beams, places, tokens = self._advance(beams, log_probs[:, frame], searched, scored)
            history.append((frame, places, tokens))
        return self._finish(beams, history, scale.tolist(), scored, nbest)

    def _root(self) -> _Scored:
        assert self.scorer is not None
        return _Scored(0.0, 0.0, self.scorer.start())

    def _advance(
        self,
        beams: _Beams,
        log_probs: Tensor,
        searched: Tensor,
        scored: list[list[_Scored]] | None,
    ) -> tuple[_Beams, Tensor, Tensor]:
        """Take one frame (B, V); give the beams, where each came from, and what it appended."""
        batch, size = beams.total.shape
        possible = log_probs >= log_probs.amax(1, keepdim=True) - self.pruning.token_threshold
        chances = torch.where(possible, log_probs.double(), -torch.inf)
        chances[:, BLANK] = -torch.inf
        stays, inner = _stay(beams, log_probs[:, BLANK].double(), chances)
        entered = _enter(beams, chances, inner)
        entered[~searched] = -torch.inf
        factors = torch.zeros_like(entered)
        if scored is not None:
            factors = self._factors(entered, stays, scored)
        fresh, origin = _fresh(beams, entered + factors, factors)
        both = _Beams(
            *(
                torch.cat(
                    [torch.where(searched.unsqueeze(1), stays.get(name, old), old), new], dim=1
                )
                for (name, old), new in zip(vars(beams).items(), vars(fresh).values(), strict=True)
            )
        )
        here = torch.arange(size, device=origin.device).expand(batch, -1)
        origins = torch.cat([here, origin], dim=1)
        appended = torch.cat([torch.zeros_like(here), fresh.last], dim=1)
        beams, order = self._prune(both, size)
        origins, appended = origins.gather(1, order), appended.gather(1, order)
        if scored is not None:
            self._follow(scored, origins, appended, beams.total)
        return beams, origins, appended

    def _prune(self, beams: _Beams, size: int) -> tuple[_Beams, Tensor]:
        total, order = beams.total.sort(dim=1, descending=True, stable=True)
        order, total = order[:, :size], total[:, :size]
        kept = beams.chosen(order)
        dropped = total < total[:, :1] - self.pruning.beam_threshold
        for values in (kept.blank, kept.label, kept.total):
            values.masked_fill_(dropped, -torch.inf)
        return kept, order

    def _factors(
        self, entered: Tensor, stays: dict[str, Tensor], scored: list[list[_Scored]]
    ) -> Tensor:
        # Only what may still come among the best is scored, as in the search for one utterance.
        assert self.scorer is not None
        total = stays["total"]
        floor = torch.maximum(total.amax(1) - self.pruning.beam_threshold, total.amin(1))
        reach = entered + self.scorer.highest >= floor[:, None, None]
        wanted = (reach & (entered > -torch.inf)).nonzero()
        scores = [
            scored[row][place].child(self.scorer, token).factor
            for row, place, token in wanted.tolist()
        ]
        factors = torch.full_like(entered, -torch.inf)
        factors[tuple(wanted.T)] = torch.tensor(scores, dtype=torch.float64, device=entered.device)
        return factors

    def _follow(
        self, scored: list[list[_Scored]], origins: Tensor, tokens: Tensor, total: Tensor
    ) -> None:
        assert self.scorer is not None
        lines = zip(origins.tolist(), tokens.tolist(), total.tolist(), strict=True)
        for row, (places, appended, totals) in enumerate(lines):
            before = scored[row]
            scored[row] = [
                before[place].child(self.scorer, token) if token else before[place]
                for place, token, value in zip(places, appended, totals, strict=True)
                if value > -math.inf
            ]

    def _finish(
        self,
        beams: _Beams,
        history: list[tuple[int, Tensor, Tensor]],
        scales: list[float],
        scored: list[list[_Scored]] | None,
        nbest: int,
    ) -> list[list[Hypothesis]]:
        steps = [(frame, places.tolist(), tokens.tolist()) for frame, places, tokens in history]
        results = []
        for row, totals in enumerate(beams.total.tolist()):
            found = []
            for place, total in enumerate(totals):
                if total == -math.inf:
                    continue
                before = after = 0.0
                if scored is not None and self.scorer is not None:
                    before = scored[row][place].scored
                    after = before + self.scorer.final(scored[row][place].state)
                log_prob = total - before + scales[row]
                found.append((log_prob + after, place, log_prob, after))
            found.sort(key=lambda entry: entry[0], reverse=True)
            results.append(
                [
                    Hypothesis(*_trace(steps, row, place), log_prob, scorer_score)
                    for _, place, log_prob, scorer_score in found[:nbest]
                ]
                or [Hypothesis((), (), -math.inf)]
            )
        return results


def _start(batch: int, size: int, device: torch.device) -> _Beams:
    never = torch.full((batch, size), -torch.inf, dtype=torch.float64, device=device)
    blank = never.clone()
    blank[:, 0] = 0.0
    none = torch.zeros(batch, size, dtype=torch.int64, device=device)
    return _Beams(blank, never, blank.clone(), none, none + _ROOT, none, torch.zeros_like(never))


def _settle(beams: _Beams, settled: Tensor) -> _Beams:
    # A sure blank came before: open repetitions have ended.
    rows = settled.unsqueeze(1)
    beams.blank = torch.where(rows, beams.total, beams.blank)
    beams.label = torch.where(rows, -torch.inf, beams.label)
    return beams


def _stay(beams: _Beams, blank: Tensor, chances: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Give what becomes of the beams' own prefixes, and which one (B, j, k) continues which."""
    there = beams.total > -torch.inf
    inner = (beams.own.unsqueeze(2) == beams.parent.unsqueeze(1)) & there.unsqueeze(2)
    inner &= ((beams.last > 0) & there).unsqueeze(1)
    repeated = beams.last.unsqueeze(2) == beams.last.unsqueeze(1)
    source = torch.where(repeated, beams.blank.unsqueeze(2), beams.total.unsqueeze(2))
    source = torch.where(inner, source, -torch.inf).amax(1)
    # The empty prefix has the blank as its last token, which has no chance here.
    chance = chances.gather(1, beams.last)
    label = torch.logaddexp(beams.label + chance, source + chance + beams.factor)
    new_blank = beams.total + blank.unsqueeze(1)
    total = torch.logaddexp(new_blank, label)
    return {"blank": new_blank, "label": label, "total": total}, inner


def _enter(beams: _Beams, chances: Tensor, inner: Tensor) -> Tensor:
    """Give the log-probability (B, K, V) of every prefix with one more token."""
    entered = beams.total.unsqueeze(2).expand(-1, -1, chances.shape[1]).clone()
    entered.scatter_(2, beams.last.unsqueeze(2), beams.blank.unsqueeze(2))
    entered += chances.unsqueeze(1)
    # Continuations that are in the beam were entered by `_stay`.
    row, parent, child = inner.nonzero(as_tuple=True)
    entered[row, parent, beams.last[row, child]] = -torch.inf
    return entered


def _fresh(beams: _Beams, entered: Tensor, factors: Tensor) -> tuple[_Beams, Tensor]:
    """Give the best K new prefixes, and the places of those that they continue."""
    _, size, vocabulary_size = entered.shape
    entered = entered.flatten(1)
    best, flat = entered.topk(min(size, entered.shape[1]), dim=1)
    origin, token = flat // vocabulary_size, flat % vocabulary_size
    parent = beams.own.gather(1, origin)
    fresh = _Beams(
        blank=torch.full_like(best, -torch.inf),
        label=best,
        total=best,
        last=token,
        own=_hash(parent, token),
        parent=parent,
        factor=factors.flatten(1).gather(1, flat),
    )
    return fresh, origin


def _hash(parent: Tensor, token: Tensor) -> Tensor:
    mixed = (parent ^ ((token + 1) * _SPREAD)) * _MIX
    return mixed ^ (mixed >> 29)


def _trace(
    steps: list[tuple[int, list[list[int]], list[list[int]]]], row: int, place: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    tokens, frames = [], []
    for frame, places, appended in reversed(steps):
        if appended[row][place]:
            tokens.append(appended[row][place])
            frames.append(frame)
        place = places[row][place]
    return tuple(reversed(tokens)), tuple(reversed(frames))
