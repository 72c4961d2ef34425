"""A Whisper as it is converted for faster-whisper: a real one, tiny and untrained."""

from __future__ import annotations

from pathlib import Path

_SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>",
    "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
_TIMES = 1501  # 0.00 to 30.00 in steps of 20 ms


def tiny_whisper(folder: Path, name: str = "tiny") -> Path:
    """Writes one below `folder`. What it understands is nonsense, the same for the same sound."""
    import torch
    from ctranslate2.converters import TransformersConverter
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

    source, target = folder / f"{name}-source", folder / name
    letters = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=_SPECIAL[0], bos_token=_SPECIAL[0], unk_token=_SPECIAL[0]
    ).save_pretrained(source)
    first = len(letters)
    config = WhisperConfig(
        vocab_size=first + len(_SPECIAL) + _TIMES, num_mel_bins=80, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        eos_token_id=first, bos_token_id=first, pad_token_id=first, decoder_start_token_id=first + 1,
        suppress_tokens=[], begin_suppress_tokens=[first],
    )  # fmt: skip
    torch.manual_seed(7)
    WhisperForConditionalGeneration(config).save_pretrained(source)
    TransformersConverter(str(source), copy_files=["tokenizer.json"]).convert(str(target), quantization="int8")
    return target
