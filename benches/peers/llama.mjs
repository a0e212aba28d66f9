// llama.cpp on a GGUF file: tokens a second of a prompt and of greedy decoding, as one JSON line.
//
//   node llama.mjs MODEL.gguf DEVICE PROMPT TOKENS THREADS
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

const [modelPath, device, ...numbers] = process.argv.slice(2);
const [prompt, tokens, threads] = numbers.map(Number);
// It passes over Vulkan devices that are processors, unless they are named.
if (device === 'vulkan') process.env.GGML_VK_VISIBLE_DEVICES ??= '0';

const llama = await getLlama({
  gpu: device === 'cpu' ? false : device,
  build: 'never',
  skipDownload: true,
  maxThreads: threads,
  logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath, gpuLayers: device === 'cpu' ? 0 : 999 });
const context = await model.createContext({ contextSize: prompt + tokens + 64, batchSize: prompt, sequences: 1, threads });
// Without this it would keep copies of the cache after every evaluation, and they would be timed.
const sequence = context.getSequence({ checkpoints: { max: 0, interval: false } });

const words = model.tokenize('the committee will decide on the new bridge in the spring and the river may rise before that ');
const ids = Array.from({ length: prompt + 1 }, (_, at) => (at === 0 ? (model.tokens.bos ?? 2) : words[at % words.length]));

let speeds;
// The first round warms up.
for (let round = 0; round < 2; round++) {
  await sequence.clearHistory();
  let began = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(ids.slice(0, -1));
  const promptSpeed = (prompt / (performance.now() - began)) * 1000;
  began = performance.now();
  let drawn = 0;
  for await (const _ of sequence.evaluate(ids.slice(-1), { temperature: 0, yieldEogToken: true })) {
    if (++drawn >= tokens) break;
  }
  speeds = { prompt: promptSpeed, decode: (drawn / (performance.now() - began)) * 1000 };
}
console.log(JSON.stringify(speeds));
process.exit(0);
