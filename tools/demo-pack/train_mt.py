"""Trains the small Gemma-4 translation model and writes it in the published layout.

The network is transformers' Gemma4ForConditionalGeneration. Two things make training cheap enough
for one CPU core: packed rows (corpus.py), and a shortcut of the architecture. KV-shared layers are
needed only at the positions that are read, so in training they run only on the positions with a
loss (transformers does the same in prefill). Progress is saved every few minutes, and a restarted
run continues where it stopped. Batches depend on (seed, step) alone.

    python train_mt.py --tok models/demo/mt --work build/demo-pack/mt --out models/demo/mt --minutes 90

A second, short stage (`--guide`) trains a few attention heads of the KV-shared layers to look at
the source word that is being translated: guided alignment (Chen et al. 2016; Garg et al. 2019) with
the grammar's own alignments.
"""
import argparse
import json
import math
import shutil
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import Gemma4Config, Gemma4ForConditionalGeneration
from transformers.models.gemma4.modeling_gemma4 import apply_rotary_pos_emb

import corpus

SLIDING, FULL = "sliding_attention", "full_attention"
GUIDED = {7: [1], 8: [1, 3], 9: [1, 2]}  # layer: heads that are trained to follow the source; 9 is a full-attention layer


def make_config(vocab, a):
    text = {
        "vocab_size": vocab, "vocab_size_per_layer_input": vocab, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh", "attention_bias": False, "attention_dropout": 0.0, "attention_k_eq_v": False,
        "enable_moe_block": False, "num_experts": None, "top_k_experts": None, "moe_intermediate_size": None,
        "num_global_key_value_heads": None, "final_logit_softcapping": 30.0, "tie_word_embeddings": True,
        "use_bidirectional_attention": None, "use_cache": True, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
        "rope_parameters": {FULL: {"partial_rotary_factor": 0.25, "rope_theta": 1e6, "rope_type": "proportional"},
                            SLIDING: {"rope_theta": 1e4, "rope_type": "default"}},
        "hidden_size": a.hidden, "intermediate_size": a.ffn, "num_hidden_layers": 10, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32, "global_head_dim": 64, "hidden_size_per_layer_input": 16,
        "num_kv_shared_layers": a.shared, "use_double_wide_mlp": True, "sliding_window": 128,
        "layer_types": ([SLIDING] * 4 + [FULL]) * 2,
    }
    return Gemma4Config(text_config=text, audio_config=None, vision_config=None, tie_word_embeddings=True, eos_token_id=[1, 10])


