"""What is learned beside the tokens: views that agree, inner layers, a guide, against NumPy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asr.augment import SpecAugment
from asr.ctc import CTCLoss, ctc_loss
from asr.data import Batch, collate
from asr.data.batch import Example
from asr.errors import ConfigError
from asr.model import CTCModel, build_model
from asr.tokenizer import CharacterTokenizer
from asr.training.auxiliary import IntermediateLoss
from asr.training.consistency import Consistency
from asr.training.guide import TimingGuide
from asr.training.module import CTCTraining
from asr.training.tasks import Tasks, auxiliary_losses

RATE = 8000
MODEL: dict[str, Any] = {
    "features": {"sample_rate": RATE, "n_mels": 16},
    "encoder": {"layers": 3, "width": 16, "channels": 2, "subsampling": 4, "dropout": 0.0},
}
TOKENS = 4


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def negative_log_likelihood(log_probs: np.ndarray, tokens: list[int]) -> float:
    """CTC by the forward recursion of Graves et al. 2006, equations 6 to 8; (U, V) in float64."""
    states = [0]
    for token in tokens:
        states += [token, 0]
    alpha = np.full(len(states), -np.inf)
    alpha[: min(2, len(states))] = log_probs[0, states[:2]]
    for frame in log_probs[1:]:
        before = alpha
        alpha = np.empty_like(before)
        for state, token in enumerate(states):
            reached = [before[state], *before[max(0, state - 1) : state]]
            if state > 1 and token not in (0, states[state - 2]):
                reached.append(before[state - 2])
            alpha[state] = np.logaddexp.reduce(reached) + frame[token]
    return -float(np.logaddexp.reduce(alpha[-2:]))


def batch_of(sizes: tuple[int, ...], padding: int = 0) -> Batch:
    """Utterances of noise, each with the same seed and tokens in whatever batch it is."""
    examples = []
    for index, size in enumerate(sizes):
        generator = torch.Generator().manual_seed(size)
        waveform = torch.randn(size, generator=generator) / 10
        tokens = torch.tensor([1 + (index + step) % 3 for step in range(2 + index)])
        text = "".join("ABC"[token - 1] for token in tokens)
        examples.append(Example(str(size), text, waveform, tokens, 1000 + size, 1.0, len(sizes)))
    batch = collate(examples)
    more = torch.nn.functional.pad(batch.waveforms, (0, padding))
    return Batch(**{**vars(batch), "waveforms": more})


def module_of(**tasks: Any) -> CTCTraining:
    torch.manual_seed(1)
    model = build_model(MODEL, TOKENS)
    masks = SpecAugment(time_width=6, frequency_width=5, time_ratio=0.3)
    return CTCTraining(model, CharacterTokenizer(["A", "B", "C"]), [masks], Tasks(**tasks))


def losses(module: CTCTraining, batch: Batch) -> Tensor:
    return module.batch_losses(batch)


def guide() -> TimingGuide:
    model = build_model(MODEL, TOKENS)
    pieces = ["", *"ABC"]
    leader = TimingGuide(model.features, pieces, model.encoder.subsampling_factor, channels=8)
    # In training it counts its steps.
    return leader.eval()


def numpy_log_probs(model: CTCModel, features: Tensor, lengths: Tensor, layer: int) -> list[Any]:
    """Log-probabilities (U, V) in float64 of each utterance, from the layer's float32 output."""
    hidden, inner, lengths = model.encoder.with_inner_frames(features, lengths, {layer})
    frames = model.encoder.norm(inner[layer]) if layer < len(model.encoder.layers) else hidden
    logits = model.head(frames).detach().double().numpy()
    return [log_softmax(row[:size]) for row, size in zip(logits, lengths.tolist(), strict=True)]


def test_consistency_is_the_divergence_in_numpy_and_its_gradient_holds_the_other_view_fixed():
    draw = np.random.default_rng(0)
    logits = 2 * draw.standard_normal((4, 7, TOKENS))
    lengths = [7, 4, 7, 4]
    rows = log_softmax(logits)
    expected = [
        sum(
            float(np.sum(np.exp(rows[other, t]) * (rows[other, t] - rows[own, t])))
            for t in range(lengths[own])
        )
        for own, other in ((0, 2), (1, 3), (2, 0), (3, 1))
    ]
    tensor = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    result = Consistency()(torch.log_softmax(tensor, dim=-1), torch.tensor(lengths))
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-5)
    result.sum().backward()
    # d/dz KL(q || softmax(z)) = softmax(z) - q, and nothing flows into q.
    gradient = np.exp(rows) - np.exp(rows)[[2, 3, 0, 1]]
    gradient[[1, 3], 4:] = 0
    np.testing.assert_allclose(tensor.grad.numpy(), gradient, atol=1e-6)


