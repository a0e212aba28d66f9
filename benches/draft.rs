//! Measures what it costs to know where a draft looked, relative to the draft itself, and how much
//! is saved by computing nothing twice.
//!
//! `cargo bench --bench draft [demo] [e4b] [talk]` runs all three parts, or the parts that are
//! named.
//!
//! * `demo`: drafts of the demo pack's translation model with 0, 4 and 8 armed heads.
//! * `e4b`: the same costs at the shapes of Gemma-4-E4B, with random weights. The model has only
//!   the six layers that hold E4B's eight heads, and an eighth of its vocabulary: about a seventh
//!   of the work for a token.
//! * `talk`: a talk played through the cascade, once with the translator as it is and once with a
//!   translator that keeps nothing from draft to draft.
//!
//! The bench runs on the CPU and on every adapter, or only on `ALIGNATT_DEVICE`. On a software
//! adapter `e4b` and `talk` take minutes, so they run there only if the variable names that
//! adapter. The variants of a draft take turns, so that other load on the machine affects all of
//! them alike, and the median over all rounds is printed. Nothing is asserted.

use std::cell::Cell;
use std::ops::{ControlFlow, Range};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alignatt::event::End;
use alignatt::internals::engines::{Alignment, Recognition, Translation};
use alignatt::internals::models::drafting::{Armed, Request, Translator};
use alignatt::internals::models::gemma4::{Gemma4, open_prompt};
use alignatt::internals::models::prompt::{LanguageName, Task};
use alignatt::internals::models::qwen3_asr::{ForcedAligner, Qwen3Asr};
use alignatt::internals::models::{ModelConfig, TextModel};
use alignatt::internals::nn::{Cache, Head, Loader, Precision, SourceSpan, Storage, Tap, Target};
use alignatt::internals::ops::{FirstRow, qk_capture};
use alignatt::internals::text::written_units;
use alignatt::internals::weights::{ReadFuture, Tokenizer, Weights};
use alignatt::{
    Activity, AudioFile, BoxError, ByteSource, Cascade, Compute, DeviceChoice, Draft, DraftRequest, Engines, EventKind,
    Files, HeadSet, Language, Millis, PolicyKind, SAMPLE_RATE, Settings, Translate, Vad, Watch, adapters, open_device,
};
use burn::tensor::{Distribution, Int, Tensor, Transaction};
use pollster::block_on;

/// Tokens of a draft.
const DRAFT: usize = 16;
/// Positions of the draft's prompt. The source lies in the middle of it.
const PROMPT: usize = 96;
const SOURCE: Range<usize> = 40..80;
/// Rows that a translator's capture has room for.
const ROWS: usize = 65;

fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let chosen = std::env::var_os("ALIGNATT_DEVICE").is_some();
    for compute in devices() {
        println!("\ndevice: {}", compute.name);
        if wanted("demo") {
            let model = Arc::new(load(&demo("mt"), &compute));
            let heads = demo_heads(8);
            cost("demo pack", &model, &heads, if compute.is_gpu() { 9 } else { 99 }, 1.0, &compute);
        }
        if !chosen && compute.adapter.as_ref().is_some_and(|adapter| adapter.is_software()) {
            continue;
        }
        if wanted("e4b") {
            let model = Arc::new(load(&e4b(), &compute));
            let heads = E4B_HEADS.map(|(layer, head)| Head { layer, head });
            cost("E4B, 6 of 42 layers, 1/8 of the vocabulary", &model, &heads, 2, 7.0, &compute);
        }
        if wanted("talk") {
            talk(&compute);
        }
    }
}

fn devices() -> Vec<Compute> {
    let choices = match std::env::var("ALIGNATT_DEVICE") {
        Ok(choice) => vec![choice.parse().expect("ALIGNATT_DEVICE")],
        Err(_) => {
            let found = block_on(adapters()).into_iter().map(|adapter| adapter.choice);
            std::iter::once(DeviceChoice::Cpu).chain(found).collect()
        }
    };
    choices.into_iter().map(|choice| block_on(open_device(choice)).expect("a device").0).collect()
}

fn load(files: &Files, compute: &Compute) -> Gemma4 {
    let ModelConfig::Gemma4(config) = ModelConfig::open(files).expect("a config") else { panic!("a Gemma-4") };
    let weights = block_on(Weights::open(files)).expect("weights");
    block_on(Gemma4::load(&Loader::new(&weights, target(compute)), &config, 2048)).expect("a model")
}

