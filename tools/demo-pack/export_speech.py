"""The two speech models in the published layout: configuration, tensor names, files. Used by the
training and evaluation scripts.

`make(kind, sizes, tok)` returns a model of transformers' own class.
`save(model, kind, out, tok_dir)` writes the files of a release: config.json with thinker_config,
model.safetensors with `thinker.` names in bf16, generation_config.json, preprocessor_config.json,
chat_template.json, vocab.json, merges.txt, tokenizer_config.json. `load(folder)` reads them back
(bf16 weights, f32 arithmetic).

Run:  python export_speech.py CHECKPOINT.pt OUT --tok build/demo-pack/tokenizer [--kind asr|aligner]
"""
import argparse
import json
import os
import shutil
import types

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3ASRConfig, Qwen3ASRForConditionalGeneration, Qwen3ASRForTokenClassification

import asr_tokenizer

SIZES = {  # tower width, layers, heads, ffn, convolution channels; decoder width, layers, heads, kv heads, head dim, ffn
    "asr": dict(d=192, tower=4, heads=6, ffn=512, conv=32, h=192, layers=3, nh=6, nkv=2, hd=32, inter=512),
    "aligner": dict(d=192, tower=4, heads=6, ffn=512, conv=32, h=192, layers=2, nh=6, nkv=2, hd=32, inter=512),
}
# The tower's attention windows, in mel frames. The release has 800. Positions restart every 100
# frames, so with 800 a narrow tower might confuse a place with the same place in another second.
# Over the first 260 steps both trained alike; no longer run has compared them. With 100, a stream
# can also keep every finished second.
WINDOW = 100
CLASSES = 500            # x 80 ms = 40 s
LANGUAGES = ["English"]
TEMPLATE = (
    "{%- set ns = namespace(system='', audio='') -%}"
    "{%- for m in messages -%}"
    "{%- if m.role == 'system' -%}{%- if m.content is string -%}{%- set ns.system = ns.system + m.content -%}{%- else -%}"
    "{%- for c in m.content -%}{%- if c.type == 'text' -%}{%- set ns.system = ns.system + c.text -%}{%- endif -%}{%- endfor -%}{%- endif -%}"
    "{%- elif m.content is not string -%}"
    "{%- for c in m.content -%}{%- if c.type == 'audio' or ('audio' in c) or ('audio_url' in c) -%}"
    "{%- set ns.audio = ns.audio + '<|audio_start|><|audio_pad|><|audio_end|>' -%}{%- endif -%}{%- endfor -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{{- '<|im_start|>system\\n' + ns.system + '<|im_end|>\\n<|im_start|>user\\n' + ns.audio + '<|im_end|>\\n' -}}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}")


def make(kind, s, tok, classes=CLASSES):
    ids = {k: tok.token_to_id(v) for k, v in dict(end="<|endoftext|>", eos="<|im_end|>", audio="<|audio_pad|>", stamp="<timestamp>").items()}
    audio = dict(model_type="qwen3_asr_encoder", num_mel_bins=128, n_window=50, n_window_infer=s.get("window", WINDOW), d_model=s["d"], encoder_layers=s["tower"],
                 encoder_attention_heads=s["heads"], encoder_ffn_dim=s["ffn"], downsample_hidden_size=s["conv"], output_dim=s["h"])
    text = dict(model_type="qwen3", vocab_size=tok.get_vocab_size(), hidden_size=s["h"], intermediate_size=s["inter"], num_hidden_layers=s["layers"],
                num_attention_heads=s["nh"], num_key_value_heads=s["nkv"], head_dim=s["hd"], max_position_embeddings=65536,
                tie_word_embeddings=kind == "asr", rope_parameters={"rope_theta": 1e6, "rope_type": "default"})
    more = {} if kind == "asr" else {"num_labels": classes}
    cfg = Qwen3ASRConfig(audio_config=audio, text_config=text, audio_token_id=ids["audio"], timestamp_token_id=ids["stamp"], pad_token_id=ids["end"],
                         eos_token_id=[ids["end"], ids["eos"]], tie_word_embeddings=kind == "asr", **more)
    cfg._attn_implementation = "eager"        # faster on a CPU at these sizes; the windows are respected either way
    model = (Qwen3ASRForConditionalGeneration if kind == "asr" else Qwen3ASRForTokenClassification)(cfg)
    model.set_attn_implementation("eager")
    return model


