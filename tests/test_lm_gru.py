"""GRU language models: training that goes on where it stopped, folders, scorers, perplexities."""

import json
import math

import numpy as np
import pytest
import torch
from lm_texts import SENTENCES, small_tokenizers

from asr.cli import main
from asr.decoding.scorer import score_tokens
from asr.errors import LanguageModelError
from asr.lm.gru import BOUNDARY, TokenItems, WordItems, build_gru, load_gru, save_gru
from asr.lm.gru_scorer import GRUSentences, SavedGRU, TokenGRUScorer, WordGRUScorer
from asr.lm.loading import load_scorer, load_sentence_model
from asr.lm.sentence import measure_perplexity
from asr.training.language_model import GRUOptions, train_gru
from asr.training.sentences import PADDING, Sentences

TOKENIZERS = small_tokenizers()
SIZES = {"embedding_size": 8, "hidden_size": 12, "num_layers": 2, "dropout": 0.3}


def random_model(items: TokenItems | WordItems) -> SavedGRU:
    torch.manual_seed(0)
    return SavedGRU(build_gru(SIZES, items).eval(), items, SIZES, {})


def log_prob(saved: SavedGRU, ids: list[int], penalties: float = 0.0) -> float:
    """Sum a sequence's logarithms item by item, each from the whole text before it."""
    total = penalties
    for place, item in enumerate([*ids, BOUNDARY]):
        with torch.no_grad():
            rows, _ = saved.model(torch.tensor([[BOUNDARY, *ids[:place]]]))
        total += float(rows[0, -1, item])
    return total


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_scores_of_tokens_are_the_models(kind):
    tokenizer = TOKENIZERS[kind]
    saved = random_model(TokenItems(tokenizer))
    scorer = TokenGRUScorer(saved, tokenizer, 0.5)
    for sentence in (*SENTENCES[:4], ""):
        tokens = tokenizer.encode(sentence)
        expected = log_prob(saved, tokens)
        assert score_tokens(scorer, tokens) == pytest.approx(0.5 * expected, abs=1e-4)
        [score] = GRUSentences(saved, tokenizer).score_sentences([sentence])
        assert score.log_prob == pytest.approx(expected, abs=1e-4)


def test_states_are_equal_where_the_text_is():
    tokenizer = TOKENIZERS["characters"]
    scorer = TokenGRUScorer(random_model(TokenItems(tokenizer)), tokenizer)
    one, other, third = (scorer.start().child(3).child(token).child(5) for token in (7, 7, 8))
    assert one == other != third and hash(one) == hash(other)
    assert np.array_equal(scorer.predictor.row(one), scorer.predictor.row(other))
    assert not np.array_equal(scorer.predictor.row(one), scorer.predictor.row(third))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_scores_of_words_are_the_models(kind):
    tokenizer = TOKENIZERS[kind]
    saved = random_model(WordItems(["THE", "CAT", "SAT", "ON"]))
    scorer = WordGRUScorer(saved, tokenizer, 0.5, -3.0)
    for sentence in SENTENCES[:4]:
        ids, unknown = saved.items.encode(sentence)
        expected = log_prob(saved, ids, -3.0 * len(unknown))
        assert score_tokens(scorer, tokenizer.encode(sentence)) == pytest.approx(
            0.5 * expected, abs=1e-4
        )


def test_perplexity_does_not_depend_on_padding(tmp_path):
    saved = random_model(WordItems(["THE", "CAT", "SAT"]))
    found = measure_perplexity(GRUSentences(saved), SENTENCES)
    total = sum(log_prob(saved, saved.items.encode(sentence)[0]) for sentence in SENTENCES)
    assert found.items == sum(len(sentence.split()) + 1 for sentence in SENTENCES)
    assert math.log(found.by_item) == pytest.approx(-total / found.items, abs=1e-5)
    assert found.unknown["DOG"] == 2


