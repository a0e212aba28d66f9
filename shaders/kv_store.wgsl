// Copies rows of new keys or values into the cache, from row `base` on   (src/ops/kv_store.rs)
// Grid: x columns in groups of 64, y the new row.

@group(0) @binding(0) var<storage, read_write> fresh: array<f32>;
@group(0) @binding(1) var<storage, read_write> base: array<i32>;
@group(0) @binding(2) var<storage, read_write> cache: array<f32>;

const WIDTH: u32 = {{ width }}u;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * 64u + lane;
    if (column < WIDTH) {
        cache[(u32(base[0]) + group.y) * WIDTH + column] = fresh[group.y * WIDTH + column];
    }
}