def batch_windows(model):
    """Computes the tower's windowed attention for all windows of a batch at once. transformers
    loops over them in Python, which costs more than the arithmetic when training on a CPU. The
    result is the same (checked once at the start); evaluation and export use transformers' own
    code."""

    def forward(self, hidden_states, cu_seqlens, max_seqlen=None, **kw):
        lens = cu_seqlens[1:] - cu_seqlens[:-1]
        n, c = int(lens.max()), torch.arange(int(lens.max()))
        inside = c[None] < lens[:, None]                                                    # [windows, n]
        where = (cu_seqlens[:-1, None] + c[None])[inside]
        heads = lambda y: y.new_zeros(len(lens), n, self.embed_dim).index_put((inside.nonzero(as_tuple=True)), y[where]).view(len(lens), n, self.num_heads, -1).transpose(1, 2)
        q, k, v = heads(self.q_proj(hidden_states)), heads(self.k_proj(hidden_states)), heads(self.v_proj(hidden_states))
        a = (q @ k.transpose(2, 3)) * self.scaling
        a = a.masked_fill(~inside[:, None, None], -1e4).softmax(-1, dtype=torch.float32).to(v.dtype)
        return self.out_proj((a @ v).transpose(1, 2).reshape(len(lens), n, -1)[inside])

    x = torch.randn(31, model.config.audio_config.d_model)
    cu = torch.tensor([0, 13, 18, 31])
    for layer in model.model.audio_tower.layers:
        with torch.no_grad():
            want = layer.self_attn(x, cu)
            layer.self_attn.forward = types.MethodType(forward, layer.self_attn)
            assert (layer.self_attn(x, cu) - want).abs().max() < 1e-4


def names(key):
    """transformers' tensor name -> the release's"""
    for a, b in (("model.audio_tower.", "thinker.audio_tower."), ("model.multi_modal_projector.linear_1", "thinker.audio_tower.proj1"),
                 ("model.multi_modal_projector.linear_2", "thinker.audio_tower.proj2"), ("model.language_model.", "thinker.model."),
                 ("lm_head.", "thinker.lm_head."), ("score.", "thinker.lm_head.")):
        if key.startswith(a):
            return b + key[len(a):]
    raise KeyError(key)