@pytest.mark.parametrize("items", [TokenItems(TOKENIZERS["sentencepiece"]), WordItems(["A", "B"])])
def test_a_folder_holds_all_there_is(tmp_path, items):
    saved = random_model(items)
    save_gru(tmp_path / "lm", saved.model, items, SIZES, {"epoch": 3})
    again = load_gru(tmp_path / "lm")
    assert again.notes == {"epoch": 3}
    assert len(again.items) == len(items)
    ids = torch.tensor([[0, 1, 2]])
    assert torch.equal(saved.model(ids)[0], again.model(ids)[0])
    with pytest.raises(LanguageModelError, match="is no GRU language model"):
        save_gru(tmp_path, saved.model, items, SIZES, {})
    config = (tmp_path / "lm" / "config.yaml").read_text()
    for old, new, message in (
        ("format: 1", "format: 9", "says format 9"),
        ("kind: gru-language-model", "kind: other", "is no GRU language model"),
        ("hidden_size: 12", "hidden_size: 13", "is damaged"),
    ):
        (tmp_path / "lm" / "config.yaml").write_text(config.replace(old, new))
        with pytest.raises(LanguageModelError, match=message):
            load_gru(tmp_path / "lm")


def test_models_of_another_tokenizer_are_refused(tmp_path):
    saved = random_model(TokenItems(TOKENIZERS["characters"]))
    save_gru(tmp_path / "lm", saved.model, saved.items, SIZES, {})
    with pytest.raises(LanguageModelError, match="tokens of another tokenizer"):
        load_scorer(tmp_path / "lm", TOKENIZERS["sentencepiece"], 0.5)
    with pytest.raises(LanguageModelError, match="tokens of another tokenizer"):
        load_sentence_model(tmp_path / "lm", TOKENIZERS["sentencepiece"])
    assert isinstance(load_scorer(tmp_path / "lm", TOKENIZERS["characters"], 0.5), TokenGRUScorer)


def test_batches_hold_every_sentence_once():
    rng = np.random.default_rng(0)
    encoded = [rng.integers(1, 9, rng.integers(1, 12)).tolist() for _ in range(200)]
    sentences = Sentences(encoded)
    orders = [sentences.batches(60, (0, 0)), sentences.batches(60, (0, 1))]
    assert [b.tolist() for b in orders[0]] != [b.tolist() for b in orders[1]]
    for order in (*orders, sentences.batches(60, None)):
        assert sorted(np.concatenate(order).tolist()) == list(range(200))
        for rows in order:
            inputs, targets = sentences.batch(rows)
            assert inputs.numel() <= 60
            for place, row in enumerate(rows):
                length = len(encoded[row])
                assert inputs[place, : length + 1].tolist() == [BOUNDARY, *encoded[row]]
                assert targets[place, : length + 1].tolist() == [*encoded[row], BOUNDARY]
                assert set(targets[place, length + 1 :].tolist()) <= {PADDING}


OPTIONS = GRUOptions(8, 16, 1, 0.2, epochs=3, batch_items=40, lr=2e-2, accelerator="cpu")


def test_training_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, capsys):
    text, valid = tmp_path / "text.txt", tmp_path / "valid.txt"
    text.write_text("\n".join(SENTENCES * 6))
    valid.write_text("\n".join(SENTENCES[:3]))
    whole = train_gru([text], [valid], tmp_path / "whole", OPTIONS)
    assert not whole.resumed
    lines = (tmp_path / "whole" / "history.jsonl").read_text().splitlines()
    history = [json.loads(line)["valid_perplexity"] for line in lines]
    # Better than guessing among the ten words, two names and the end.
    assert whole.perplexity == min(history) < history[0] and min(history) < 10

    # The second one is stopped in its second epoch.
    from asr.training.language_model import LanguageModelTraining

    step = LanguageModelTraining.training_step

    def stopping(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 2:
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LanguageModelTraining, "training_step", stopping)
    with pytest.raises(RuntimeError, match="power cut"):
        train_gru([text], [valid], tmp_path / "cut", OPTIONS)
    monkeypatch.setattr(LanguageModelTraining, "training_step", step)
    again = train_gru([text], [valid], tmp_path / "cut", OPTIONS)
    assert again.resumed
    one, other = load_gru(whole.folder), load_gru(again.folder)
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
    measured = measure_perplexity(load_sentence_model(whole.folder), SENTENCES[:3])
    assert measured.by_item == pytest.approx(whole.perplexity, rel=1e-4)
    out = capsys.readouterr().out
    assert "going on in" in out

    code = main(["lm", "perplexity", str(valid), "--lm", str(whole.folder)])
    assert code == 0
    assert f"{whole.perplexity:.2f}" in capsys.readouterr().out
