#!/usr/bin/env bash
# Scores every point below a folder of `alignatt eval` with OmniSTEval, and prints our figures
# beside its own.
#   pip install OmniSTEval && bash tools/results/omnisteval.sh build/eval
set -euo pipefail
for folder in "$1"/*/*/; do
  language=$(basename "$(dirname "$folder")")
  case $language in
    zh) how=(--char_level --bleu_tokenizer zh) ;;
    *) how=(--word_level --lang "$language" --bleu_tokenizer 13a) ;;
  esac
  omnisteval longform --speech_segmentation "$folder/segments.yaml" --ref_sentences_file "$folder/references.txt" \
    --hypothesis_file "$folder/hypothesis.jsonl" "${how[@]}" --output_folder "$folder/omnisteval" >"$folder/omnisteval.txt" 2>"$folder/omnisteval.log"
  python3 - "$folder" <<'PY'
import json, pathlib, re, sys
folder = pathlib.Path(sys.argv[1])
ours, theirs = json.loads((folder / "report.json").read_text()), (folder / "omnisteval.txt").read_text()
names = {"BLEU": "bleu", "chrF": "chrf", "LongYAAL (CU)": "long_yaal_ms", "LongYAAL (CA)": "long_yaal_ca_ms", "LongLAAL (CU)": "laal_ms", "LongLAAL (CA)": "laal_ca_ms"}
cells = []
for name, key in names.items():
    found = re.search(rf"^  {re.escape(name)} +([-\d.]+)$", theirs, re.M)
    cells.append(f"{name} {ours.get(key)} / {found[1] if found else '-'}")
print(f"{ours['target_language']} {ours['policy']} {ours['chunk_ms']}, ours / OmniSTEval: " + ", ".join(cells))
PY
done
