r"""Train the example model: a small Llama on the source text of Python's own standard library.

Reads every `.py` file of the running interpreter's standard library (no network), learns a
byte-level BPE of 4,096 tokens, trains for a fixed wall-clock time on the CPU and writes a Hugging
Face checkpoint in bf16. The last 2 % of the files, in a seeded order, are held out; their loss is
printed and stored in the log.

    OMP_NUM_THREADS=2 OMP_PROC_BIND=true OMP_PLACES=cores \
        python examples/training/train.py --out examples/model --minutes 6 \
            --log examples/training/train.log

Legend: B sequences, S positions.
"""

import argparse
import json
import math
import platform
import random
import sys
import sysconfig
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

NUM_TOKENS_VOCAB = 4096
SEQUENCE_LENGTH = 384
BATCH_SIZE = 16
PEAK_LEARNING_RATE = 3e-3
SPECIAL_TOKENS = ["<|endoftext|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{{ '<|' + ('assistant' if m['role'] == 'assistant' else 'user') + '|>' }}"
    "{{ m['content'] }}{{ '<|endoftext|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def read_corpus(seed: int) -> tuple[list[str], list[str]]:
    """Return (training texts, held-out texts), split by file in a seeded order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(p for p in root.rglob("*.py") if "site-packages" not in p.parts)
    texts = [t for p in files if (t := p.read_text(encoding="utf-8", errors="replace"))]
    random.Random(seed).shuffle(texts)
    num_held_out = max(1, len(texts) // 50)
    return texts[num_held_out:], texts[:num_held_out]


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Learn a lossless byte-level BPE on `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=NUM_TOKENS_VOCAB,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=SPECIAL_TOKENS[0],
        pad_token=SPECIAL_TOKENS[0],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """Return all texts as one long row of token ids, an end-of-text token after each."""
    eos: int = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    ids: list[int] = []
    for encoding in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False):
        ids.extend(encoding.ids)
        ids.append(eos)
    return torch.tensor(ids, dtype=torch.long)


def build_model(seed: int) -> LlamaForCausalLM:
    """Return a freshly initialised Llama of about five million parameters."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=NUM_TOKENS_VOCAB,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.02,
    )
    return LlamaForCausalLM(config)


def sample_batch(tokens_T: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return a [B, S + 1] batch of windows at random offsets."""
    starts = torch.randint(
        0, len(tokens_T) - SEQUENCE_LENGTH - 1, (BATCH_SIZE,), generator=generator
    )
    return torch.stack([tokens_T[s : s + SEQUENCE_LENGTH + 1] for s in starts.tolist()])


def batch_loss(model: LlamaForCausalLM, batch_BS: torch.Tensor) -> torch.Tensor:
    """Return the mean next-token cross-entropy of one batch, in nats."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(batch_BS[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), batch_BS[:, 1:].flatten()
    )


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, tokens_T: torch.Tensor) -> float:
    """Return the mean loss in nats over consecutive windows of the held-out text."""
    model.eval()
    windows = tokens_T[: (len(tokens_T) - 1) // SEQUENCE_LENGTH * SEQUENCE_LENGTH + 1]
    rows = windows[:-1].view(-1, SEQUENCE_LENGTH)[:256]
    losses = [
        batch_loss(model, rows[i : i + BATCH_SIZE]).item() for i in range(0, len(rows), BATCH_SIZE)
    ]
    model.train()
    return sum(losses) / len(losses)


def train(
    model: LlamaForCausalLM, tokens_T: torch.Tensor, minutes: float, seed: int
) -> list[dict[str, float]]:
    """Train until the time is up, with a learning rate tied to the share of time used."""
    decay = [p for p in model.parameters() if p.ndim >= 2]
    flat = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": flat, "weight_decay": 0.0}],
        lr=PEAK_LEARNING_RATE,
        betas=(0.9, 0.95),
    )
    generator = torch.Generator().manual_seed(seed)
    started, step, rows = time.monotonic(), 0, []
    while (used := (time.monotonic() - started) / (60 * minutes)) < 1.0:
        warm_up = min(1.0, (step + 1) / 30)
        rate = PEAK_LEARNING_RATE * warm_up * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * used)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = batch_loss(model, sample_batch(tokens_T, generator))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 25 == 0:
            rows.append(
                {
                    "step": step,
                    "seconds": time.monotonic() - started,
                    "loss": loss.item(),
                    "lr": rate,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Parse the command line, train, save, and print one JSON line with the outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument(
        "--minutes", type=float, default=6.0, help="training time, tokenizer not counted"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="file for the JSON lines of the run")
    parser.add_argument("--tokenizer", type=Path, help="take the tokenizer of this checkpoint")
    args = parser.parse_args()

    training, held_out = read_corpus(seed=0)
    if args.tokenizer is None:
        tokenizer = train_tokenizer(training)
    else:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(args.tokenizer)
    tokens_T, held_out_T = encode(tokenizer, training), encode(tokenizer, held_out)
    model = build_model(args.seed)
    rows = train(model, tokens_T, args.minutes, args.seed)
    loss = held_out_loss(model, held_out_T)
    summary = {
        "held_out_loss_nats": round(loss, 4),
        "held_out_perplexity": round(math.exp(loss), 2),
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "num_training_tokens_seen": (rows[-1]["step"] if rows else 0)
        * BATCH_SIZE
        * SEQUENCE_LENGTH,
        "num_corpus_tokens": len(tokens_T),
        "minutes": args.minutes,
        "seed": args.seed,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "num_threads": torch.get_num_threads(),
    }
    model.to(torch.bfloat16).save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    if args.log is not None:
        args.log.write_text(
            "".join(json.dumps(r) + "\n" for r in [*rows, summary]), encoding="utf-8"
        )
    print(json.dumps(summary))


if __name__ == "__main__":
    sys.exit(main())
