// Writes the numbers of a weight as f32, however they are stored        (src/ops/product.rs)

@group(0) @binding({{ output }}) var<storage, read_write> out: array<{{ x_type }}>;

const LEN: u32 = {{ len }}u;

// The buffers of the weight, from binding 0 on, and `weight(i)`, which gives step i of all rows
// together.
{{ weight }}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i < LEN) {
        out[i] = weight(i);
    }
}
