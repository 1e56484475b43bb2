"""N-gram models against KenLM's lmplz, sums over the vocabulary, and ARPA's liberties."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from lm_texts import FALLBACK, LMPLZ, SENTENCES, small_model, small_tokenizers

from asr.errors import LanguageModelError, TextError, UsageError
from asr.lm.arpa import read_arpa
from asr.lm.arpa_writing import write_arpa
from asr.lm.loading import load_ngram
from asr.lm.ngram import NGramModel, Units
from asr.lm.ngram_file import MAGIC, levels_of, read_ngram, trie_of, write_ngram
from asr.lm.ngram_training import NGramOptions, train_ngram
from asr.lm.sentence import NGramSentences, measure_perplexity
from asr.lm.vocabulary import START

# Name of the ARPA file, text, options.
LMPLZ_CASES = (
    ("order4.arpa.gz", "license.txt", NGramOptions(order=4)),
    ("order4_pruned.arpa", "license.txt", NGramOptions(order=4, prune=(0, 0, 1, 1))),
    ("digits.arpa", "digits.txt", NGramOptions(order=3, fallback=FALLBACK)),
)


def arpa_entries(path: Path) -> dict[str, tuple[float, float]]:
    """Read an ARPA file line by line, without the package."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    entries = {}
    for line in text.splitlines():
        if "\t" in line:
            prob, gram, *backoff = line.split("\t")
            entries[gram] = (float(prob), float(backoff[0]) if backoff else 0.0)
    return entries


@pytest.mark.parametrize(("arpa", "text", "options"), LMPLZ_CASES)
def test_probabilities_are_those_of_lmplz(tmp_path, arpa, text, options):
    train_ngram([LMPLZ / text], tmp_path / "lm.bin", options, arpa=tmp_path / "lm.arpa")
    expected, found = arpa_entries(LMPLZ / arpa), arpa_entries(tmp_path / "lm.arpa")
    assert found.keys() == expected.keys()
    assert max(np.abs(np.subtract(found[gram], expected[gram])).max() for gram in found) < 1e-6
    # What is read back says the same.
    model = read_ngram(tmp_path / "lm.bin")
    for gram, (prob, _) in list(expected.items())[::7]:
        *context, last = (model.word_id(word) for word in gram.split())
        assert prob_after(model, context, last) == pytest.approx(prob, abs=1e-6)


def prob_after(model: NGramModel, context: list[int], word: int) -> float:
    """Give log10 of a word's probability after words that need not begin a sentence."""
    if not context:
        return float(model.trie.log10_prob[1 + word])
    state = 1 + context[0]
    for each in context[1:]:
        state = model.score(state, each)[1]
    return model.score(state, word)[0]


@pytest.mark.parametrize("prune", [(0,), (0, 0, 1, 1), (0, 1, 2)])
def test_probabilities_sum_to_one_after_any_words(tmp_path, prune):
    options = NGramOptions(order=4, prune=prune)
    train_ngram([LMPLZ / "license.txt"], tmp_path / "lm.bin", options)
    model = read_ngram(tmp_path / "lm.bin")
    rng = np.random.default_rng(0)
    seen = (LMPLZ / "license.txt").read_text().split()
    histories = [seen[i : i + 3] for i in rng.integers(0, len(seen) - 3, 30)]
    histories += [rng.choice(seen, 3).tolist() for _ in range(30)]
    histories += [[], ["neverseen"], ["the", "neverseen"], ["neverseen", "of", "the"]]
    for history in histories:
        state = model.start()
        for word in history:
            state = model.score(state, model.word_id(word))[1]
        row = model.log10_probs(state)
        assert np.delete(10**row, START).sum() == pytest.approx(1, abs=2e-6)
        words = rng.integers(0, len(model.words), 50)
        one_by_one = [model.score(state, int(word)) for word in words]
        together, following = model.score_batch(np.full(50, state), words)
        assert np.allclose([score for score, _ in one_by_one], row[words], atol=1e-6)
        assert np.allclose([score for score, _ in one_by_one], together, atol=1e-6)
        assert [after for _, after in one_by_one] == following.tolist()


def test_sorting_in_parts_changes_no_byte(tmp_path):
    files = []
    for memory in (1 << 30, 1 << 13):
        options = NGramOptions(order=4, prune=(0, 0, 1), memory_bytes=memory, folder=tmp_path)
        path = tmp_path / f"{memory}.bin"
        summary = train_ngram([LMPLZ / "license.txt"], path, options)
        assert summary.counts[3] < summary.found[3]
        files.append(path.read_bytes())
    assert files[0] == files[1]
    assert [each for each in tmp_path.iterdir() if each.name.startswith("asr-lm-")] == []


