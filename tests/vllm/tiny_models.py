"""Three tiny models for a real vLLM, made here from nothing but a tokenizer. Runs in vLLM's own environment.

Usage: python tiny_models.py FOLDER MINILM_FOLDER

`chat` has hand-set weights: attention and MLP add nothing, and each token's embedding is the output row of the token
that follows it in `ANSWER`. So it says one text, whatever it is asked, token by token through the whole of vLLM.
`score` is a random cross-encoder: its order means nothing, but it is one. `embed` is MiniLM itself.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

ANSWER = ("It is renamed", " into place in one step", " [1].", " A reader never sees", " half of it", " [2].")
_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
_HIDDEN, _CONTEXT, _SHARPNESS = 64, 8_192, 40.0


def main(folder: Path, minilm: Path) -> None:
    """Write `chat`, `score` and a link `embed` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_chat(folder / "chat")
    write_score(folder / "score", minilm)
    if not (folder / "embed").exists():
        (folder / "embed").symlink_to(minilm)


def write_chat(folder: Path) -> None:
    """A two-layer Llama over bytes that says `ANSWER`."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE(vocab={char: at for at, char in enumerate(alphabet)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(["<|end|>", *_ROLES])
    plain.add_tokens([AddedToken(text, normalized=False) for text in ANSWER])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = _TEMPLATE
    end = plain.token_to_id("<|end|>")
    size = -(-plain.get_vocab_size() // 64) * 64
    config = LlamaConfig(
        vocab_size=size, hidden_size=_HIDDEN, intermediate_size=_HIDDEN, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=_CONTEXT, tie_word_embeddings=False, bos_token_id=end,
        eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    said = [plain.token_to_id("<|assistant|>"), *map(plain.token_to_id, ANSWER), end]
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedding, output = model.model.embed_tokens.weight, model.lm_head.weight
        embedding.normal_()
        output.zero_()
        for before, after in itertools.pairwise(said):
            output[after] = _SHARPNESS * embedding[before] / embedding[before].norm()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_score(folder: Path, minilm: Path) -> None:
    """A random cross-encoder with one label over MiniLM's word pieces."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(minilm)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=512, num_labels=1,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