def published_config(model, kind, tok):
    a, t = model.config.audio_config, model.config.text_config
    half = t.head_dim // 2
    section = [half - 2 * (half // 3), half // 3, half // 3]
    thinker = {
        "model_type": "qwen3_asr" if kind == "asr" else "qwen3_forced_aligner",
        "audio_config": {"model_type": "qwen3_asr_audio_encoder", "num_mel_bins": 128, "n_window": 50, "conv_chunksize": 500, "max_source_positions": 1500,
                         "activation_function": "gelu", "dropout": 0, "attention_dropout": 0, "activation_dropout": 0, "scale_embedding": False,
                         "output_dim": a.output_dim, "d_model": a.d_model, "encoder_layers": a.encoder_layers, "encoder_attention_heads": a.encoder_attention_heads,
                         "encoder_ffn_dim": a.encoder_ffn_dim, "downsample_hidden_size": a.downsample_hidden_size, "n_window_infer": a.n_window_infer},
        "text_config": {"model_type": "qwen3_asr_text", "vocab_size": t.vocab_size, "hidden_act": "silu", "max_position_embeddings": 65536, "rms_norm_eps": 1e-06,
                        "rope_theta": 1000000, "rope_scaling": {"rope_type": "default", "type": "default", "interleaved": True, "mrope_interleaved": True, "mrope_section": section},
                        "tie_word_embeddings": kind == "asr", "attention_bias": False, "attention_dropout": 0.0, "use_cache": True, "dtype": "bfloat16",
                        "hidden_size": t.hidden_size, "intermediate_size": t.intermediate_size, "num_hidden_layers": t.num_hidden_layers,
                        "num_attention_heads": t.num_attention_heads, "num_key_value_heads": t.num_key_value_heads, "head_dim": t.head_dim},
        "audio_token_id": tok.token_to_id("<|audio_pad|>"), "audio_start_token_id": tok.token_to_id("<|audio_start|>"), "audio_end_token_id": tok.token_to_id("<|audio_end|>"),
        "dtype": "bfloat16", "initializer_range": 0.02}
    top = {"architectures": ["Qwen3ASRForConditionalGeneration"], "model_type": "qwen3_asr", "thinker_config": thinker, "support_languages": LANGUAGES}
    if kind == "aligner":
        stamp = {"timestamp_token_id": tok.token_to_id("<timestamp>"), "timestamp_segment_time": 80}
        thinker.update(classify_num=model.config.num_labels, **stamp)
        top.update(stamp)
    return top


def save(model, kind, out, tok_dir):
    os.makedirs(out, exist_ok=True)
    tok = asr_tokenizer.load(tok_dir)
    sd = {names(k): v.detach().to(torch.bfloat16).contiguous().clone() for k, v in model.state_dict().items()}
    if kind == "asr":
        sd["thinker.lm_head.weight"] = sd["thinker.model.embed_tokens.weight"].clone()     # tied, and stored twice as in the release
    save_file(sd, f"{out}/model.safetensors.new", metadata={"format": "pt"})
    os.replace(f"{out}/model.safetensors.new", f"{out}/model.safetensors")
    put = lambda n, v: open(f"{out}/{n}", "w").write(json.dumps(v, indent=1, ensure_ascii=False) + "\n")
    put("config.json", published_config(model, kind, tok))
    end, eos = tok.token_to_id("<|endoftext|>"), tok.token_to_id("<|im_end|>")
    put("generation_config.json", {"do_sample": False, "eos_token_id": [end, eos], "pad_token_id": end})
    put("preprocessor_config.json", {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128, "sampling_rate": 16000, "hop_length": 160, "n_fft": 400,
                                     "chunk_length": 30, "n_samples": 480000, "nb_max_frames": 3000, "padding_side": "right", "padding_value": 0.0, "dither": 0.0,
                                     "return_attention_mask": True})
    put("chat_template.json", {"chat_template": TEMPLATE})
    for f in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copyfile(f"{tok_dir}/{f}", f"{out}/{f}")
    return sum(os.path.getsize(f"{out}/{f}") for f in os.listdir(out))


def load(folder):
    """(model, tokenizer, kind) from a folder in the release's layout; the tensor names must
    match."""
    c = json.load(open(f"{folder}/config.json"))["thinker_config"]
    kind, a, t = ("aligner" if "classify_num" in c else "asr"), c["audio_config"], c["text_config"]
    s = dict(d=a["d_model"], tower=a["encoder_layers"], heads=a["encoder_attention_heads"], ffn=a["encoder_ffn_dim"], conv=a["downsample_hidden_size"], h=t["hidden_size"],
             layers=t["num_hidden_layers"], nh=t["num_attention_heads"], nkv=t["num_key_value_heads"], hd=t["head_dim"], inter=t["intermediate_size"], window=a["n_window_infer"])
    tok = asr_tokenizer.load(folder)
    model = make(kind, s, tok, c.get("classify_num", CLASSES))
    w = load_file(f"{folder}/model.safetensors")
    model.load_state_dict({k: w.pop(names(k)).float() for k in model.state_dict()}, strict=True)
    assert not w, sorted(w)
    return model.eval(), tok, kind


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("checkpoint")
    ap.add_argument("out")
    ap.add_argument("--tok", default="build/demo-pack/tokenizer")
    ap.add_argument("--kind", default="asr")
    a = ap.parse_args()
    ck = torch.load(a.checkpoint, map_location="cpu", weights_only=False)
    m = make(a.kind, ck["sizes"], asr_tokenizer.load(a.tok))
    m.load_state_dict(ck["ema"])
    print(f"{a.out}: step {ck['step']}, {sum(p.numel() for p in m.parameters())} parameters, {save(m, a.kind, a.out, a.tok)} bytes")
    load(a.out)
