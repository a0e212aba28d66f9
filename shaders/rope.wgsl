// Split-half rotation of every head by the angles of its row's position   (src/ops/rope.rs)
// Grid: x pairs in groups of 64, y the head, z the row.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> cosines: array<f32>;
@group(0) @binding(2) var<storage, read_write> sines: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const HALF: u32 = {{ half }}u;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = group.x * 64u + lane;
    if (pair >= HALF) {
        return;
    }
    let c = cosines[group.z * HALF + pair];
    let s = sines[group.z * HALF + pair];
    let at = (group.z * groups.y + group.y) * 2u * HALF + pair;
    let a = x[at];
    let b = x[at + HALF];
    y[at] = a * c - b * s;
    y[at + HALF] = b * c + a * s;
}
