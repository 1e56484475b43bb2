"""Train the golden model on tones and write its folder and the expected transcripts anew.

python tests/golden/make_golden.py
"""

from pathlib import Path

import numpy as np
import torch
from voice import ALPHABET, SAMPLE_RATE, draw_text, speak_tones

from asr.ctc import ctc_loss
from asr.model import build_model
from asr.padding import pad_sequences
from asr.recognizer import Recognizer
from asr.tokenizer import CharacterTokenizer

HERE = Path(__file__).resolve().parent
CONFIG = {
    "features": {"sample_rate": SAMPLE_RATE, "n_mels": 24},
    "encoder": {
        "kind": "gru",
        "layers": 2,
        "width": 48,
        "subsampling": 2,
        "channels": 8,
        "reset": "after",
        "bidirectional": True,
        "dropout": 0.05,
    },
}
STEPS = 500
BATCH = 24
# Each is spoken with its own number as seed; the last is longer than one window of the recognizer.
TEXTS = (
    "ABCDEFGH",
    "BAD CAFE",
    "AA BB CCC HHH DEED",
    draw_text(np.random.default_rng(5), words=70, longest=6),
)


def train() -> Recognizer:
    """Fit a small model to random sentences, new ones in every step."""
    torch.manual_seed(1)
    generator = np.random.default_rng(1)
    tokenizer = CharacterTokenizer(" " + ALPHABET)
    model = build_model(CONFIG, tokenizer.vocabulary_size).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS)
    for step in range(STEPS):
        texts = [draw_text(generator, int(generator.integers(1, 5)), 6) for _ in range(BATCH)]
        spoken = [
            torch.from_numpy(speak_tones(text, step * BATCH + i + 1000))
            for i, text in enumerate(texts)
        ]
        tokens = pad_sequences([torch.tensor(tokenizer.encode(text)) for text in texts])
        log_probs, lengths = model(*pad_sequences(spoken))
        loss = ctc_loss(log_probs, lengths, *tokens).losses.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    return Recognizer(model, tokenizer, CONFIG, device="cpu", notes={"steps": STEPS})


def main() -> None:
    recognizer = train()
    recognizer.save(HERE / "model")
    for seed, text in enumerate(TEXTS):
        waveform = speak_tones(text, seed)
        transcript = recognizer.transcribe(waveform, SAMPLE_RATE)
        seconds = len(waveform) / SAMPLE_RATE
        print(f"{seconds:.1f} s, right: {transcript.text == text}, {transcript.log_prob:.4f}")
        content = f"{text}\n{transcript.text}\n{transcript.log_prob:.6f}\n"
        (HERE / f"tones_{seed}.txt").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