/// Weights in the precision that the program uses: f16 on a GPU, f32 on the CPU.
fn target(compute: &Compute) -> Target<'_> {
    let precision = if compute.is_gpu() { Precision::F16 } else { Precision::F32 };
    Target { storage: Storage::plain(precision).keeping_quants(), ..Target::new(compute) }
}

fn demo(model: &str) -> Files {
    Files::folder(format!("{}/models/demo/{model}", env!("CARGO_MANIFEST_DIR"))).expect("the demo pack")
}

fn demo_heads(count: usize) -> Vec<Head> {
    let text = demo("mt").text("heads.en-de.json", 1 << 20).expect("the heads");
    let set = HeadSet::parse(&text, "heads.en-de.json").expect("the heads");
    set.top(count).iter().map(|head| Head { layer: head.layer, head: head.head }).collect()
}

// ---- what the attention of a draft costs ----

/// Writes drafts with the first 0, 4 and 8 of `heads` armed, in turn, `rounds` times each. The
/// complete model does `whole` times the work of `model`. If `whole` is above 1, the cost of the
/// heads would be lost in the noise, so only drafts without heads are written.
fn cost(title: &str, model: &Arc<Gemma4>, heads: &[Head], rounds: usize, whole: f64, compute: &Compute) {
    let counts = if whole > 1.0 { vec![0] } else { vec![0, 4, 8] };
    let vocab = model.config().vocab_size as u32;
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|at| 20 + at * 7919 % (vocab - 20)).collect();
    let request = Request { prompt: &prompt, source: SOURCE, guess: &[], budget: DRAFT };
    let armed = |count: &usize| {
        let armed = Armed { heads: &heads[..*count], lead: 1 };
        Translator::new(model.clone(), Vec::new(), armed, compute.group_len(), compute.clone()).expect("heads")
    };
    let mut translators: Vec<Translator> = counts.iter().map(armed).collect();
    let mut seconds = vec![Vec::new(); counts.len()];
    let mut readbacks = vec![0; counts.len()];
    // The first round computes the prompt and compiles the shaders. It is not counted.
    for round in 0..=rounds {
        for (at, translator) in translators.iter_mut().enumerate() {
            let begun = Instant::now();
            let draft = block_on(translator.draft(&request, &mut |_| ControlFlow::Continue(()))).expect("a draft");
            if round > 0 {
                seconds[at].push(begun.elapsed().as_secs_f64());
                readbacks[at] = draft.cost.readbacks;
            }
        }
    }
    let draft = median(&seconds[0]);
    println!("{title}: {DRAFT} tokens behind {PROMPT} known positions in groups of {}", compute.group_len());
    println!("  no head: {:.1} ms a draft, {} readbacks", 1e3 * draft, readbacks[0]);
    let percent = |of: f64| 100.0 * of / draft;
    for at in 1..counts.len() {
        let more: Vec<f64> = seconds[at].iter().zip(&seconds[0]).map(|(with, without)| with / without - 1.0).collect();
        println!(
            "  {} heads: {:+.2} % in turn, {} readbacks; the middle half of rounds {:+.1} to {:+.1} %",
            counts[at],
            100.0 * median(&more),
            readbacks[at],
            100.0 * quantile(&more, 0.25),
            100.0 * quantile(&more, 0.75),
        );
    }
    // The values of the keys do not matter. They only have to lie where those of a draft would.
    let mut cache = model.cache();
    let before = PROMPT + DRAFT - compute.group_len();
    let fed: Vec<u32> = prompt.iter().chain(&prompt).take(before).copied().collect();
    model.forward(ids(&fed, compute), &mut cache, 1, &mut Tap::off()).expect("room");
    for count in [4, 8] {
        let heads = &heads[..count];
        let [captures, both] = alone(model, &mut cache, heads, &prompt, whole == 1.0, compute);
        let layers = layers_of(heads).len();
        println!(
            "  {count} heads in {layers} layers alone: captures {:.2} ms, {:.2} %; with replays {:.2} ms, {:.2} %",
            1e3 * captures,
            percent(captures),
            1e3 * both,
            percent(both),
        );
        if whole > 1.0 {
            println!("    of a draft on all layers, taken as {whole} times as long: {:.3} %", percent(both) / whole);
        }
    }
}

