"""Trains the small Qwen3-ASR on the spoken grammar, with transformers' own class.

The synthesizers' word times are used as direct supervision. Two extra heads on the audio rows
(dropped at export) predict for every 80 ms which word is being spoken, and which of its letters.
With them the tower recognises speech after a few hundred steps. With the transcript alone, or with
CTC in addition, nothing improved in the few hundred steps that were tried. The first --tower steps
train the tower only, which halves their cost. Learning rate: warm-up, constant, linear decay over
the last --decay steps. So a run may be extended or ended early by the --steps with which it is
resumed. The moving average of the weights is exported. Resumable: the checkpoint in --out is
continued. Log: OUT/log.jsonl.

Run:  python train_asr.py --data build/demo-pack/speech --tok build/demo-pack/tokenizer --out build/demo-pack/asr --steps 5000
"""
import argparse
import json
import os
import random
import time

import torch
import torch.nn.functional as F

import asr_tokenizer
from export_speech import SIZES, batch_windows, make
from features import audio_tokens
from speech_batches import Batches, Store

HEAD = "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n<|audio_start|>"
TAIL = "<|audio_end|><|im_end|>\n<|im_start|>assistant\n"


def prompt(tok, frames, forced=True):
    ids = lambda s: tok.encode(s, add_special_tokens=False).ids
    return ids(HEAD) + [tok.token_to_id("<|audio_pad|>")] * audio_tokens(frames) + ids(TAIL + ("language English<asr_text>" if forced else ""))


def init(model, seed):
    """Initial weights that keep the variance: at 0.02, the positions would drown the convolutions
    of such a narrow tower."""
    g = torch.Generator().manual_seed(seed)
    for n, p in model.named_parameters():
        if p.dim() == 4:
            p.data.normal_(0, (2 / p[0].numel()) ** 0.5, generator=g)
        elif p.dim() == 2:
            p.data.normal_(0, 0.05 if "embed_tokens" in n else p.shape[1] ** -0.5 * (0.5 if "o_proj" in n or "out_proj" in n or "down_proj" in n or "fc2" in n else 1), generator=g)


def targets(tok, batch, rng, free_p=0.1):
    """Padded ids, the (row, position) pairs to predict from, and their labels."""
    eos, rows, where, gold = tok.token_to_id("<|im_end|>"), [], [], []
    for i, text in enumerate(batch["texts"]):
        frames, free = int(batch["mask"][i].sum()), rng.random() < free_p
        p = prompt(tok, frames, not free)
        t = tok.encode((("language English" if text else "language None") + "<asr_text>" if free else "") + text, add_special_tokens=False).ids + [eos]
        where += [(i, len(p) - 1 + k) for k in range(len(t))]
        gold += t
        rows.append(p + t)
    n = max(map(len, rows))
    return torch.tensor([r + [eos] * (n - len(r)) for r in rows]), torch.tensor(where), torch.tensor(gold)


class optimizers:
    """Muon for the layers' matrices, AdamW for the rest (embedding, convolutions, norms, extra heads)."""

    def __init__(self, model, heads, lr):
        hidden = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed_tokens" not in n and "score" not in n]
        taken = {id(p) for p in hidden}
        rest = [p for p in list(model.parameters()) + list(heads.parameters() if heads else []) if id(p) not in taken]
        self.both = [torch.optim.Muon(hidden, lr=lr, weight_decay=0.02, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
                     torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)]

    def step(self, lr):
        for o in self.both:
            for g in o.param_groups:
                g["lr"] = lr
            o.step()
            o.zero_grad(set_to_none=True)

    def state_dict(self):
        return [o.state_dict() for o in self.both]

    def load_state_dict(self, states):
        for o, s in zip(self.both, states):
            o.load_state_dict(s)


