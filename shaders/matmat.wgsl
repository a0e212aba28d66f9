// y[t, n] = sum over k of x[t, k] * w[n, k], for many rows            (src/ops/product.rs)
//
// One workgroup of 64 lanes computes a tile of 32 rows by 32 columns, and each lane 4 by 4 of it.
// The 4 + 4 loads of a step serve 16 products, neighbouring lanes share the loads through the
// cache, and no lane waits for another.
//
// Grid: x numbers the column tiles. y has as many workgroups as there are rows, but only the first
// ceil(rows / 32) work. So the shader reads the row count from the grid and needs no parameter for
// it.

@group(0) @binding({{ input }}) var<storage, read_write> x: array<{{ x_type }}>;
@group(0) @binding({{ output }}) var<storage, read_write> y: array<f32>;

const STEPS: u32 = {{ steps }}u;
const N: u32 = {{ n }}u;

// The buffers of the weight, from binding 0 on, and `weight(i)`, which gives step i of all rows
// together.
{{ weight }}

fn product(a: {{ x_type }}, b: {{ x_type }}) -> f32 {
    return {{ product }};
}

fn store(t: u32, n: u32, rows: u32, sums: vec4<f32>) {
    if (t >= rows) {
        return;
    }
    for (var i = 0u; i < min(4u, N - n); i++) {
        y[t * N + n + i] = sums[i];
    }
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let rows = groups.y;
    let t = group.y * 32u + lane / 8u * 4u;
    let n = group.x * 32u + lane % 8u * 4u;
    if (t >= rows || n >= N) {
        return;
    }
    // Rows and columns past the last one repeat it, and their results are not stored.
    let x0 = t * STEPS;
    let x1 = min(t + 1u, rows - 1u) * STEPS;
    let x2 = min(t + 2u, rows - 1u) * STEPS;
    let x3 = min(t + 3u, rows - 1u) * STEPS;
    let w0 = n * STEPS;
    let w1 = min(n + 1u, N - 1u) * STEPS;
    let w2 = min(n + 2u, N - 1u) * STEPS;
    let w3 = min(n + 3u, N - 1u) * STEPS;

    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var step = 0u; step < STEPS; step++) {
        let a0 = x[x0 + step];
        let a1 = x[x1 + step];
        let a2 = x[x2 + step];
        let a3 = x[x3 + step];
        let b0 = weight(w0 + step);
        let b1 = weight(w1 + step);
        let b2 = weight(w2 + step);
        let b3 = weight(w3 + step);
        s0 += vec4<f32>(product(a0, b0), product(a0, b1), product(a0, b2), product(a0, b3));
        s1 += vec4<f32>(product(a1, b0), product(a1, b1), product(a1, b2), product(a1, b3));
        s2 += vec4<f32>(product(a2, b0), product(a2, b1), product(a2, b2), product(a2, b3));
        s3 += vec4<f32>(product(a3, b0), product(a3, b1), product(a3, b2), product(a3, b3));
    }
    store(t, n, rows, s0);
    store(t + 1u, n, rows, s1);
    store(t + 2u, n, rows, s2);
    store(t + 3u, n, rows, s3);
}