/// Returns the seconds that the captures of one draft take, and the seconds that they take together
/// with the replays and with what the replays add to the readbacks. `cache` ends where the last
/// group of the draft begins. With `between`, an untimed token passes through the model before each
/// group, so that the processor's caches are as cold as in a draft.
fn alone(
    model: &Gemma4,
    cache: &mut Cache,
    heads: &[Head],
    prompt: &[u32],
    between: bool,
    compute: &Compute,
) -> [f64; 2] {
    const ROUNDS: usize = 15;
    let (device, group) = (&compute.device, compute.group_len());
    let mut capture = model.arm(heads, ROWS).expect("heads");
    let before = cache.end();
    capture.restart(before);
    let mut tap = Tap::capturing(&mut capture);
    model.forward(ids(&prompt[..group], compute), cache, group, &mut tap).expect("room");
    let span = SourceSpan { source: SOURCE, prompt_len: PROMPT };
    let buffers = |layer: usize| {
        let d = model.config().layers[layer].head_dim;
        let which: Vec<u32> = heads.iter().filter(|head| head.layer == layer).map(|head| head.head as u32).collect();
        let q = Tensor::<3>::random([1, model.config().num_attention_heads, d], Distribution::Default, device);
        (q, Tensor::<3>::zeros([ROWS, which.len(), d], device), ids(&which, compute))
    };
    let mut layers: Vec<_> = layers_of(heads).into_iter().map(buffers).collect();
    let mut seconds = [const { Vec::new() }; 3];
    for round in 0..=ROUNDS {
        for (more, seconds) in seconds.iter_mut().enumerate() {
            let mut spent = Duration::ZERO;
            for _ in 0..DRAFT / group {
                if between {
                    let end = cache.end();
                    model.forward(ids(&prompt[..1], compute), cache, 1, &mut Tap::off()).expect("room");
                    cache.roll_back(end);
                    block_on(compute.wait_idle()).expect("a device");
                }
                let begun = Instant::now();
                let mut read = Transaction::default().register(ids(&prompt[..group], compute));
                for row in 0..group * usize::from(more > 0) {
                    let first = FirstRow { row: row as isize, on_device: ids(&[row as u32], compute) };
                    for (q, kept, which) in &mut layers {
                        kept.inplace(|kept| qk_capture(kept, q.clone(), which.clone(), &first));
                    }
                }
                if more > 1 {
                    let replay = model.replay(&capture, cache, &span).expect("rows");
                    read = read.register(replay.rows).register(replay.mass);
                }
                block_on(read.execute_async()).expect("a readback");
                block_on(compute.wait_idle()).expect("a device");
                spent += begun.elapsed();
            }
            if round > 0 {
                seconds.push(spent.as_secs_f64());
            }
        }
    }
    cache.roll_back(before);
    let [none, captures, both] = seconds.map(|seconds| median(&seconds));
    [captures - none, both - none]
}

fn ids(ids: &[u32], compute: &Compute) -> Tensor<1, Int> {
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    Tensor::from_ints(ids.as_slice(), &compute.device)
}

