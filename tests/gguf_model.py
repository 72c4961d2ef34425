"""Makes a GGUF model on the spot: random weights of any shape, a byte-level tokenizer, a chat template.

The tokenizer knows all 256 bytes, so any text can be tokenised, and merges for some words and for pieces of characters,
so that tokens begin and end inside words and inside UTF-8 sequences as real ones do. The same arguments give the same
bytes.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The shape of a real small model (SmolLM2-135M), for benchmarks: make_model(path, **SHAPE_135M, half=True)
SHAPE_135M = {
    "embedding": 576,
    "blocks": 30,
    "heads": 9,
    "kv_heads": 3,
    "feed_forward": 1536,
    "vocabulary": 49152,
}
CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WORDS = """
    the of and to in is that it was for on are with as at be this have from or by not but what all were when
    we there can an your which their said if do will each about how up out them then she many some so these
    would other into has more her two like him see time could no make than first been its who now people my
    made over did down only way find use may water long little very after words called just where most know
    question answer model text name value true false null user system assistant message conversation
"""
CHARACTERS = "äöüßéèñçøåłждиюяαβγλπω你好中文日本語の한국어אבגعربي€„“”–—…✓→😀😂👍🏽🎉🚀❤️"


def byte_alphabet() -> dict[int, str]:
    """GPT-2's spelling of bytes: printable ones stand for themselves, the others move to U+0100 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in printable}
    hidden = (byte for byte in range(256) if byte not in alphabet)
    return alphabet | {byte: chr(0x100 + place) for place, byte in enumerate(hidden)}


def byte_pair_vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges: every prefix of every word becomes a token, so a merge always extends an existing one. Words
    after a space come first, which makes each of them one token."""
    alphabet = byte_alphabet()
    tokens = dict.fromkeys(alphabet[byte] for byte in range(256))
    merges: dict[str, None] = {}
    words = WORDS.split()
    spellings = [*(" " + word for word in words), *words, *CHARACTERS, "\n\n", "  ", "    "]
    for spelling in spellings:
        letters = [alphabet[byte] for byte in spelling.encode()]
        for length in range(2, len(letters) + 1):
            head, last = "".join(letters[: length - 1]), letters[length - 1]
            if head + last not in tokens:
                tokens[head + last] = None
                merges[f"{head} {last}"] = None
    return list(tokens), list(merges)


def make_tiny_model(
    path: Path,
    *,
    endless: bool = False,
    context_length: int = 2048,
    embedding: int = 64,
    blocks: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    feed_forward: int = 128,
    vocabulary: int | None = None,
    half: bool = False,
    chat_template: str | None = CHATML,
    seed: int = 0,
) -> Path:
    """Writes the model to `path` and returns it. `endless`: the end-of-answer token is never the likeliest, so greedy
    answers always reach max_tokens; otherwise they end by themselves after some dozens of tokens. `vocabulary` pads the
    tokenizer to that many tokens, `half` stores matrices as F16."""
    tokens, merges = byte_pair_vocabulary()
    tokens += [f"Ġpad{place}" for place in range((vocabulary or 0) - len(tokens) - len(CONTROL_TOKENS))]
    normal = len(tokens)
    tokens += CONTROL_TOKENS

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny random llama")
    writer.add_context_length(context_length)
    writer.add_embedding_length(embedding)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(embedding // heads)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * normal + [3] * len(CONTROL_TOKENS))  # 1 normal, 3 control
    writer.add_token_merges(merges)
    writer.add_bos_token_id(normal)
    writer.add_eos_token_id(normal + 2)
    writer.add_add_bos_token(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)

    random = np.random.default_rng(seed)
    dtype = np.float16 if half else np.float32

    def matrix(rows: int, columns: int, gain: float = 1.0) -> NDArray[np.floating]:
        # In place: a NumPy float64 scalar would make the weights F64, on which llama.cpp dies of a segmentation fault.
        weights = random.standard_normal((rows, columns), dtype=np.float32)
        weights *= np.float32(gain / columns**0.5)
        return weights.astype(dtype)

    ones = np.ones(embedding, dtype=np.float32)
    kv_width = embedding // heads * kv_heads
    writer.add_tensor("token_embd.weight", matrix(len(tokens), embedding, gain=embedding**0.5))
    for block in range(blocks):
        writer.add_tensor(f"blk.{block}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{block}.attn_q.weight", matrix(embedding, embedding, gain=2.0))
        writer.add_tensor(f"blk.{block}.attn_k.weight", matrix(kv_width, embedding, gain=2.0))
        writer.add_tensor(f"blk.{block}.attn_v.weight", matrix(kv_width, embedding, gain=2.0))
        writer.add_tensor(f"blk.{block}.attn_output.weight", matrix(embedding, embedding, gain=2.0))
        writer.add_tensor(f"blk.{block}.ffn_norm.weight", ones)
        writer.add_tensor(f"blk.{block}.ffn_gate.weight", matrix(feed_forward, embedding))
        writer.add_tensor(f"blk.{block}.ffn_up.weight", matrix(feed_forward, embedding))
        writer.add_tensor(f"blk.{block}.ffn_down.weight", matrix(embedding, feed_forward))
    writer.add_tensor("output_norm.weight", ones)
    output = matrix(len(tokens), embedding, gain=3.0)
    if endless:
        output[normal:] = 0  # logit 0 for control tokens, and some other token is always above it
    else:
        output[normal + 2] *= dtype(2.0)  # louder, so the end of the answer comes up now and then
    writer.add_tensor("output.weight", output)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
