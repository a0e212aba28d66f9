// Attention of one head for a few query rows on the cache       (src/ops/attend.rs)
//
// One workgroup per (head x, group of ROWS query rows y). ROWS is 1 or 4, so a value per row is an
// f32 or a vec4. The workgroup walks the keys in tiles of LANES keys, with a running maximum and
// sum for each row (online softmax). In each tile:
// 1. each lane computes the score of one key for all rows;
// 2. each lane finds the new maximum of each row and computes the weights of its key;
// 3. each lane adds the weighted values of all keys to its own output columns.
// All rows share each load of a key or a value, and each barrier.
//
// Grid: y has as many workgroups as there are rows, but only the first ceil(rows / ROWS) work. So
// the shader reads the row count from the grid and needs no parameter for it.

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
const LANES: u32 = {{ lanes }}u;
const LOWEST: f32 = -3.0e38;

alias Values = {{ values }};
alias Indices = {{ indices }};

var<workgroup> queries: array<Values, D>;
var<workgroup> scores: array<Values, LANES>;
var<workgroup> weights: array<Values, LANES>;
var<workgroup> first_row: u32;

// Where the query of a row begins. Rows past the last one repeat it, and their results are not
// stored.
fn query_at(row: u32, rows: u32, head: u32) -> u32 {
    return (min(row, rows - 1u) * HEADS + head) * D;
}

fn of_row(values: Values, t: u32) -> f32 {
    return {{ of_row }};
}

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let head = group.x;
    let kv_head = head / (HEADS / KV_HEADS);
    let row = group.y * ROWS;
    let rows = groups.y;
    if (row >= rows) {
        return;
    }
    let at = query_at(row, rows, head);
    let at1 = query_at(row + 1u, rows, head);
    let at2 = query_at(row + 2u, rows, head);
    let at3 = query_at(row + 3u, rows, head);
    for (var i = lane; i < D; i += LANES) {
        queries[i] = {{ query }} * SCALE;
    }
    if (lane == 0u) {
        first_row = u32(base[0]);
    }
    // To the browser's uniformity analysis, a plain load from a storage buffer is not uniform. It
    // would reject the barriers in the loop below.
    let first = workgroupUniformLoad(&first_row);
    let own = Indices(first + row) + {{ offsets }}; // cache row of each row's own key
    let start = first + row + 1u - min(first + row + 1u, WINDOW);
    // One past the last key that any row sees.
    let end = select(first + rows, first + min(row + ROWS, rows), CAUSAL);

    var sums: array<Values, PER_LANE>;
    var top = Values(LOWEST);
    var total = Values(0.0);
    workgroupBarrier();

    for (var tile = start; tile < end; tile += LANES) {
        let here = min(LANES, end - tile);
        let j = tile + lane;
        var score = Values(0.0);
        if (lane < here) {
            let key = (j * KV_HEADS + kv_head) * D;
            for (var i = 0u; i < D; i++) {
                score += queries[i] * k[key + i];
            }
        }
        let past = own - min(own, Indices(j)); // how far key j lies before each row's own key
        // Without causality, only `here` bounds the keys; `own` does not.
        let bound = select(Indices(0xffffffffu), own, CAUSAL);
        let seen = (Indices(j) <= bound) & (past < Indices(WINDOW)) & (Indices(lane) < Indices(here));
        score = select(Values(LOWEST), score, seen);
        scores[lane] = score;
        workgroupBarrier();

        var tile_top = top;
        for (var i = 0u; i < here; i++) {
            tile_top = max(tile_top, scores[i]);
        }
        let shrink = exp(top - tile_top);
        top = tile_top;
        // A row that has seen no key yet has no maximum, so its weights are set to 0.
        weights[lane] = select(Values(0.0), exp(score - top), seen);
        workgroupBarrier();

        total *= shrink;
        for (var c = 0u; c < PER_LANE; c++) {
            sums[c] *= shrink;
        }
        for (var i = 0u; i < here; i++) {
            let weight = weights[i];
            total += weight;
            let value = ((tile + i) * KV_HEADS + kv_head) * D;
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
            let result = sums[c] / total;
            for (var t = 0u; t < min(ROWS, rows - row); t++) {
                y[((row + t) * HEADS + head) * D + column] = of_row(result, t);
            }
        }
    }
}
