"""Trains the small Qwen3-ForcedAligner: the same network as the ASR, with a head of time classes
(80 ms each) read at every <timestamp>.

Tower, projector, embedding and the first decoder layers start from the trained ASR, so a few
hundred steps are enough. The transcript is given as the published aligner gets it: cleaned words
without spaces, each followed by two <timestamp>, without a chat layout. Resumable.

Run:  python train_aligner.py --init build/demo-pack/asr/last.pt --out build/demo-pack/aligner --steps 1200
"""
import argparse
import json
import os
import random
import time

import torch
import torch.nn.functional as F

import asr_tokenizer
from export_speech import CLASSES, SIZES, batch_windows, make
from features import audio_tokens
from speech_batches import Batches, Store
from train_asr import optimizers


def layout(tok, words, frames):
    """Token ids and the positions of the timestamps (start, end, start, end ...)."""
    stamp, pad = tok.token_to_id("<timestamp>"), tok.token_to_id("<|audio_pad|>")
    ids = [tok.token_to_id("<|audio_start|>")] + [pad] * audio_tokens(frames) + [tok.token_to_id("<|audio_end|>")]
    at = []
    for w in words:
        ids += tok.encode(asr_tokenizer.clean(w), add_special_tokens=False).ids
        at += [len(ids), len(ids) + 1]
        ids += [stamp, stamp]
    return ids, at


def warm(model, ck):
    """Copies every tensor of the ASR that the aligner also has."""
    own = model.state_dict()
    model.load_state_dict({k: ck[k] if k in ck and ck[k].shape == v.shape else v for k, v in own.items()})


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", default="build/demo-pack/speech")
    ap.add_argument("--tok", default="build/demo-pack/tokenizer")
    ap.add_argument("--init", default="build/demo-pack/asr/last.pt")
    ap.add_argument("--out", default="build/demo-pack/aligner")
    ap.add_argument("--steps", type=int, default=1200)
    ap.add_argument("--decay", type=int, default=500)
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--seconds", type=float, default=80)
    ap.add_argument("--seed", type=int, default=2)
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    os.makedirs(a.out, exist_ok=True)
    tok = asr_tokenizer.load(a.tok)
    model = make("aligner", SIZES["aligner"], tok)
    model.score.weight.data.normal_(0, 0.02, generator=torch.Generator().manual_seed(a.seed))
    model.model.audio_tower.to(memory_format=torch.channels_last)
    batch_windows(model)
    opt = optimizers(model, None, a.lr)
    step, spent, path = 0, 0.0, f"{a.out}/last.pt"
    if os.path.exists(path):
        ck = torch.load(path, weights_only=False)
        model.load_state_dict(ck["model"]); opt.load_state_dict(ck["opt"])
        ema, step, spent = ck["ema"], ck["step"], ck["spent"]
    else:
        warm(model, torch.load(a.init, weights_only=False)["ema"])
        ema = {k: v.clone() for k, v in model.state_dict().items()}
    data = iter(torch.utils.data.DataLoader(Batches(Store(a.data, "train,more", timed=True), a.seconds, a.seed, step, cut_p=0.35, empty_p=0.0), batch_size=None, num_workers=1, prefetch_factor=4))
    log, t0, sums, rng = open(f"{a.out}/log.jsonl", "a"), time.time(), [], random.Random(step)
    classes = torch.arange(CLASSES)

    def keep():
        torch.save({"model": model.state_dict(), "opt": opt.state_dict(), "ema": ema, "step": step, "spent": spent + time.time() - t0, "sizes": SIZES["aligner"]}, path + ".new")
        os.replace(path + ".new", path)

    while step < a.steps:
        b = next(data)
        rows, where, gold = [], [], []
        for i, words in enumerate(b["words"]):
            ids, at = layout(tok, [w for w, _, _ in words], int(b["mask"][i].sum()))
            rows.append(ids)
            where += [(i, p) for p in at]
            gold += [t / 80 for _, s, e in words for t in (s, e)]
        n = max(map(len, rows))
        ids = torch.tensor([r + [0] * (n - len(r)) for r in rows])
        where, gold = torch.tensor(where), torch.tensor(gold)
        if not len(where):
            continue
        lr = a.lr * min(1, (step + 1) / 100) * min(1, (a.steps - step) / a.decay)
        with torch.autocast("cpu", torch.bfloat16):
            h = model.model(input_ids=ids, input_features=b["mel"], input_features_mask=b["mask"], use_cache=False).last_hidden_state
            logits = model.score(h[where[:, 0], where[:, 1]]).float()
        # The neighbouring classes share the target: steps of 80 ms are coarse, and one class off is
        # nearly right
        soft = torch.softmax(-((classes[None] - gold[:, None]) / 0.6) ** 2, -1)
        loss = -(soft * F.log_softmax(logits, -1)).sum(-1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step(lr)
        step += 1
        d = min(0.998, step / (step + 20))
        with torch.no_grad():
            for k, v in model.state_dict().items():
                ema[k].lerp_(v, 1 - d)
        off = (logits.argmax(-1) - gold).abs() * 80
        sums.append((loss.item(), off.median().item(), off.quantile(0.9).item()))
        if step % 20 == 0:
            m = [round(sum(x) / len(sums), 3) for x in zip(*sums)]
            row = {"step": step, "loss": m[0], "median_ms": m[1], "p90_ms": m[2], "lr": round(lr, 6), "s": round(spent + time.time() - t0)}
            log.write(json.dumps(row) + "\n"); log.flush()
            print(row, flush=True)
            sums = []
        if step % 50 == 0:
            keep()
    keep()


if __name__ == "__main__":
    main()