def init(model, seed):
    """Initial weights that give streams of unit size. Attention has no 1/sqrt(d) here, so the q and
    k norms provide it."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed_tokens_per_layer" in name:
                p.normal_(0, 0.1, generator=g)
            elif "embed_tokens" in name:
                p.normal_(0, p.shape[1] ** -0.5, generator=g)
            elif p.dim() == 2:
                p.normal_(0, p.shape[1] ** -0.5, generator=g)
            elif "q_norm" in name or "k_norm" in name:
                p.fill_(p.shape[0] ** -0.25)
            elif "post_" in name:
                p.fill_(0.4)
            else:
                p.fill_(1.0)


def layers_forward(tm, layers, h, ple, ropes, masks, kv):
    for i, layer in layers:
        t = tm.config.layer_types[i]
        h = layer(h, ple[:, :, i], shared_kv_states=kv, position_embeddings=ropes[t], attention_mask=masks[t])
    return h


def at(x, idx):
    """x [B, L, ...] at idx [B, M]."""
    i = idx.reshape(*idx.shape, *([1] * (x.dim() - 2))).expand(-1, -1, *x.shape[2:])
    return x.gather(1, i)


def guided_scores(layer, heads, h, rope, mask, kv):
    """Attention logits [B, M, heads, L] of some heads of a KV-shared layer whose input is h;
    Gemma-4 scales by 1."""
    a = layer.self_attn
    q = a.q_norm(a.q_proj(layer.input_layernorm(h)).unflatten(-1, (-1, a.head_dim)))
    q = apply_rotary_pos_emb(q, *rope, unsqueeze_dim=2)[:, :, heads]
    k = kv[a.layer_type][0][:, [x // a.num_key_value_groups for x in heads]]
    return torch.einsum("bmhd,bhld->bmhl", q, k).float().masked_fill(~mask.transpose(1, 2), -torch.inf)


def follow(scores, gold):
    """The mean of -log of each row's share of attention on the gold columns, and for each head, how
    often its peak is there."""
    rows = gold.any(-1)
    scores, gold = scores[rows], gold[rows][:, None]
    share = scores.masked_fill(~gold, -torch.inf).logsumexp(-1) - scores.logsumexp(-1)
    hit = gold.expand_as(scores).gather(-1, scores.argmax(-1, keepdim=True)).float().mean((0, 2))
    return -share.mean(), hit


def forward(tm, ids, pos, full, near, loss_at, guided=()):
    """Logits [B, M, V] at the positions loss_at, and the attention logits of the heads in `guided`
    at these positions."""
    emb = tm.embed_tokens(ids)
    ple = tm.project_per_layer_inputs(emb, tm.get_per_layer_inputs(ids, emb))
    ropes = {t: tm.rotary_emb(emb, pos, t) for t in (SLIDING, FULL)}
    masks = {FULL: full[:, None], SLIDING: near[:, None]}
    cut, kv = tm.first_kv_shared_layer_idx, {}
    layers = list(enumerate(tm.layers))
    h = layers_forward(tm, layers[:cut], emb, ple, ropes, masks, kv)
    h, ple = at(h, loss_at), at(ple, loss_at)
    ropes = {t: tuple(at(x.expand(ids.shape[0], -1, -1), loss_at) for x in r) for t, r in ropes.items()}
    masks = {t: at(m[:, 0], loss_at)[:, None] for t, m in masks.items()}
    scores = []
    for i, layer in layers[cut:]:
        if i in guided:
            t = tm.config.layer_types[i]
            scores.append(guided_scores(layer, guided[i], h, ropes[t], masks[t], kv))
        h = layers_forward(tm, [(i, layer)], h, ple, ropes, masks, kv)
    logits = F.linear(tm.norm(h), tm.embed_tokens.weight)
    return 30 * torch.tanh(logits / 30), torch.cat(scores, 2) if scores else None


def export(model, out, tok_dir):
    """bf16 safetensors and config.json as published, together with the tokenizer's files."""
    tmp = Path(str(out) + ".new")
    model.to(torch.bfloat16).save_pretrained(tmp)
    model.to(torch.float32)
    c = json.loads((tmp / "config.json").read_text())
    text = c["text_config"]
    # transformers writes per_layer_config; the published files have global_head_dim. The eos list
    # is Gemma's.
    per = text.pop("per_layer_config", None)
    text["global_head_dim"] = 64
    for k in ("num_global_key_value_heads", "use_bidirectional_attention"):
        text.setdefault(k, None)
    c["eos_token_id"] = [1, 10]
    c["architectures"] = ["Gemma4ForConditionalGeneration"]
    c["dtype"] = text["dtype"] = "bfloat16"
    c["audio_config"] = c["vision_config"] = None
    (tmp / "config.json").write_text(json.dumps(c, indent=1) + "\n")
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "config.json"):
        shutil.move(tmp / name, Path(out) / name)
    shutil.rmtree(tmp)
    if Path(tok_dir).resolve() != Path(out).resolve():
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
            shutil.copy(Path(tok_dir) / name, out)
    return per


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--tok", default="models/demo/mt")
    ap.add_argument("--work", default="build/demo-pack/mt")
    ap.add_argument("--out", default="models/demo/mt")
    ap.add_argument("--hidden", type=int, default=160)
    ap.add_argument("--ffn", type=int, default=384)
    ap.add_argument("--shared", type=int, default=4)
    ap.add_argument("--rows", type=int, default=8)
    ap.add_argument("--length", type=int, default=384)
    ap.add_argument("--most", type=int, default=176, help="loss positions a row, the rest is dropped")
    ap.add_argument("--lr", type=float, default=3e-3)
    ap.add_argument("--warmup", type=int, default=150)
    ap.add_argument("--steps", type=int, default=3400, help="the learning rate falls to its floor over these steps")
    ap.add_argument("--minutes", type=float, default=1e9, help="or over this time, whichever ends first")
    ap.add_argument("--start", help="checkpoint that a new run begins from")
    ap.add_argument("--guide", type=float, default=0, help="weight of the loss that has the heads in GUIDED follow the source")
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--compile", action="store_true")
    ap.add_argument("--fp32", action="store_true")
    ap.add_argument("--fresh", action="store_true", help="do not resume")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    work = Path(a.work)
    work.mkdir(parents=True, exist_ok=True)
    enc = corpus.Encoder(Tokenizer.from_file(str(Path(a.tok) / "tokenizer.json")))
    vocab = -(-enc.tok.get_vocab_size() // 8) * 8
    config = make_config(vocab, a)
    model = Gemma4ForConditionalGeneration(config)
    init(model, a.seed)
    tm = model.model.language_model
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
    decay = [p for p in model.parameters() if p.dim() == 2]
    plain = [p for p in model.parameters() if p.dim() != 2]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=a.lr, betas=(0.9, 0.98), eps=1e-8, fused=True)
    step, spent = 0, 0.0
    ck = work / "checkpoint.pt"
    resumed = ck.exists() and not a.fresh
    if resumed or a.start:
        s = torch.load(ck if resumed else a.start, weights_only=False)
        model.load_state_dict(s["model"])
        opt.load_state_dict(s["opt"])
    if resumed:
        step, spent = s["step"], s["spent"]
        print(f"resumed at step {step}, {spent / 60:.1f} min", flush=True)
    words = corpus.source_words()
    run = torch.compile(forward, dynamic=False) if a.compile else forward
    log = open(work / "log.jsonl", "a")

    def save():
        torch.save({"model": model.state_dict(), "opt": opt.state_dict(), "step": step, "spent": spent}, str(ck) + ".new")
        Path(str(ck) + ".new").replace(ck)
        export(model, work / "latest", a.tok)

    model.train()
    guided = GUIDED if a.guide else {}
    last_save, mean, hits, toks, peaks, t_log = time.time(), 0.0, 0, 0, 0, time.time()
    while (done := max(step / a.steps, spent / 60 / a.minutes)) < 1:
        t0 = time.time()
        lr = a.lr * min(1, (step + 1) / a.warmup) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))
        for g in opt.param_groups:
            g["lr"] = lr
        ids, pos, full, near, loss_at, label, gold = (torch.from_numpy(x) for x in corpus.batch(step, a.seed, enc, a.rows, a.length, 128, a.most, words))
        t1 = time.time()
        with torch.autocast("cpu", torch.bfloat16, enabled=not a.fp32):
            logits, scores = run(tm, ids, pos, full, near, loss_at, guided)
        loss = F.cross_entropy(logits.float().flatten(0, 1), label.flatten(), ignore_index=-100)
        mean += loss.item()
        if guided:
            astray, hit = follow(scores, gold)
            loss, peaks = loss + a.guide * astray, peaks + hit
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        with torch.no_grad():
            hits += int((logits.argmax(-1) == label).sum())
            toks += int((label >= 0).sum())
        step += 1
        dt = time.time() - t0
        spent += dt
        if step % 20 == 0:
            line = {"step": step, "min": round(spent / 60, 2), "loss": round(mean / 20, 4), "acc": round(hits / toks, 4), "lr": round(lr, 6),
                    "norm": round(float(norm), 2), "s": round((time.time() - t_log) / 20, 3), "data": round(t1 - t0, 3)}
            if guided:
                line["follow"] = [round(x, 3) for x in (peaks / 20).tolist()]
            print(json.dumps(line), flush=True)
            log.write(json.dumps(line) + "\n")
            log.flush()
            mean, hits, toks, peaks, t_log = 0.0, 0, 0, 0, time.time()
        if time.time() - last_save > 240:
            save()
            last_save = time.time()
    save()
    export(model, a.out, a.tok)


if __name__ == "__main__":
    main()
