// y[t, n] = sum over k of x[t, k] * w[n, k], for few rows             (src/ops/product.rs)
//
// One workgroup computes 4 columns of ROWS rows (1 or 4). Each lane takes every LANES-th step along
// k and reads each weight once for all rows. The partial sums are added in shared memory.
//
// Grid: (x, y) number the column groups. z has as many workgroups as there are rows, but only the
// first ceil(rows / ROWS) work. So the shader reads the row count from the grid and needs no
// parameter for it.
//
// Four named accumulators instead of an array: some drivers put arrays in memory rather than in
// registers, however the arrays are indexed.

@group(0) @binding({{ input }}) var<storage, read_write> x: array<{{ x_type }}>;
@group(0) @binding({{ output }}) var<storage, read_write> y: array<f32>;

const STEPS: u32 = {{ steps }}u;
const N: u32 = {{ n }}u;
const ROWS: u32 = {{ rows }}u;
const LANES: u32 = {{ lanes }}u;

var<workgroup> partial: array<vec4<f32>, ROWS * LANES>;

// The buffers of the weight, from binding 0 on, and `weight(i)`, which gives step i of all rows
// together.
{{ weight }}

fn product(a: {{ x_type }}, b: {{ x_type }}) -> f32 {
    return {{ product }};
}

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = (group.y * groups.x + group.x) * 4u;
    let t = group.z * ROWS;
    let rows = groups.z;
    if (t >= rows) {
        return;
    }
    // Rows and columns past the last one repeat it, and their results are not stored.
    let x0 = t * STEPS;
    let x1 = min(t + 1u, rows - 1u) * STEPS;
    let x2 = min(t + 2u, rows - 1u) * STEPS;
    let x3 = min(t + 3u, rows - 1u) * STEPS;
    let w0 = min(n, N - 1u) * STEPS;
    let w1 = min(n + 1u, N - 1u) * STEPS;
    let w2 = min(n + 2u, N - 1u) * STEPS;
    let w3 = min(n + 3u, N - 1u) * STEPS;

    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var step = lane; step < STEPS; step += LANES) {
        let b0 = weight(w0 + step);
        let b1 = weight(w1 + step);
        let b2 = weight(w2 + step);
        let b3 = weight(w3 + step);
        let a0 = x[x0 + step];
        s0 += vec4<f32>(product(a0, b0), product(a0, b1), product(a0, b2), product(a0, b3));
        if (ROWS > 1u) {
            let a1 = x[x1 + step];
            let a2 = x[x2 + step];
            let a3 = x[x3 + step];
            s1 += vec4<f32>(product(a1, b0), product(a1, b1), product(a1, b2), product(a1, b3));
            s2 += vec4<f32>(product(a2, b0), product(a2, b1), product(a2, b2), product(a2, b3));
            s3 += vec4<f32>(product(a3, b0), product(a3, b1), product(a3, b2), product(a3, b3));
        }
    }
    partial[lane] = s0;
    if (ROWS > 1u) {
        partial[LANES + lane] = s1;
        partial[2u * LANES + lane] = s2;
        partial[3u * LANES + lane] = s3;
    }
    workgroupBarrier();

    // One lane adds up the four results of one row.
    if (lane >= min(ROWS, rows - t)) {
        return;
    }
    var total = vec4<f32>();
    for (var i = 0u; i < LANES; i++) {
        total += partial[lane * LANES + i];
    }
    for (var i = 0u; i < min(4u, N - min(n, N)); i++) {
        y[(t + lane) * N + n + i] = total[i];
    }
}