def test_the_whole_loss_of_two_views_is_that_of_the_paper():
    module = module_of(consistency=Consistency(scale=0.2, time_mask_factor=2.5))
    batch = batch_of((4000, 3200))
    features, lengths = module.augmented_views(batch)
    views = numpy_log_probs(module.model, features, lengths, 3)
    for index in range(2):
        first, second = views[index], views[2 + index]
        tokens = batch.tokens[index, : batch.token_lengths[index]].tolist()
        spoken = (negative_log_likelihood(v, tokens) for v in (first, second))
        apart = (np.sum(np.exp(p) * (p - q)) for p, q in ((second, first), (first, second)))
        expected = sum(spoken) / 2 + 0.2 * sum(apart) / 2
        assert losses(module, batch)[index].item() == pytest.approx(expected, rel=1e-4)


def test_views_differ_in_their_masks_only_and_have_more_of_them():
    module = module_of(consistency=Consistency())
    assert module.augment[0].time_masks == 5
    features, lengths = module.augmented_views(batch := batch_of((8000, 6400)))
    assert (len(features), lengths.tolist()) == (4, [100, 80, 100, 80])
    plain, _ = module.model.features(batch.waveforms, batch.sample_lengths)
    kept = [view == plain for view in (features[:2], features[2:])]
    assert (kept[0] != kept[1]).any()
    assert all(
        (view[~same] == 0).all()
        for view, same in zip((features[:2], features[2:]), kept, strict=True)
    )
    once = module_of().augmented_views(batch)[0]
    assert len(once) == 2


def test_inner_layers_weigh_as_asked():
    module = module_of(intermediate=IntermediateLoss(depth=3, layers=(1, 2), weight=0.3))
    batch = batch_of((4000, 3200))
    features, lengths = module.augmented_views(batch)
    layers = {n: numpy_log_probs(module.model, features, lengths, n) for n in (1, 2, 3)}
    for index in range(2):
        tokens = batch.tokens[index, : batch.token_lengths[index]].tolist()
        inner = [negative_log_likelihood(layers[n][index], tokens) for n in (1, 2)]
        last = negative_log_likelihood(layers[3][index], tokens)
        expected = 0.7 * last + 0.3 * sum(inner) / 2
        assert losses(module, batch)[index].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("tasks", ["consistency", "intermediate", "guide"])
def test_padding_and_company_change_no_loss(tasks):
    task = {
        "consistency": Consistency,
        "intermediate": lambda: IntermediateLoss(depth=3),
        "guide": guide,
    }[tasks]()
    module = module_of(**{tasks: task})
    together = losses(module, batch_of((4000, 3200)))
    torch.testing.assert_close(
        losses(module, batch_of((4000, 3200), padding=1777)), together, atol=1e-4, rtol=1e-5
    )
    torch.testing.assert_close(
        losses(module, batch_of((4000,))), together[:1], atol=1e-4, rtol=1e-5
    )


def test_the_guide_keeps_tokens_out_of_silence_and_near_where_they_are_heard():
    torch.manual_seed(0)
    leader = guide()
    # A second of silence, a quarter of a tone, a tenth of silence as in a closure, the tone again.
    features = torch.zeros(2, 160, leader.first.in_channels)
    features[:, :100] = features[:, 125:135] = -4.2
    # The second one has no speech before its padding.
    quiet = leader.silence(features, torch.tensor([160, 100]))
    assert quiet[0].nonzero().flatten().tolist() == list(range(96))
    assert not quiet[1].any()
    # Only 39 dB below the loudest frame: that is noise.
    features[:, :100] = -39 / 10 / 2.5 * math.log(10)
    assert not leader.silence(features, torch.tensor([160, 160]))[0].any()


