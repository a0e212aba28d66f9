// y = gelu(conv(x, w) + b): 3 by 3, stride 2, padding 1      (src/ops/conv_halve.rs)
//
// One workgroup of 64 makes 32 output channels of 8 strips; a strip is 4 results beside one another. Each lane makes one
// strip of 4 channels: of a row of one input channel it loads 9 values and 12 weights for 48 products.
// Grid: x the channels in 32s, y the image's strips in 8s, z the image.

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

// Abramowitz and Stegun 7.1.26: within 1.5e-7.
fn erf(v: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3275911 * abs(v));
    let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return sign(v) * (1.0 - p * exp(-v * v));
}

fn gelu(v: f32) -> f32 {
    return 0.5 * v * (1.0 + erf(v * 0.7071067811865476));
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let strip = group.y * 8u + lane / 8u;
    let first = group.x * 32u + lane % 8u * 4u; // of the output channels
    let row = strip / STRIPS;
    if (row >= OUT_HEIGHT || first >= OUTPUTS) {
        return;
    }
    let column = strip % STRIPS * 4u;
    let left = 2i * i32(column) - 1i;
    // Past the last channel the last one is computed again and not stored.
    var weights_at: array<u32, 4>;
    for (var o = 0u; o < 4u; o++) {
        weights_at[o] = min(first + o, OUTPUTS - 1u) * INPUTS * 9u;
    }

    var sums: array<vec4<f32>, 4>;
    for (var c = 0u; c < INPUTS; c++) {
        for (var ky = 0u; ky < 3u; ky++) {
            let beyond = 2u * row + ky; // one more than the input row
            if (beyond == 0u || beyond > HEIGHT) {
                continue;
            }
            let at = ((group.z * INPUTS + c) * HEIGHT + beyond - 1u) * WIDTH;
            var seen: array<f32, 9>;
            for (var i = 0; i < 9; i++) {
                let inside = left + i >= 0i && left + i < i32(WIDTH);
                seen[i] = select(0.0, x[at + u32(clamp(left + i, 0i, i32(WIDTH) - 1i))], inside);
            }
            let tap0 = vec4<f32>(seen[0], seen[2], seen[4], seen[6]);
            let tap1 = vec4<f32>(seen[1], seen[3], seen[5], seen[7]);
            let tap2 = vec4<f32>(seen[2], seen[4], seen[6], seen[8]);
            for (var o = 0u; o < 4u; o++) {
                let k = weights_at[o] + c * 9u + ky * 3u;
                sums[o] += w[k] * tap0 + w[k + 1u] * tap1 + w[k + 2u] * tap2;
            }
        }
    }
    for (var o = 0u; o < min(4u, OUTPUTS - first); o++) {
        let at = ((group.z * OUTPUTS + first + o) * OUT_HEIGHT + row) * OUT_WIDTH + column;
        for (var i = 0u; i < min(4u, OUT_WIDTH - column); i++) {
            y[at + i] = gelu(sums[o][i] + b[first + o]);
        }
    }
}
