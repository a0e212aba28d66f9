// Attention of one query row and head on the cache       (src/ops/attend.rs)
//
// One workgroup of 64 per (head x, row y). Keys are taken in tiles of 64: each lane scores one key, the
// running maximum and sum are kept (online softmax), each lane makes one weight of the tile, then each adds
// up its own output columns.

@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> base: array<i32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const HEADS: u32 = {{ heads }}u;
const KV_HEADS: u32 = {{ kv_heads }}u;
const D: u32 = {{ d }}u;
const PER_LANE: u32 = {{ per_lane }}u;
const SCALE: f32 = {{ scale }};
const WINDOW: u32 = {{ window }}u;
const LANES: u32 = 64u;

var<workgroup> query: array<f32, D>;
var<workgroup> scores: array<f32, LANES>;
var<workgroup> weights: array<f32, LANES>;
var<workgroup> first_row: u32;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = group.y;
    let kv_head = head / (HEADS / KV_HEADS);
    let at = (row * HEADS + head) * D;
    for (var i = lane; i < D; i += LANES) {
        query[i] = q[at + i] * SCALE;
    }
    if (lane == 0u) {
        first_row = u32(base[0]);
    }
    // A plain load from a storage buffer is not uniform to the browser's analysis, so no barrier could
    // stand in the loop below.
    let end = workgroupUniformLoad(&first_row) + row + 1u; // one past the last visible key
    let start = end - min(end, WINDOW);

    var sums: array<f32, PER_LANE>;
    var top = -3.0e38;
    var total = 0.0;
    workgroupBarrier();

    for (var tile = start; tile < end; tile += LANES) {
        let here = min(LANES, end - tile);
        var score = -3.0e38;
        if (lane < here) {
            let key = ((tile + lane) * KV_HEADS + kv_head) * D;
            score = 0.0;
            for (var i = 0u; i < D; i++) {
                score += query[i] * k[key + i];
            }
        }
        scores[lane] = score;
        workgroupBarrier();

        var tile_top = top;
        for (var j = 0u; j < here; j++) {
            tile_top = max(tile_top, scores[j]);
        }
        let shrink = exp(top - tile_top);
        top = tile_top;
        weights[lane] = exp(score - top);
        workgroupBarrier();

        total *= shrink;
        for (var c = 0u; c < PER_LANE; c++) {
            sums[c] *= shrink;
        }
        for (var j = 0u; j < here; j++) {
            let weight = weights[j];
            total += weight;
            let value = ((tile + j) * KV_HEADS + kv_head) * D;
            for (var c = 0u; c < PER_LANE; c++) {
                let column = lane + c * LANES;
                if (column < D) {
                    sums[c] += weight * v[value + column];
                }
            }
        }
        workgroupBarrier();
    }
    for (var c = 0u; c < PER_LANE; c++) {
        let column = lane + c * LANES;
        if (column < D) {
            y[at + column] = sums[c] / total;
        }
    }
}
