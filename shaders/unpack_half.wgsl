// Unpacks words of two f16 each into pairs of f32        (src/ops/product.rs)

@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<vec2<f32>>;

const LEN: u32 = {{ len }}u;

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if (i < LEN) {
        out[i] = unpack2x16float(words[i]);
    }
}
