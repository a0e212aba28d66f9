// y[t, n] = sum over k of x[t, k] * w[n, k]            (src/ops/product.rs)
//
// One workgroup makes 4 columns of up to `rows` rows: every lane walks the row in strides of all lanes,
// reads each weight once for all its rows, and the partial sums are added in shared memory.
// Grid: (x, y) number the column groups; z has as many groups as there are rows, of which the first
// rows / ROWS work: that is how the shader learns the row count.

@group(0) @binding(0) var<storage, read_write> x: array<{{ x_type }}>;
@group(0) @binding(1) var<storage, read_write> w: array<{{ w_type }}>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const STEPS: u32 = {{ steps }}u;
const N: u32 = {{ n }}u;
const ROWS: u32 = {{ rows }}u;
const OUTPUTS: u32 = 4u;
const LANES: u32 = {{ lanes }}u;

var<workgroup> partial: array<f32, OUTPUTS * ROWS * LANES>;

fn weight(i: u32) -> {{ x_type }} {
    return {{ load }};
}

fn lane_sum(a: {{ x_type }}) -> f32 {
    return {{ lane_sum }};
}

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n0 = (group.y * groups.x + group.x) * OUTPUTS;
    let t0 = group.z * ROWS;
    let rows = groups.z;
    if (t0 >= rows) {
        return;
    }

    var sums: array<array<{{ x_type }}, ROWS>, OUTPUTS>;
    for (var step = lane; step < STEPS; step += LANES) {
        var xs: array<{{ x_type }}, ROWS>;
        for (var t = 0u; t < ROWS; t++) {
            xs[t] = x[min(t0 + t, rows - 1u) * STEPS + step];
        }
        for (var o = 0u; o < OUTPUTS; o++) {
            let weights = weight(min(n0 + o, N - 1u) * STEPS + step);
            for (var t = 0u; t < ROWS; t++) {
                sums[o][t] += xs[t] * weights;
            }
        }
    }
    for (var o = 0u; o < OUTPUTS; o++) {
        for (var t = 0u; t < ROWS; t++) {
            partial[(o * ROWS + t) * LANES + lane] = lane_sum(sums[o][t]);
        }
    }
    workgroupBarrier();

    // Each of the OUTPUTS * ROWS results is added up by one lane.
    if (lane >= OUTPUTS * ROWS) {
        return;
    }
    let o = lane / ROWS;
    let t = lane % ROWS;
    if (n0 + o >= N || t0 + t >= rows) {
        return;
    }
    var total = 0.0;
    for (var i = 0u; i < LANES; i++) {
        total += partial[lane * LANES + i];
    }
    y[(t0 + t) * N + n0 + o] = total;
}
