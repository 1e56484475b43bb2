"""Spliced utterances: words are cut where they end, and nothing said is lost or made up."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_training import configuration, history
from torch.utils.data import DataLoader

from asr.audio import write_flac
from asr.augment import SpeedPerturbation, WordSplicing
from asr.data import BatchSampler, SpeechDataset
from asr.errors import ConfigError
from asr.manifest import Utterance
from asr.tokenizer import CharacterTokenizer
from asr.training import train
from asr.training.fit import RunFolder
from asr.training.parts import build_parts
from asr.training.sound import word_splicing
from asr.training.word_edges import find_edges, word_edges, word_frames

RATE = 8000
LETTERS = CharacterTokenizer("ABCDE ")
WORDS = ["A", "B", "C", "D", "E"]


def level(word):
    """The constant that stands for a word in these waveforms."""
    return (1 + WORDS.index(word)) / 10


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Utterances of constants: 50 ms of silence, 100 ms a word, 70 ms of silence."""
    folder = tmp_path_factory.mktemp("constants")
    draw = np.random.default_rng(4)
    utterances, edges = [], []
    for number in range(40):
        words = draw.choice(WORDS, 1 + number % 5)
        sound = [np.zeros(400), *(np.full(800, level(word)) for word in words), np.zeros(560)]
        waveform = np.concatenate(sound).astype(np.float32)
        path = str(folder / f"{number}.flac")
        write_flac(folder / f"{number}.flac", waveform, RATE)
        seconds = len(waveform) / RATE
        speaker = "abc"[number % 3]
        utterances.append(Utterance(f"u{number}", path, seconds, " ".join(words), speaker))
        edges.append(50 + 100 * np.arange(len(words) + 1))
    return utterances, edges


def spliced(corpus, **options):
    utterances, edges = corpus
    splice = WordSplicing(utterances, **{"probability": 1.0, **options})
    splice.edges = edges
    return splice


def loaded(corpus, workers=0, rank=0, world_size=1, done=0, alone=False, probability=0.6):
    utterances, _ = corpus
    speed = SpeedPerturbation()
    dataset = SpeechDataset(utterances, LETTERS, RATE, speed)
    sampler = BatchSampler(
        utterances,
        3.0,
        seed=2,
        speed=speed,
        splice=spliced(corpus, probability=probability),
        rank=rank,
        world_size=world_size,
    )
    sampler.resume(1, done)
    batches = [[draw] for batch in sampler for draw in batch] if alone else sampler
    loader = DataLoader(
        dataset, batch_sampler=batches, collate_fn=lambda batch: batch, num_workers=workers
    )
    return list(loader)


def rows(batches):
    return {
        identity: (text, batch.waveforms[row, : batch.sample_lengths[row]])
        for batch in batches
        for row, (identity, text) in enumerate(zip(batch.ids, batch.texts, strict=True))
    }


def test_what_is_heard_are_the_words_of_the_transcript(corpus):
    utterances, _ = corpus
    dataset = SpeechDataset(utterances, LETTERS, RATE)
    sampler = BatchSampler(utterances, 3.0, splice=spliced(corpus))
    seen = set()
    for epoch in range(3):
        for draw in (draw for batch in sampler.batches(epoch) for draw in batch):
            example = dataset[draw]
            words = example.text.split()
            assert example.tokens.tolist() == LETTERS.encode(" ".join(words))
            # Silence, constants, silence; the middle of each word is not faded.
            assert len(example.waveform) == 400 + 800 * len(words) + 560
            heard = example.waveform[400:-560].view(len(words), 800)[:, 300:500]
            for sound, word in zip(heard, words, strict=True):
                torch.testing.assert_close(
                    sound, torch.full((200,), level(word)), atol=1e-3, rtol=0
                )
            speakers = {utterances[run.utterance].speaker for run in draw.runs}
            assert speakers == {utterances[draw.utterance].speaker}
            seen.add(example.text)
    assert len(seen - {utterance.text for utterance in utterances}) > 30


