// Attention of some query rows and one head on the cache       (src/ops/attend.rs)
//
// One workgroup of 64 per (head x, ROWS rows y). Keys are taken in tiles of 64: each lane scores one key for all rows, a
// running maximum and sum are kept for each row (online softmax), each lane makes its key's weights, then each adds up its
// own output columns: a key, a value and a barrier serve all rows.
// Grid: y has as many groups as there are rows, of which the first rows / ROWS work: that is how the shader learns the
// row count.

@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> base: array<i32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const HEADS: u32 = {{ heads }}u;
const KV_HEADS: u32 = {{ kv_heads }}u;
const D: u32 = {{ d }}u;
const PER_LANE: u32 = {{ per_lane }}u;
const ROWS: u32 = {{ rows }}u;
const SCALE: f32 = {{ scale }};
const WINDOW: u32 = {{ window }}u;
const CAUSAL: bool = {{ causal }};
const LANES: u32 = 64u;
const LOWEST: f32 = -3.0e38;

var<workgroup> queries: array<f32, ROWS * D>;
var<workgroup> scores: array<f32, ROWS * LANES>;
var<workgroup> weights: array<f32, ROWS * LANES>;
var<workgroup> first_row: u32;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let head = group.x;
    let kv_head = head / (HEADS / KV_HEADS);
    let row = group.y * ROWS;
    if (row >= groups.y) {
        return;
    }
    let rows = min(ROWS, groups.y - row);
    for (var i = lane; i < rows * D; i += LANES) {
        queries[i] = q[((row + i / D) * HEADS + head) * D + i % D] * SCALE;
    }
    if (lane == 0u) {
        first_row = u32(base[0]);
    }
    // A plain load from a storage buffer is not uniform to the browser's analysis, so no barrier could
    // stand in the loop below.
    let first = workgroupUniformLoad(&first_row);
    let own = first + row; // the first row's own key
    let start = own + 1u - min(own + 1u, WINDOW);
    let end = select(first + groups.y, own + rows, CAUSAL); // one past the last key that any row sees

    var sums: array<array<f32, PER_LANE>, ROWS>;
    var top: array<f32, ROWS>;
    var total: array<f32, ROWS>;
    for (var t = 0u; t < ROWS; t++) {
        top[t] = LOWEST;
    }
    workgroupBarrier();

    for (var tile = start; tile < end; tile += LANES) {
        let here = min(LANES, end - tile);
        let j = tile + lane;
        var score: array<f32, ROWS>;
        if (lane < here) {
            let key = (j * KV_HEADS + kv_head) * D;
            for (var i = 0u; i < D; i++) {
                let value = k[key + i];
                for (var t = 0u; t < ROWS; t++) {
                    score[t] += queries[t * D + i] * value;
                }
            }
        }
        for (var t = 0u; t < ROWS; t++) {
            let seen = lane < here && (!CAUSAL || j <= own + t) && own + t - min(own + t, j) < WINDOW;
            score[t] = select(LOWEST, score[t], seen);
            scores[t * LANES + lane] = score[t];
        }
        workgroupBarrier();

        for (var t = 0u; t < ROWS; t++) {
            var tile_top = top[t];
            for (var i = 0u; i < here; i++) {
                tile_top = max(tile_top, scores[t * LANES + i]);
            }
            let shrink = exp(top[t] - tile_top);
            top[t] = tile_top;
            total[t] *= shrink;
            for (var c = 0u; c < PER_LANE; c++) {
                sums[t][c] *= shrink;
            }
            // A row that sees nothing of this tile, nor of one before, has no maximum yet.
            weights[t * LANES + lane] = select(exp(score[t] - tile_top), 0.0, score[t] == LOWEST);
        }
        workgroupBarrier();

        for (var i = 0u; i < here; i++) {
            let value = ((tile + i) * KV_HEADS + kv_head) * D;
            for (var t = 0u; t < ROWS; t++) {
                total[t] += weights[t * LANES + i];
            }
            for (var c = 0u; c < PER_LANE; c++) {
                let column = lane + c * LANES;
                if (column < D) {
                    let part = v[value + column];
                    for (var t = 0u; t < ROWS; t++) {
                        sums[t][c] += weights[t * LANES + i] * part;
                    }
                }
            }
        }
        workgroupBarrier();
    }
    for (var t = 0u; t < rows; t++) {
        for (var c = 0u; c < PER_LANE; c++) {
            let column = lane + c * LANES;
            if (column < D) {
                y[((row + t) * HEADS + head) * D + column] = sums[t][c] / total[t];
            }
        }
    }
}
