// y = act(gate) * up                                     (src/ops/gated.rs)
// Grid: x columns in groups of 64, y the row.

@group(0) @binding(0) var<storage, read_write> gate: array<f32>;
@group(0) @binding(1) var<storage, read_write> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const WIDTH: u32 = {{ width }}u;

fn silu(v: f32) -> f32 {
    return v / (1.0 + exp(-v));
}

// Above 15, tanh is 1 in f32, and some drivers overflow while they compute it.
fn gelu_tanh(v: f32) -> f32 {
    let inner = 0.7978845608028654 * (v + 0.044715 * v * v * v);
    return 0.5 * v * (1.0 + tanh(clamp(inner, -15.0, 15.0)));
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * 64u + lane;
    if (column >= WIDTH) {
        return;
    }
    let at = group.y * WIDTH + column;
    y[at] = {{ act }}(gate[at]) * up[at];
}