def test_neighbours_are_neighbours_in_some_transcript_and_lengths_are_kept(corpus):
    utterances, _ = corpus
    known = {pair for u in utterances for pair in pairwise(["", *u.text.split()])}
    longest = max(utterance.duration for utterance in utterances)
    splice = spliced(corpus, run_words=1.5)
    for seed in range(20):
        drawn = splice.draws([1000 * seed + place for place in range(len(utterances))])
        assert len(drawn) > 30
        for place, runs in drawn.items():
            texts = [
                utterances[run.utterance].text.split()[run.first_word : run.stop_word]
                for run in runs
            ]
            words = [word for text in texts for word in text]
            assert set(pairwise(["", *words])) <= known
            # An utterance gets no more words than it had, or two.
            assert 1 <= len(words) <= max(2, len(utterances[place].text.split()))
            assert sum(run.end_ms - run.start_ms for run in runs) <= 1000 * longest + 1


def test_runs_are_as_long_as_asked(corpus):
    utterances, _ = corpus
    draws = spliced(corpus, run_words=1.0).draws(range(len(utterances)))
    assert {run.stop_word - run.first_word for runs in draws.values() for run in runs[1:-1]} == {1}
    long = spliced(corpus, run_words=50.0).draws(range(len(utterances)))
    assert np.mean([run.stop_word - run.first_word for r in long.values() for run in r[1:-1]]) > 1.5


def test_as_many_are_replaced_as_asked_and_none_before_words_are_known(corpus):
    utterances, _ = corpus
    assert WordSplicing(utterances, 1.0).draws(range(len(utterances))) == {}
    splice = spliced(corpus, probability=0.3)
    share = np.mean([len(splice.draws(range(s, s + 40))) / 40 for s in range(0, 4000, 40)])
    assert share == pytest.approx(0.3, abs=0.03)
    # One whose words were not found stays whole, and lends no words.
    edges = list(splice.edges)
    edges[3] = np.zeros(0, np.int64)
    splice.probability, splice.edges = 1.0, edges
    drawn = splice.draws(range(len(utterances)))
    assert 3 not in drawn and 3 not in {run.utterance for runs in drawn.values() for run in runs}


@pytest.mark.parametrize(
    "way",
    [{"workers": 2}, {"alone": True}, {"world_size": 2}, {"done": 2}],
    ids=["workers", "batches of one", "two ranks", "a restart"],
)
def test_nobody_who_reads_changes_what_is_heard(way, corpus):
    whole = loaded(corpus)
    expected, found = rows(whole), rows(loaded(corpus, **way))
    if "world_size" in way:
        found |= rows(loaded(corpus, rank=1, world_size=2))
    if "done" in way:
        expected = rows(whole[2:])
    assert any("[" in identity for identity in expected)
    assert found.keys() == expected.keys()
    for identity, (text, waveform) in expected.items():
        assert found[identity][0] == text and found[identity][1].equal(waveform), identity


def test_batches_know_how_long_spliced_utterances_are(corpus):
    utterances, _ = corpus
    sampler = BatchSampler(utterances, 3.0, splice=spliced(corpus, probability=0.6))
    dataset = SpeechDataset(utterances, LETTERS, RATE)
    draws = [draw for batch in sampler.batches(0) for draw in batch]
    samples = sum(len(dataset[draw].waveform) for draw in draws)
    assert sampler.heard_seconds(0) == pytest.approx(samples / RATE)


def test_edges_survive_a_checkpoint(corpus):
    utterances, edges = corpus
    splice, other = spliced(corpus), WordSplicing(utterances, 1.0)
    other.load_state(WordSplicing(utterances, 1.0).state())
    assert other.edges == []
    other.load_state(splice.state())
    assert all(np.array_equal(one, two) for one, two in zip(edges, other.edges, strict=True))
    assert other.draws(range(40)) == splice.draws(range(40))