def test_plain_text_gzip_and_manifests_are_one_text(tmp_path):
    text = "\ufeffTHE CAT SAT\r\n\n  THE   DOG SAT \nA CAT"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8", newline="")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    lines = [
        {"id": str(i), "audio_filepath": "x.wav", "duration": 1, "text": each}
        for i, each in enumerate(("THE CAT SAT", "", "THE DOG SAT", "A CAT"))
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = NGramOptions(order=2, fallback=FALLBACK)
    results = []
    for name in ("a.txt", "a.txt.gz", "a.jsonl"):
        summary = train_ngram([tmp_path / name], tmp_path / "lm.bin", options)
        assert (summary.sentences, summary.words) == (3, 8)
        results.append((tmp_path / "lm.bin").read_bytes())
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no word"),
        (b"\n \n", "no word"),
        (b"A B\nC <s> D\n", "the word <s>"),
        (b"A </s> B\n", "the word </s>"),
        (b"A B\nC \xff D\n", "line 2 is not UTF-8"),
        (b"A B\nC D\n", "too small"),
    ],
)
def test_text_that_makes_no_model_is_refused(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(TextError, match=message):
        train_ngram([tmp_path / "a.txt"], tmp_path / "lm.bin", NGramOptions(order=2))
    assert not (tmp_path / "lm.bin").exists()


@pytest.mark.parametrize("prune", [(1,), (0, 2, 1), (0, 0, 0, 1), (0, -1)])
def test_impossible_pruning_is_refused(tmp_path, prune):
    with pytest.raises(UsageError, match="--prune"):
        train_ngram([LMPLZ / "digits.txt"], tmp_path / "x", NGramOptions(order=3, prune=prune))


def test_what_is_written_as_arpa_is_read_back(tmp_path):
    model = small_model(tmp_path)
    for name in ("lm.arpa", "lm.arpa.gz"):
        write_arpa(tmp_path / name, model.words, levels_of(model.trie))
        again = load_ngram(tmp_path / name)
        assert again.words == model.words
        assert again.trie.counts == model.trie.counts
        for name in ("word", "first_child", "link"):
            assert np.array_equal(getattr(again.trie, name), getattr(model.trie, name))
        for name in ("log10_prob", "log10_backoff"):
            assert np.allclose(getattr(again.trie, name), getattr(model.trie, name), atol=1e-7)


def test_long_words_and_large_logarithms_are_written(tmp_path):
    levels = levels_of(small_model(tmp_path).trie)
    levels[0].log10_prob.setflags(write=False)
    probs = np.array(levels[0].log10_prob)
    probs[3:6] = -99, -10.25, -0.0000001
    words = [f"W{'O' * 10 * i}" for i in range(len(probs))]
    words[:3] = "<unk>", "<s>", "</s>"
    levels[0] = type(levels[0])(
        levels[0].word, probs, levels[0].log10_backoff, levels[0].first_child, levels[0].link
    )
    write_arpa(tmp_path / "lm.arpa", words, levels)
    found = arpa_entries(tmp_path / "lm.arpa")
    assert [found[words[i]][0] for i in (3, 4, 5)] == [-99, -10.25, -0.0000001]
    assert list(read_arpa(tmp_path / "lm.arpa")[0][3:]) == words[3:]


ODD = """made by hand

\\data\\
ngram 3 = 1
ngram 1=6
ngram 2=2

\\1-grams:
-99 <s> -0.5
-1.0\t</s>
-0.5\tA\t-0.25
-0.75 B
-1.5\tONLY
-2 <UNK>

\\2-grams:
-0.25 <s> A -0.125
-0.5\tB A

\\3-grams:
-0.125 A B A

\\end\\
"""


def test_liberties_of_official_arpa_files(tmp_path):
    path = tmp_path / "odd.arpa"
    path.write_text(ODD)
    model = load_ngram(path)
    ids = [model.word_id(word) for word in ("A", "B", "ONLY", "SOMETHING")]
    assert ids[3] == model.word_id("<unk>") == 0
    # The context "A B" is missing; its trigram counts all the same.
    scores = model.score_words([ids[0], ids[1], ids[0], ids[2], ids[3]])
    expected = [-0.25, -0.125 + -0.25 + -0.75, -0.125, 0 + 0 - 0.25 - 1.5, -2.0, -1.0]
    assert scores == pytest.approx(expected)
    write_ngram(tmp_path / "odd.bin", Units(), model.words, levels_of(model.trie))
    assert read_ngram(tmp_path / "odd.bin").score_words(ids[:3]) == model.score_words(ids[:3])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-0.75 B", "-0.75x B", "line 12 '-0.75x B': a logarithm is no number"),
        ("-0.75 B", "0.75 B", "line 12 '0.75 B': expected a logarithm of at most 0"),
        ("-0.75 B", "-0.75 B C D", "line 12 '-0.75 B C D': expected a logarithm, 1 words"),
        ("B A\n\n", "B C\n\n", "line 18 '-0.5\tB C': 'C' is no 1-gram"),
        ("ONLY", "B", "line 13 '-1.5\tB': the word stands there twice"),
        ("ngram 2=2", "ngram 2=3", "the 2-grams end: 2 of 3 were found"),
        ("\\end\\", "", "the file breaks off"),
        ("\\3-grams:\n-0.125 A B A\n", "", "the section .3-grams: is missing"),
        ("\\data\\", "", "it lacks the line"),
        ("-0.5\tB A", "-0.5\t<s> A", "the 2-gram '<s> A' stands there twice"),
    ],
)
def test_a_broken_arpa_line_is_shown(tmp_path, old, new, message):
    path = tmp_path / "broken.arpa"
    assert old in ODD
    path.write_text(ODD.replace(old, new))
    with pytest.raises(LanguageModelError, match=message.replace("(", r"\(")):
        load_ngram(path)


