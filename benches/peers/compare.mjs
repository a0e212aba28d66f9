// llama.cpp and `alignatt bench` on the same GGUF file in turn; see README.md.
import { execFileSync } from 'node:child_process';
import os from 'node:os';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'cpu' },
    rounds: { type: 'string', default: '3' },
    prompt: { type: 'string', default: '256' },
    tokens: { type: 'string', default: '32' },
    threads: { type: 'string', default: String(os.availableParallelism()) },
    program: { type: 'string', default: new URL('../../target/release/alignatt', import.meta.url).pathname },
  },
});
const [model] = positionals;
if (!model) throw new Error('usage: node compare.mjs MODEL.gguf [--device cpu|vulkan] [--rounds N]');
const { device, prompt, tokens, threads } = values;

const run = (program, args) => {
  const env = { ...process.env, RAYON_NUM_THREADS: threads };
  const lines = execFileSync(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'] }).toString().trim().split('\n');
  return JSON.parse(lines.at(-1));
};
const llama = () => run('node', [new URL('llama.mjs', import.meta.url).pathname, model, device, prompt, tokens, threads]);
const ours = () => {
  const sizes = ['--prompt', prompt, '--tokens', tokens, '--rounds', '1'];
  const report = run(values.program, ['bench', model, '--device', device, ...sizes, '--format', 'json']);
  return { prompt: report.prompt_tokens_per_second, decode: report.decoded_tokens_per_second };
};

const rounds = { llama: [], ours: [] };
for (let round = 0; round < Number(values.rounds); round++) {
  rounds.llama.push(llama());
  rounds.ours.push(ours());
}
const median = (all) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)];
console.log(`${model.split('/').at(-1)} on ${device}, ${threads} threads, medians of ${values.rounds} rounds in turn`);
for (const what of ['prompt', 'decode']) {
  const [theirs, own] = ['llama', 'ours'].map((who) => median(rounds[who].map((round) => round[what])));
  const spread = (who) => rounds[who].map((round) => round[what].toFixed(1)).join(' ');
  const ratio = (own / theirs).toFixed(2);
  console.log(`${what}: llama.cpp ${theirs.toFixed(1)}, alignatt ${own.toFixed(1)} tokens/s, ratio ${ratio}`);
  console.log(`  llama.cpp ${spread('llama')} | alignatt ${spread('ours')}`);
}