def test_words_end_in_the_pause_behind_them():
    rng = np.random.default_rng(0)
    waveform = rng.normal(0, 0.1, 2 * RATE)
    # Pauses at 0 to 150, 580 to 640, 1200 to 1230 and 1800 to 2000 ms.
    for start, end in ((0, 150), (580, 640), (1200, 1230), (1800, 2000)):
        waveform[start * 8 : end * 8] *= 0.001
    spans = np.array([[220, 500], [700, 1100], [1290, 1700]])
    found = word_edges(waveform.astype(np.float32), RATE, spans)
    for edge, (start, end) in zip(
        found, ((0, 150), (580, 640), (1200, 1230), (1800, 2000)), strict=True
    ):
        assert start <= edge <= end
    # Beyond the recording nothing is looked for.
    short = word_edges(np.ones(800, np.float32), RATE, np.array([[10.0, 400.0]]))
    assert 0 <= short[0] <= short[1] <= 100


def test_frames_of_words_are_those_of_the_best_path_by_brute_force():
    rng = np.random.default_rng(1)
    log_probs = np.log(rng.dirichlet(np.ones(4), 6))
    said = [[1, 2], [3]]
    best, frames = -np.inf, None
    for path in np.ndindex(*(4,) * 6):
        collapsed = [p for p, q in zip(path, (0, *path), strict=False) if p not in (0, q)]
        score = sum(log_probs[frame, label] for frame, label in enumerate(path))
        if collapsed == [1, 2, 3] and score > best:
            best, frames = score, path
    places = [[f for f, label in enumerate(frames) if label == p] for p in (1, 2, 3)]
    expected = [[places[0][0], places[1][-1]], [places[2][0], places[2][-1]]]
    assert word_frames(log_probs, said).tolist() == expected
    assert word_frames(log_probs, []) is None and word_frames(log_probs, [[1], []]) is None
    assert word_frames(log_probs[:2], said) is None


def test_a_run_searches_for_words_and_goes_on_with_them(tmp_path, capsys):
    splice = {"probability": 1.0, "align_after": [1]}
    config = configuration(
        tmp_path,
        augment={"splice": splice},
        auxiliary={"phonemes": {"layer": 1}},
        checkpoint={"every_steps": 1000, "choose": "last"},
    )
    train(config)
    assert len(history(tmp_path / "run")) == 2
    state = torch.load(tmp_path / "run" / "last.ckpt", weights_only=False)
    data = next(value for key, value in state.items() if "SpeechData" in key)
    counts = data["splice"]["counts"]
    assert counts.tolist() == [3] * 24
    # Tones of two words of 0.48 s around 0.16 s of silence.
    capsys.readouterr()
    parts = build_parts(config, RunFolder(tmp_path / "other"))
    whole = find_edges(parts.module, parts.data, shows=False)
    halves = []
    for rank in (0, 1):
        parts.data.sampler.rank, parts.data.sampler.world_size = rank, 2
        halves.append(find_edges(parts.module, parts.data, shows=False))
    for one, first, second in zip(whole, *halves, strict=True):
        # Each rank finds those of its part, and nothing for the others.
        assert sorted(map(len, (first, second))) == [0, 3]
        assert np.array_equal(one, first if len(first) else second)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"probability": 2}, r"augment\.splice\.probability is 2"),
        ({"probability": 1, "run_words": 0.5}, r"augment\.splice\.run_words is 0\.5"),
        ({"probability": 1, "align_after": []}, r"augment\.splice\.align_after is \[\]"),
        ({"probability": 1, "align_after": [0]}, r"align_after is \[0\]; expected numbers of"),
        ({"probability": 1, "align": [1]}, r"augment\.splice\.align"),
    ],
)
def test_impossible_options_are_refused(options, said, corpus):
    with pytest.raises(ConfigError, match=said):
        word_splicing({"splice": options}, corpus[0], LETTERS)


def test_without_a_space_or_phonemes_there_is_no_splicing(corpus, tmp_path):
    with pytest.raises(ConfigError, match=r"augment\.splice puts a space"):
        word_splicing({"splice": {"probability": 1}}, corpus[0], CharacterTokenizer("ABCDE"))
    config = configuration(tmp_path, augment={"splice": {"probability": 1}})
    with pytest.raises(ConfigError, match=r"augment\.splice needs auxiliary\.phonemes"):
        train(config)
    assert not (tmp_path / "run" / "model").exists()
