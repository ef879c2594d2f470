"""Small synthetic artefacts in the published layout: rows with continuations inside, vectors, a trainer's checkpoint, programs."""

import json

import numpy as np
import torch
import transformers
from programs import OMP, SERIAL

STEPS = 6
DIRECTIONS = ("cuda:omp", "serial:cuda")


def write(folder, width=16, train=20, valid=6):
    """train.jsonl, train_filtered.jsonl, valid.jsonl, vectors/, checkpoint-40/, inference_result_demo.jsonl; the last tensors [K, D]."""
    rng = np.random.default_rng(0)
    (folder / "vectors").mkdir(parents=True)
    axis = rng.normal(size=width) / np.sqrt(width)
    kernels = [f"kernel{i}" for i in range(train)], [f"held{i}" for i in range(valid)]
    rows = [[_row(folder, rng, axis, kernel, direction) for kernel in some for direction in DIRECTIONS] for some in kernels]
    for name, some in (("train", rows[0] + rows[1]), ("train_filtered", rows[0]), ("valid", rows[1])):
        write_rows(folder / f"{name}.jsonl", some)
    write_checkpoint(folder / "checkpoint-40", width)
    write_rows(folder / "inference_result_demo.jsonl", programs())


def _row(folder, rng, axis, kernel, direction):
    root, path = f"{kernel}_{direction.replace(':', '_')}", rng.normal(size=(STEPS, len(axis)))
    inside = []
    for i in range(STEPS):
        branch = np.concatenate([path[:i], rng.normal(size=(STEPS - i, len(axis)))])
        inside.append({"vector_index": i, "resample_id": 0, "score": _outcome(folder, rng, axis, f"{root}_v{i}_r0", branch)})
    original = {"id": root, "kernel_name": kernel, "direction": direction, "score": _outcome(folder, rng, axis, root, path)}
    return original | {"generated_code": f"int main() {{}} // {root}", "branches": inside, "prompt_tokens": 9}


def _outcome(folder, rng, axis, name, path):
    """Save a path as bfloat16; its reward of 0, 0.3, 0.55 or 1 hangs on one direction of its latents."""
    torch.save(torch.tensor(path).to(torch.bfloat16), folder / "vectors" / f"{name}.pt")
    return (0.0, 0.3, 0.55, 1.0)[min(3, int(4 / (1 + np.exp(-4 * path.mean(0) @ axis - 0.3 * rng.normal()))))]


def write_rows(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")


def write_checkpoint(folder, width, hidden=32):
    """A trainer's checkpoint: a Qwen2 body, a value head and an adapter, in one .bin file; (adapter, norm, body, head)."""
    torch.manual_seed(0)
    sizes = {"hidden_size": hidden, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(vocab_size=30, **sizes)).eval()
    adapter, norm, head = torch.nn.Linear(width, hidden), torch.nn.LayerNorm(hidden), torch.nn.Linear(hidden, 1)
    model.config.save_pretrained(folder)
    parts = {"latent_proj": adapter, "latent_norm": norm, "v_head.summary": head}
    named = {f"{prefix}.{name}": value for prefix, part in parts.items() for name, value in part.state_dict().items()}
    torch.save(model.state_dict() | named, folder / "pytorch_model.bin")
    return adapter, norm, model.model, head


def programs():
    """Answers of another project: right, wrong, in prose, for a task of the bundled suite and for their own source."""
    own = {"benchmark": "total", "translation": "serial:omp", "input_code": SERIAL, "run_args": ["10 1", "50000 3"]}
    return [
        own | {"id": "right", "generated_code": f"Here it is:\n```cpp\n{OMP}```\n"},
        own | {"id": "wrong", "generated_code": OMP.replace("x[i];", "x[0];")},
        {"id": "broken", "benchmark": "saxpy", "translation": "serial:omp", "generated_code": "int main() { return 1 }"},
        {"id": "lost", "benchmark": "no-such-kernel", "translation": "serial:omp", "generated_code": OMP},
    ]