class FrameHeads(torch.nn.Module):
    """Predicts which word, and which letter of it, is spoken at an audio row. Letters are spread
    evenly over the word: this is rough, but needs few classes."""

    def __init__(self, width, lexicon):
        super().__init__()
        self.ids = {w: i + 1 for i, w in enumerate(lexicon)}
        self.norm = torch.nn.LayerNorm(width)
        self.word = torch.nn.Linear(width, len(lexicon) + 1)
        self.letter = torch.nn.Linear(width, 29)

    def labels(self, words, rows):
        if words and words[0][1] is None:                                               # a voice without word times: no labels
            return torch.full((2, rows), -100)
        w, l = torch.zeros(rows, dtype=torch.long), torch.zeros(rows, dtype=torch.long)
        times = torch.tensor([r // 13 * 1000 + r % 13 * 80 for r in range(rows)])
        for text, a, b in words:
            s = asr_tokenizer.clean(text).lower()
            lo, hi = int(torch.searchsorted(times, a)), int(torch.searchsorted(times, b))
            for r in range(lo, hi):
                w[r] = self.ids.get(s, -100)
                c = ord(s[min(len(s) - 1, int((float(times[r]) - a) / max(1, b - a) * len(s)))])
                l[r] = c - 96 if 97 <= c <= 122 else 28
        return w, l

    def forward(self, x, batch):
        """The losses and the word accuracy."""
        lens = [audio_tokens(int(m.sum())) for m in batch["mask"]]
        ws, ls = zip(*(self.labels(w, n) for w, n in zip(batch["words"], lens)))
        w, l, h = torch.cat(ws), torch.cat(ls), self.norm(x)
        lw, known = self.word(h).float(), max(1, int((l >= 0).sum()))
        ce = lambda logits, gold: F.cross_entropy(logits, gold, reduction="sum") / known
        return ce(lw, w), ce(self.letter(h).float(), l), (lw.argmax(-1) == w)[w > 0].sum() / max(1, int((w > 0).sum()))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", default="build/demo-pack/speech")
    ap.add_argument("--tok", default="build/demo-pack/tokenizer")
    ap.add_argument("--out", default="build/demo-pack/asr")
    ap.add_argument("--steps", type=int, default=5000)
    ap.add_argument("--decay", type=int, default=1200)
    ap.add_argument("--lr", type=float, default=1.5e-3)
    ap.add_argument("--seconds", type=float, default=80, help="audio of a batch")
    ap.add_argument("--tower", type=int, default=400, help="steps that train the audio tower only")
    ap.add_argument("--grow", type=int, default=3000, help="steps over which noise and the like grow to full strength")
    ap.add_argument("--easy", type=int, default=1000, help="steps with single whole sentences only")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    os.makedirs(a.out, exist_ok=True)
    tok = asr_tokenizer.load(a.tok)
    model = make("asr", SIZES["asr"], tok)
    model.model.audio_tower.to(memory_format=torch.channels_last)
    init(model, a.seed)
    batch_windows(model)
    store = Store(a.data, "train,more")
    lexicon = sorted({asr_tokenizer.clean(w).lower() for r in Store(a.data, "train").rows for w in r["text"].split()} - {""})
    heads = FrameHeads(SIZES["asr"]["h"], lexicon)
    params = list(model.parameters()) + list(heads.parameters())
    opt = optimizers(model, heads, a.lr)
    ema, step, spent, path = {k: v.clone() for k, v in model.state_dict().items()}, 0, 0.0, f"{a.out}/last.pt"
    if os.path.exists(path):
        ck = torch.load(path, weights_only=False)
        model.load_state_dict(ck["model"]); heads.load_state_dict(ck["heads"]); opt.load_state_dict(ck["opt"])
        ema, step, spent = ck["ema"], ck["step"], ck["spent"]
    print(f"{sum(p.numel() for p in model.parameters())} parameters, from step {step}", flush=True)
    data = iter(torch.utils.data.DataLoader(Batches(store, a.seconds, a.seed, step, a.easy, a.grow), batch_size=None, num_workers=1, prefetch_factor=4))
    rng, t0, heard, sums = random.Random(a.seed * 7919 + step), time.time(), 0.0, []
    log = open(f"{a.out}/log.jsonl", "a")

    def keep():
        torch.save({"model": model.state_dict(), "heads": heads.state_dict(), "opt": opt.state_dict(), "ema": ema, "step": step,
                    "spent": spent + time.time() - t0, "sizes": SIZES["asr"]}, path + ".new")
        os.replace(path + ".new", path)

    while step < a.steps:
        b = next(data)
        lr = a.lr * min(1, (step + 1) / 100) * min(1, (a.steps - step) / a.decay)
        with torch.autocast("cpu", torch.bfloat16):
            if step < a.tower:
                rows = model.model.get_audio_features(b["mel"], b["mask"]).pooler_output
            else:
                ids, where, gold = targets(tok, b, rng)
                out = model.model(input_ids=ids, input_features=b["mel"], input_features_mask=b["mask"], use_cache=False)
                rows, logits = out.audio_hidden_states, model.lm_head(out.last_hidden_state[where[:, 0], where[:, 1]]).float()
            word, letter, hit = heads(rows, b)
        ce = F.cross_entropy(logits, gold, label_smoothing=0.05) if step >= a.tower else torch.zeros(())
        loss = ce + 0.5 * word + 0.5 * letter
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step(lr)
        step += 1
        d = min(0.999, step / (step + 30))
        with torch.no_grad():
            for k, v in model.state_dict().items():
                ema[k].lerp_(v, 1 - d)
        acc = (logits.argmax(-1) == gold).float().mean().item() if step > a.tower else 0.0
        heard += float(b["mask"].sum()) / 100
        sums.append((ce.item(), acc, word.item(), letter.item(), hit.item(), float(norm)))
        if step % 20 == 0:
            m = [round(sum(x) / len(sums), 4) for x in zip(*sums)]
            row = {"step": step, "ce": m[0], "acc": m[1], "word": m[2], "letter": m[3], "hit": m[4], "norm": m[5], "lr": round(lr, 6), "s": round(spent + time.time() - t0), "cpu": round(time.process_time()), "audio_s": round(heard)}
            log.write(json.dumps(row) + "\n"); log.flush()
            print(row, flush=True)
            sums = []
        if step % 50 == 0:
            keep()
    keep()


if __name__ == "__main__":
    main()
