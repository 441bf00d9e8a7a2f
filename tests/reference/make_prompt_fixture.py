"""Write the encoded prompts that weights, chunks and skipped layers give, as PyTorch computes them.

    python make_prompt_fixture.py            ../fixtures/weighted_prompts.safetensors, for tiny-sd1 and -sd2
    python make_prompt_fixture.py --out FILE the same, into FILE

    .safetensors    <name>: the states that cross-attention sees, [1, 77 * chunks, width]
    .json           a list of {name, model, prompt, parts, clip_skip, chunks}

Written down from the definitions of A1111's web interface 1.10: chunks of 75 tokens (one that is full
ends after its last comma, if that is among its last 20 tokens), each encoded for itself, multiplied by
its tokens' weights, and scaled so that its mean is what it was; the hidden states before the last
`clip_skip - 1` layers, after the final normalisation. The prompts are given as text and as the parts
that they mean, so that this script parses nothing.
"""

import argparse
import json
from pathlib import Path

import make_fixtures as fixtures
import torch
from safetensors.torch import save_file

ROOM = 75
BACKTRACK = 20
BREAK = ["BREAK", -1]
LONG = "a photo of a red dog, and a blue cat on the table "

# Text, and the parts that it means.
PROMPTS = {
    "plain": ("a photo of a dog", [["a photo of a dog", 1.0]]),
    "weighted": (
        "a (red:1.4) dog, [blue] cat, ((big)) toy",
        [["a ", 1.0], ["red", 1.4], [" dog, ", 1.0], ["blue", 1 / 1.1], [" cat, ", 1.0]]
        + [["big", 1.1 * 1.1], [" toy", 1.0]],
    ),
    "escaped": (
        r"a dog \(red\), (a \[toy\]:0.5)",
        [["a dog (red), ", 1.0], ["a [toy]", 0.5]],
    ),
    "negative": ("a dog (cat:-0.5)", [["a dog ", 1.0], ["cat", -0.5]]),
    "broken": ("a dog BREAK (a cat:1.3)", [["a dog", 1.0], BREAK, ["a cat", 1.3]]),
    "first": ("BREAK a dog", [["", 1.0], BREAK, ["a dog", 1.0]]),
    # Ends chunks within reach of a comma, and beyond it.
    "long": (LONG * 9, [[LONG * 9, 1.0]]),
    "far": ("dog, " + "cat " * 90, [["dog, " + "cat " * 90, 1.0]]),
    "moved": (
        "cat " * 60 + ", " + "dog " * 13 + "(toy car:1.5)",
        [["cat " * 60 + ", " + "dog " * 13, 1.0], ["toy car", 1.5]],
    ),
    "full": ("cat " * 75, [["cat " * 75, 1.0]]),
}


def chunks(tokenizer, parts):
    """Token ids and weights of each chunk, without start, end and padding."""
    (comma,) = tokenizer(",", add_special_tokens=False).input_ids
    done, chunk, last_comma = [], [], None

    def finish(size):
        nonlocal chunk, last_comma
        done.append(chunk[:size])
        chunk, last_comma = chunk[size:], None

    for part in parts:
        if part == BREAK:
            finish(len(chunk))
            continue
        text, weight = part
        for token in tokenizer(text, add_special_tokens=False).input_ids:
            if token == comma:
                last_comma = len(chunk)
            elif len(chunk) == ROOM and last_comma is not None and ROOM - last_comma <= BACKTRACK:
                finish(last_comma + 1)
            if len(chunk) == ROOM:
                finish(ROOM)
            chunk.append((token, weight))
    if chunk or not done:
        finish(len(chunk))
    return done


def encode(pipe, parts, clip_skip):
    tokenizer, model = pipe.tokenizer, pipe.text_encoder
    states = []
    for chunk in chunks(tokenizer, parts):
        ids = [tokenizer.bos_token_id, *(token for token, _ in chunk), tokenizer.eos_token_id]
        weights = torch.tensor([1.0, *(weight for _, weight in chunk)])
        padding = 77 - len(ids)
        ids = torch.tensor([ids + [tokenizer.pad_token_id] * padding])
        weights = torch.cat([weights, torch.ones(77 - len(weights))])
        output = model(ids, output_hidden_states=True)
        norm = getattr(model, "text_model", model).final_layer_norm
        state = norm(output.hidden_states[-clip_skip])
        mean = state.mean()
        state = state * weights[None, :, None]
        states.append(state * (mean / state.mean()))
    return torch.cat(states, 1)


@torch.no_grad()
def write(out):
    """Write the tensors to a file, and the prompts beside it."""
    torch.set_num_threads(1)
    tensors, cases = {}, []
    for label, skips in [("sd1", [1, 2, 3]), ("sd2", [1, 2])]:
        pipe = fixtures.load(fixtures.DEFAULT_OUT / f"tiny-{label}")
        for name, (prompt, parts) in PROMPTS.items():
            skipped = name in ["plain", "weighted"]
            if label == "sd2" and not skipped:
                continue
            for skip in skips if skipped else [1]:
                key = f"{label}/{name}/{skip}"
                tensors[key] = encode(pipe, parts, skip).contiguous()
                count = tensors[key].shape[1] // 77
                case = {"name": key, "model": f"tiny-{label}", "prompt": prompt, "parts": parts}
                cases.append({**case, "clip_skip": skip, "chunks": count})
    save_file(tensors, out)
    out.with_suffix(".json").write_text(json.dumps(cases, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    out = fixtures.DEFAULT_OUT / "weighted_prompts.safetensors"
    parser.add_argument("--out", type=Path, default=out)
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