def test_the_guide_says_nothing_of_blanks_and_spaces():
    model = build_model(MODEL, TOKENS)
    leader = TimingGuide(model.features, ["", " ", "A", "B"], 4, channels=8)
    batch = batch_of((8000, 6400))
    features, lengths = model.features(batch.waveforms, batch.sample_lengths)
    offsets = leader(features, lengths, batch.tokens, batch.token_lengths).offsets
    assert offsets[..., :2].eq(0).all()
    assert offsets[..., 2:].lt(0).any()
    assert offsets.ge(-8).all() and not offsets.requires_grad


def test_the_guide_begins_from_tokens_of_equal_lengths():
    leader = guide()
    # Ten frames of speech within silence; three tokens have their middles at a sixth, a half and
    # five sixths of it.
    speech = torch.zeros(1, 16, dtype=torch.bool)
    speech[0, 3:13] = True
    found = leader._flat(speech, torch.tensor([[1, 2, 1, 3]]), torch.tensor([3]), TOKENS)
    shares = np.clip(np.arange(16) - 2, 0, 10) / 10
    for token, middles in ((1, (1 / 6, 5 / 6)), (2, (1 / 2,)), (3, ())):
        costs = [-(((shares - middle) / 0.1) ** 2) / 2 for middle in middles]
        expected = np.maximum(np.max(costs, axis=0) if costs else -8.0 * np.ones(16), -8.0)
        np.testing.assert_allclose(found[0, :, token].numpy(), expected, atol=1e-5)


def test_gradients_of_the_guide_are_clipped_by_their_own_norm():
    module = module_of(guide=guide())
    for number, parameter in enumerate(module.parameters(), start=1):
        parameter.grad = torch.full_like(parameter, number / 10)
    raw = {name: p.grad.double().clone() for name, p in module.named_parameters()}
    module.configure_gradient_clipping(None, 0.5)
    for chosen in (True, False):
        names = [name for name in raw if name.startswith("guide.") == chosen]
        norm = math.sqrt(sum(float(raw[name].square().sum()) for name in names))
        assert norm > 0.5
        for name in names:
            found = module.get_parameter(name).grad.double()
            torch.testing.assert_close(found, raw[name] * 0.5 / norm, rtol=1e-4, atol=0)


def test_what_has_no_alignment_teaches_nothing_and_is_named_once():
    module = module_of(consistency=Consistency())
    batch = batch_of((4000, 320))
    # One frame for three tokens.
    result = losses(module, batch)
    assert result[1] == 0
    assert result[0] > 0
    assert module.infeasible == {"320"}


def test_the_mean_of_inner_losses_is_mixed_in():
    feasible = torch.ones(2, dtype=torch.bool)
    inner = [CTCLoss(torch.tensor(values), feasible) for values in ([1.0, 2.0], [3.0, 6.0])]
    mixed = IntermediateLoss(depth=4, layers=(1, 3), weight=0.25)(torch.tensor([8.0, 4.0]), inner)
    assert mixed.tolist() == [6.5, 4.0]
    assert IntermediateLoss(depth=5).layers == (2,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"consistency": {"scale": 0}}, "consistency.scale is 0; expected above 0"),
        ({"consistency": {"time_mask_factor": 0.5}}, "factor is 0.5; expected 1 or more"),
        ({"consistency": {"alpha": 0.2}}, "unknown key 'auxiliary.consistency.alpha'"),
        (
            {"intermediate": {"layers": [3]}},
            r"layers is \[3\]; the encoder has inner layers 1 to 2",
        ),
        ({"intermediate": {"weight": 1.0}}, r"expected a share within \(0, 1\)"),
        ({"consistent": None}, "did you mean 'consistency'"),
        ({"guide": {"margin": -1}}, "margin is -1; expected 1 or more, and 0 or more"),
    ],
)
def test_an_impossible_task_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        auxiliary_losses(options, [], build_model(MODEL, TOKENS), CharacterTokenizer(["A"]))


def test_the_recursion_of_this_file_is_that_of_torch():
    draw = torch.Generator().manual_seed(2)
    log_probs = torch.log_softmax(torch.randn(1, 9, TOKENS, generator=draw), dim=-1)
    for tokens in ([1], [1, 1], [2, 1, 2, 3]):
        theirs = ctc_loss(
            log_probs, torch.tensor([9]), torch.tensor([tokens]), torch.tensor([len(tokens)])
        )
        ours = negative_log_likelihood(log_probs[0].double().numpy(), tokens)
        assert ours == pytest.approx(theirs.losses.item(), rel=1e-5)
