// y = gelu(conv(x, w) + b): 3 by 3, stride 2, padding 1      (src/ops/conv_halve.rs)
//
// A strip is 4 neighbouring results in one output row. One workgroup of 64 lanes computes 8 strips
// of 32 output channels. Each lane computes one strip of 4 channels: for each row of an input
// channel it loads 9 values and 12 weights, which serve 48 products.
// Grid: x output channels in groups of 32, y strips of the image in groups of 8, z the image.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const INPUTS: u32 = {{ inputs }}u;
const OUTPUTS: u32 = {{ outputs }}u;
const HEIGHT: u32 = {{ height }}u;
const WIDTH: u32 = {{ width }}u;
const OUT_HEIGHT: u32 = (HEIGHT + 1u) / 2u;
const OUT_WIDTH: u32 = (WIDTH + 1u) / 2u;
const STRIPS: u32 = (OUT_WIDTH + 3u) / 4u;

// Abramowitz and Stegun, formula 7.1.26. The absolute error is at most 1.5e-7.
fn erf(v: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3275911 * abs(v));
    let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return sign(v) * (1.0 - p * exp(-v * v));
}

fn gelu(v: f32) -> f32 {
    return 0.5 * v * (1.0 + erf(v * 0.7071067811865476));
}

// The value at `column` of the input row that begins at `row`; 0 outside the row.
fn value(row: u32, column: i32) -> f32 {
    return select(0.0, x[row + u32(clamp(column, 0i, i32(WIDTH) - 1i))], column >= 0i && column < i32(WIDTH));
}

fn store(strip: vec4<f32>, at: u32, columns: u32, bias: f32) {
    for (var i = 0u; i < columns; i++) {
        y[at + i] = gelu(strip[i] + bias);
    }
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let strip = group.y * 8u + lane / 8u;
    let first = group.x * 32u + lane % 8u * 4u; // the first of this lane's output channels
    let row = strip / STRIPS;
    if (row >= OUT_HEIGHT || first >= OUTPUTS) {
        return;
    }
    let column = strip % STRIPS * 4u;
    let left = 2i * i32(column) - 1i;
    // Channels past the last one repeat it, and their results are not stored.
    let w0 = first * INPUTS * 9u;
    let w1 = min(first + 1u, OUTPUTS - 1u) * INPUTS * 9u;
    let w2 = min(first + 2u, OUTPUTS - 1u) * INPUTS * 9u;
    let w3 = min(first + 3u, OUTPUTS - 1u) * INPUTS * 9u;

    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var c = 0u; c < INPUTS; c++) {
        for (var ky = 0u; ky < 3u; ky++) {
            let beyond = 2u * row + ky; // the input row plus 1
            if (beyond == 0u || beyond > HEIGHT) {
                continue;
            }
            let at = ((group.z * INPUTS + c) * HEIGHT + beyond - 1u) * WIDTH;
            let even = vec4<f32>(value(at, left), value(at, left + 2i), value(at, left + 4i), value(at, left + 6i));
            let odd = vec4<f32>(value(at, left + 1i), value(at, left + 3i), value(at, left + 5i), value(at, left + 7i));
            let next = vec4<f32>(even.yzw, value(at, left + 8i));
            let k = c * 9u + ky * 3u;
            s0 += w[w0 + k] * even + w[w0 + k + 1u] * odd + w[w0 + k + 2u] * next;
            s1 += w[w1 + k] * even + w[w1 + k + 1u] * odd + w[w1 + k + 2u] * next;
            s2 += w[w2 + k] * even + w[w2 + k + 1u] * odd + w[w2 + k + 2u] * next;
            s3 += w[w3 + k] * even + w[w3 + k + 1u] * odd + w[w3 + k + 2u] * next;
        }
    }
    let columns = min(4u, OUT_WIDTH - column);
    let plane = OUT_HEIGHT * OUT_WIDTH;
    let at = (group.z * OUTPUTS + first) * plane + row * OUT_WIDTH + column;
    store(s0, at, columns, b[first]);
    if (first + 1u < OUTPUTS) {
        store(s1, at + plane, columns, b[first + 1u]);
    }
    if (first + 2u < OUTPUTS) {
        store(s2, at + 2u * plane, columns, b[first + 2u]);
    }
    if (first + 3u < OUTPUTS) {
        store(s3, at + 3u * plane, columns, b[first + 3u]);
    }
}