def test_a_damaged_file_is_refused(tmp_path):
    small_model(tmp_path)
    whole = (tmp_path / "lm.bin").read_bytes()
    cases = {
        "damaged": whole[: len(whole) // 2],
        "has format 2": whole.replace(b'"format": 1', b'"format": 2'),
        "header": MAGIC + (10).to_bytes(8, "little") + b"notjson...",
        "lacks the line": b"something else\n",
    }
    for message, content in cases.items():
        (tmp_path / "bad.bin").write_bytes(content)
        with pytest.raises(LanguageModelError, match=message):
            load_ngram(tmp_path / "bad.bin")
    with pytest.raises(LanguageModelError, match="no language model"):
        load_ngram(tmp_path / "none.bin")


def test_perplexity_is_that_of_the_formula(tmp_path):
    model = small_model(tmp_path)
    found = measure_perplexity(NGramSentences(model), ["THE BIRD SAT", "A CAT"])
    scores = [
        score
        for words in (("THE", "BIRD", "SAT"), ("A", "CAT"))
        for score in model.score_words([model.word_id(word) for word in words])
    ]
    assert (found.sentences, found.words, found.items) == (2, 5, 7)
    assert found.by_item == pytest.approx(10 ** (-sum(scores) / 7))
    assert found.by_word == pytest.approx(found.by_item)
    assert found.unknown == {"BIRD": 1}
    assert found.by_known_item == pytest.approx(10 ** (-(sum(scores) - scores[1]) / 6))


def test_perplexity_of_tokens_is_given_per_word_too(tmp_path):
    for tokenizer in small_tokenizers().values():
        model = small_model(tmp_path, tokenizer)
        assert model.units.kind == "token"
        # Tokens that no sentence has are known all the same, and the sum is still one.
        assert len(model.words) == 3 + tokenizer.vocabulary_size - 1
        row = 10 ** model.log10_probs(model.score(model.start(), 5)[1])
        assert np.delete(row, START).sum() == pytest.approx(1, abs=2e-6)
        found = measure_perplexity(NGramSentences(model, tokenizer), SENTENCES)
        words = sum(len(sentence.split()) for sentence in SENTENCES)
        tokens = sum(len(tokenizer.encode(sentence)) for sentence in SENTENCES)
        assert (found.words, found.items) == (words, tokens + len(SENTENCES))
        total = math.log(found.by_word) * (words + len(SENTENCES))
        assert total == pytest.approx(math.log(found.by_item) * found.items)


def test_levels_survive_the_file(tmp_path):
    model = small_model(tmp_path)
    trie = trie_of(levels_of(model.trie))
    for name in ("word", "log10_prob", "log10_backoff", "first_child", "link"):
        assert np.array_equal(getattr(trie, name), getattr(model.trie, name))
