// Copies the queries of the armed heads into the kept rows of a draft   (src/ops/qk_capture.rs)
// Grid: x columns in groups of 64, y the row of the pass, z the armed head.

@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> heads: array<i32>;
@group(0) @binding(2) var<storage, read_write> first: array<i32>;
@group(0) @binding(3) var<storage, read_write> kept: array<f32>;

const HEADS: u32 = {{ heads }}u;
const D: u32 = {{ d }}u;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let column = group.x * 64u + lane;
    let row = first[0] + i32(group.y);
    if (column < D && row >= 0) {
        let head = u32(heads[group.z]);
        kept[(u32(row) * groups.z + group.z) * D + column] = q[(group.y * HEADS + head) * D + column];
    }
}