fn layers_of(heads: &[Head]) -> Vec<usize> {
    let mut layers: Vec<usize> = heads.iter().map(|head| head.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    layers
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: &[f64], at: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[(at * (values.len() - 1) as f64) as usize]
}

// ---- E4B's shapes ----

/// Whether each of the layers 5, 6, 10, 11, 17 and 20 of E4B has full attention.
const E4B_FULL: [bool; 6] = [true, false, false, true, true, false];
/// The best heads of E4B for English to German, with each layer as an index into [`E4B_FULL`]. In
/// E4B they are (11, 3), (6, 5), (17, 3), (20, 0), (5, 0), (11, 2), (10, 0) and (10, 4).
const E4B_HEADS: [(usize, usize); 8] = [(3, 3), (1, 5), (4, 3), (5, 0), (0, 0), (3, 2), (2, 0), (2, 4)];

/// A checkpoint that has only names and shapes. Its weights are noise, made when they are read.
fn e4b() -> Files {
    let (h, ffn, p, heads, kv, v, n) = (2560, 10240, 256, 8, 2, 262_144 / 8, E4B_FULL.len());
    let types = E4B_FULL.map(|full| if full { "full_attention" } else { "sliding_attention" });
    let config = serde_json::json!({
        "model_type": "gemma4_text", "vocab_size": v, "vocab_size_per_layer_input": v, "hidden_size": h,
        "intermediate_size": ffn, "num_hidden_layers": n, "num_attention_heads": heads, "num_key_value_heads": kv,
        "num_global_key_value_heads": null, "head_dim": 256, "global_head_dim": 512, "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": p, "sliding_window": 512, "layer_types": types, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 131_072, "final_logit_softcapping": 30.0, "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": true, "attention_bias": false, "attention_k_eq_v": false, "enable_moe_block": false,
        "bos_token_id": 2, "pad_token_id": 0, "eos_token_id": 1,
        "rope_parameters": {
            "full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    });
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    let mut add = |name: &str, shape: &[usize]| tensors.push((format!("model.{name}"), shape.to_vec()));
    add("embed_tokens.weight", &[v, h]);
    add("embed_tokens_per_layer.weight", &[v, n * p]);
    add("per_layer_model_projection.weight", &[n * p, h]);
    add("per_layer_projection_norm.weight", &[p]);
    add("norm.weight", &[h]);
    for (layer, full) in E4B_FULL.into_iter().enumerate() {
        let d = if full { 512 } else { 256 };
        let mut add = |name: &str, shape: &[usize]| add(&format!("layers.{layer}.{name}"), shape);
        for norm in ["input", "post_attention", "pre_feedforward", "post_feedforward"] {
            add(&format!("{norm}_layernorm.weight"), &[h]);
        }
        add("post_per_layer_input_norm.weight", &[h]);
        add("layer_scalar", &[1]);
        add("self_attn.q_proj.weight", &[heads * d, h]);
        add("self_attn.k_proj.weight", &[kv * d, h]);
        add("self_attn.v_proj.weight", &[kv * d, h]);
        add("self_attn.o_proj.weight", &[h, heads * d]);
        add("self_attn.q_norm.weight", &[d]);
        add("self_attn.k_norm.weight", &[d]);
        add("mlp.gate_proj.weight", &[ffn, h]);
        add("mlp.up_proj.weight", &[ffn, h]);
        add("mlp.down_proj.weight", &[h, ffn]);
        add("per_layer_input_gate.weight", &[p, h]);
        add("per_layer_projection.weight", &[h, p]);
    }
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let begin = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name, serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}));
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut head = (header.len() as u64).to_le_bytes().to_vec();
    head.extend_from_slice(header.as_bytes());
    let size = head.len() + end;
    let weights: Arc<dyn ByteSource> = Arc::new(Noise { head, size });
    let config = vec![("config.json".to_owned(), config.to_string().into_bytes())];
    Files::remote("E4B's shapes", config, vec![("model.safetensors".to_owned(), weights)])
}

/// A file whose header is followed by noise: bf16 numbers of either sign, with magnitudes between
/// 1/64 and 1/32.
struct Noise {
    head: Vec<u8>,
    size: usize,
}

impl ByteSource for Noise {
    fn size(&self) -> u64 {
        self.size as u64
    }

    fn read(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        let from = offset as usize;
        let mut bytes = vec![0; len];
        for (at, byte) in bytes.iter_mut().enumerate().map(|(at, byte)| (from + at, byte)) {
            *byte = match at.checked_sub(self.head.len()) {
                None => self.head[at],
                Some(at) => {
                    let word = (at as u32 / 2).wrapping_mul(0x9e37_79b1);
                    let bits = (0x3c80 | (word >> 8 & 0x7f) | (word >> 16 & 0x8000)) as u16;
                    bits.to_le_bytes()[at % 2]
                }
            };
        }
        Box::pin(std::future::ready(Ok(bytes)))
    }
}

// ---- what is computed for a talk ----

/// The translator as it is, or a new one for every draft. Counts the drafts and the time they take.
struct Counting<F> {
    translation: Translation,
    new_translation: F,
    keeps: bool,
    seen: Rc<Cell<(usize, Duration)>>,
}

impl<F: Fn() -> Translation> Translate for Counting<F> {
    async fn draft(&mut self, request: &DraftRequest<'_>, watch: Watch<'_>) -> Result<Draft, BoxError> {
        if !self.keeps {
            self.translation = (self.new_translation)();
        }
        let begun = Instant::now();
        let draft = self.translation.draft(request, watch).await;
        let (drafts, spent) = self.seen.get();
        self.seen.set((drafts + 1, spent + begun.elapsed()));
        draft
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.translation.count_tokens(text)
    }
}

fn talk(compute: &Compute) {
    let (asr, aligner, mt) = (demo("asr"), demo("aligner"), demo("mt"));
    let ModelConfig::Qwen3Asr(config) = ModelConfig::open(&asr).expect("a config") else { panic!("a Qwen3-ASR") };
    let asr = Arc::new(
        block_on(Qwen3Asr::load(&asr, &block_on(Weights::open(&asr)).expect("weights"), &config, target(compute)))
            .expect("a model"),
    );
    let ModelConfig::Qwen3Aligner(config) = ModelConfig::open(&aligner).expect("a config") else {
        panic!("an aligner")
    };
    let aligner = Arc::new(
        block_on(ForcedAligner::load(
            &aligner,
            &block_on(Weights::open(&aligner)).expect("weights"),
            &config,
            target(compute),
        ))
        .expect("a model"),
    );
    let model = Arc::new(load(&mt, compute));
    let tokenizer = Arc::new(Tokenizer::open(&mt).expect("a tokenizer"));
    let [source, target] = [("English", "en"), ("German", "de")].map(|(english, code)| LanguageName { english, code });
    let task = Task { source, target, context: "" };
    let prompt = open_prompt(&mt, tokenizer, &task).expect("a prompt");
    let policy: PolicyKind = "alignatt".parse().expect("a policy");
    let heads = demo_heads(policy.heads_len());
    let new_translation = || {
        let armed = Armed { heads: &heads, lead: 1 };
        let eos = model.config().eos_token_id.clone();
        let translator = Translator::new(model.clone(), eos, armed, compute.group_len(), compute.clone());
        Translation::new(Box::new(prompt.clone()), translator.expect("heads"), heads.len())
    };
    let mut file = AudioFile::open(format!("{}/samples/talk-a.flac", env!("CARGO_MANIFEST_DIR"))).expect("a sample");
    let mut sound = Vec::new();
    while let Some(block) = file.next_block().expect("a sample") {
        sound.extend(block);
    }
    println!("samples/talk-a.flac through the cascade with the demo pack, English to German, policy {policy}");
    for (keeps, name) in [(true, "reusing"), (false, "afresh")] {
        let seen = Rc::new(Cell::default());
        let translator = Counting { translation: new_translation(), new_translation, keeps, seen: seen.clone() };
        let engines = Engines {
            recognizer: Recognition::new(asr.clone(), String::new()),
            aligner: Alignment::new(aligner.clone()),
            translator: Some(translator),
        };
        let (end, text) = play(engines, policy, &sound);
        let (drafts, spent) = seen.get();
        let units = written_units(&text, Language::GERMAN).len().max(1);
        let a_unit = |tokens: u64| tokens as f64 / units as f64;
        println!(
            "  {name}: {units} units shown, {drafts} drafts; a unit: {:.1} positions computed, {:.1} saved, {:.2} tokens \
             drafted; a draft: {:.2} readbacks, {:.1} ms",
            a_unit(end.computed_tokens),
            a_unit(end.saved_tokens),
            a_unit(end.drafted_tokens),
            end.readbacks as f64 / drafts as f64,
            1e3 * spent.as_secs_f64() / drafts as f64,
        );
    }
}

/// Plays `sound` → the last event, and all text that was shown.
fn play<T: Translate>(engines: Engines<Recognition, Alignment, T>, policy: PolicyKind, sound: &[f32]) -> (End, String) {
    let settings = Settings::new(Language::ENGLISH, Some(Language::GERMAN)).with_policy(policy);
    let begun = Instant::now();
    let clock = Box::new(move || Millis(begun.elapsed().as_millis() as u64));
    let mut cascade = Cascade::new(settings, engines, clock).expect("settings");
    let (mut last, mut text) = (End::default(), String::new());
    let mut emit = |event: alignatt::Event| match event.kind {
        EventKind::Target(target) if target.closed => text.push_str(&format!("{} ", target.committed.as_str())),
        EventKind::End(end) => last = end,
        _ => {}
    };
    let mut vad = Vad::new();
    for piece in sound.chunks(SAMPLE_RATE as usize / 100) {
        vad.push(piece);
        let activity = if vad.is_speech() { Activity::Speech } else { Activity::Silence };
        cascade.push(piece, activity);
        while block_on(cascade.step(&mut emit)).expect("a step") {}
    }
    block_on(cascade.finish(&mut emit)).expect("the end");
    cascade.end(&mut emit);
    (last, text)
}
