// y[r, :] = x[r, :] * (mean(x[r, :]^2) + EPS)^-0.5 * w   (src/ops/rms_norm.rs)
// One workgroup per row. Grid: (x, y) number the rows; workgroups past the last row return at once.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const H: u32 = {{ h }}u;
const EPS: f32 = {{ eps }};
const LANES: u32 = {{ lanes }}u;

var<workgroup> squares: array<f32, LANES>;

@compute @workgroup_size({{ lanes }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let r = group.y * groups.x + group.x;
    if (r >= {{ rows }}) {
        return;
    }
    let row = r * H;
    var sum = 0.0;
    for (var i = lane; i < H; i += LANES) {
        sum += x[row + i] * x[row + i];
    }
    squares[lane] = sum;
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < LANES; i++) {
        total += squares[i];
    }
    let scale = inverseSqrt(total / f32(H) + EPS);
    for (var i = lane; i < H; i += LANES) {
        y[row + i] = x[row + i] * scale * w[i];
    }
}
