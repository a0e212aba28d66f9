// Attention of one draft row on every key it could see, for one armed head   (src/ops/qk_replay.rs)
//
// One workgroup of 64 lanes per (armed head x, draft row y). Each lane scores every 64th visible
// key and keeps a running maximum and the sums of the masses (online softmax). The score of a
// source column stays in the output until all lanes have combined their maxima and sums. Then the
// lane that wrote the score turns it into a probability.

@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> heads: array<i32>;
@group(0) @binding(3) var<storage, read_write> span: array<i32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const KV_HEADS: u32 = {{ kv_heads }}u;
const GROUP: u32 = {{ group }}u;
const D: u32 = {{ d }}u;
const SCALE: f32 = {{ scale }};
const WINDOW: i32 = {{ window }};
const LANES: u32 = 64u;

var<workgroup> query: array<f32, D>;
var<workgroup> tops: array<f32, LANES>;
var<workgroup> parts: array<vec3<f32>, LANES>;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let source = span[1]; // a cache row, negative if that key has left the cache
    let columns = span[2];
    let draft = span[3];
    let end = span[0] + i32(group.y) + 1; // one past the last visible key
    let start = max(end - WINDOW, 0);

    let kv_head = u32(heads[group.x]) / GROUP;
    let query_at = (group.y * groups.x + group.x) * D;
    let row_at = (group.x * groups.y + group.y) * (u32(columns) + 2u);
    for (var i = lane; i < D; i += LANES) {
        query[i] = q[query_at + i] * SCALE;
    }
    for (var column = i32(lane); column < columns; column += i32(LANES)) {
        if (source + column < start || source + column >= end) {
            y[row_at + u32(column)] = 0.0;
        }
    }
    workgroupBarrier();

    var top = -3.0e38;
    var masses = vec3<f32>(); // rest of the prompt, draft, source
    for (var j = start + i32(lane); j < end; j += i32(LANES)) {
        let key = (u32(j) * KV_HEADS + kv_head) * D;
        var score = 0.0;
        for (var i = 0u; i < D; i++) {
            score += query[i] * k[key + i];
        }
        let new_top = max(top, score);
        masses *= exp(top - new_top);
        top = new_top;
        let weight = exp(score - top);
        let column = j - source;
        if (column >= 0 && column < columns) {
            y[row_at + u32(column)] = score;
            masses.z += weight;
        } else if (j < draft) {
            masses.x += weight;
        } else {
            masses.y += weight;
        }
    }
    tops[lane] = top;
    parts[lane] = masses;
    workgroupBarrier();

    for (var other = 0u; other < LANES; other++) {
        top = max(top, tops[other]);
    }
    masses = vec3<f32>();
    for (var other = 0u; other < LANES; other++) {
        masses += parts[other] * exp(tops[other] - top);
    }
    let total = masses.x + masses.y + masses.z;
    for (var j = start + i32(lane); j < end; j += i32(LANES)) {
        let column = j - source;
        if (column >= 0 && column < columns) {
            y[row_at + u32(column)] = exp(y[row_at + u32(column)] - top) / total;
        }
    }
    if (lane < 2u) {
        y[row_at + u32(columns) + lane] = masses[lane] / total;
    }
}
