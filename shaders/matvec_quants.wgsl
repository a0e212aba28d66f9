// y[t, n] = sum over k of x[t, k] * w[n, k], w small integers, for few rows
// (src/ops/quantized.rs)
//
// LANES lanes share 4 columns of ROWS rows (1 or 4), and a workgroup has 64 / LANES such teams. A
// lane takes every LANES-th block of 32 integers, whole: it reads them in one or two loads, and
// their scales once. What a form adds to every integer is added once a block, through the sum of
// the block's x. The partial sums are added in shared memory.
//
// Grid: (x, y) number the groups of columns. z has as many workgroups as there are rows, but only
// the first ceil(rows / ROWS) work. So the shader reads the row count from the grid.

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;      // [T, K/4]
@group(0) @binding(1) var<storage, read_write> quants: array<vec4<u32>>; // [N, blocks] or twice that
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;            // [T, N]

const BLOCKS: u32 = {{ blocks }}u;
const N: u32 = {{ n }}u;
const ROWS: u32 = {{ rows }}u;
const LANES: u32 = {{ lanes }}u;
const TEAMS: u32 = 64u / LANES;
const SCALE_WORDS: u32 = {{ scale_words }}u;
const HAS_FLOOR: bool = {{ has_floor }};

var<workgroup> partial: array<vec4<f32>, ROWS * 64u>;

// 32 numbers.
struct Block {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
    e: vec4<f32>,
    f: vec4<f32>,
    g: vec4<f32>,
    h: vec4<f32>,
}

fn signed(word: u32) -> vec4<f32> {
    let bytes = bitcast<vec4<i32>>(vec4<u32>(word << 24u, word << 16u, word << 8u, word));
    return vec4<f32>(bytes >> vec4<u32>(24u));
}

fn nibbles(word: u32) -> vec4<f32> {
    return vec4<f32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u));
}

// The integers of block `at` of all rows together.
fn integers(at: u32) -> Block {
    {{ integers }}
}

// The scale of a block and what its sum is multiplied with, or the scales of its two halves.
fn factors(row: u32, block: u32) -> vec2<f32> {
    let words = row * SCALE_WORDS;
    {{ factors }}
}

fn x_of(at: u32) -> Block {
    return Block(x[at], x[at + 1u], x[at + 2u], x[at + 3u], x[at + 4u], x[at + 5u], x[at + 6u], x[at + 7u]);
}

fn sum(v: Block) -> f32 {
    if (!HAS_FLOOR) {
        return 0.0;
    }
    return dot(((v.a + v.b) + (v.c + v.d)) + ((v.e + v.f) + (v.g + v.h)), vec4<f32>(1.0));
}

// The product of a block of x, whose numbers sum up to `total`, with a block of integers.
fn product(v: Block, w: Block, factor: vec2<f32>, total: f32) -> f32 {
    let low = (dot(v.a, w.a) + dot(v.b, w.b)) + (dot(v.c, w.c) + dot(v.d, w.d));
    let high = (dot(v.e, w.e) + dot(v.f, w.f)) + (dot(v.g, w.g) + dot(v.h, w.h));
    return {{ scaled }};
}

// The same for four columns.
fn products(
    v: Block,
    total: f32,
    w0: Block,
    w1: Block,
    w2: Block,
    w3: Block,
    f0: vec2<f32>,
    f1: vec2<f32>,
    f2: vec2<f32>,
    f3: vec2<f32>,
) -> vec4<f32> {
    return vec4<f32>(
        product(v, w0, f0, total),
        product(v, w1, f1, total),
        product(v, w2, f2, total),
        product(v, w3, f3, total),
    );
}

@compute @workgroup_size(64, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let rows = groups.z;
    let t = group.z * ROWS;
    if (t >= rows) {
        return;
    }
    let lane = index % LANES;
    let n = ((group.y * groups.x + group.x) * TEAMS + index / LANES) * 4u;
    // Rows and columns past the last one repeat it, and their results are not stored.
    let n0 = min(n, N - 1u);
    let n1 = min(n + 1u, N - 1u);
    let n2 = min(n + 2u, N - 1u);
    let n3 = min(n + 3u, N - 1u);
    let x0 = t * BLOCKS;
    let x1 = min(t + 1u, rows - 1u) * BLOCKS;
    let x2 = min(t + 2u, rows - 1u) * BLOCKS;
    let x3 = min(t + 3u, rows - 1u) * BLOCKS;

    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var block = lane; block < BLOCKS; block += LANES) {
        let f0 = factors(n0, block);
        let f1 = factors(n1, block);
        let f2 = factors(n2, block);
        let f3 = factors(n3, block);
        let w0 = integers(n0 * BLOCKS + block);
        let w1 = integers(n1 * BLOCKS + block);
        let w2 = integers(n2 * BLOCKS + block);
        let w3 = integers(n3 * BLOCKS + block);
        let v0 = x_of((x0 + block) * 8u);
        s0 += products(v0, sum(v0), w0, w1, w2, w3, f0, f1, f2, f3);
        if (ROWS > 1u) {
            let v1 = x_of((x1 + block) * 8u);
            s1 += products(v1, sum(v1), w0, w1, w2, w3, f0, f1, f2, f3);
            let v2 = x_of((x2 + block) * 8u);
            s2 += products(v2, sum(v2), w0, w1, w2, w3, f0, f1, f2, f3);
            let v3 = x_of((x3 + block) * 8u);
            s3 += products(v3, sum(v3), w0, w1, w2, w3, f0, f1, f2, f3);
        }
    }
    partial[index] = s0;
    if (ROWS > 1u) {
        partial[64u + index] = s1;
        partial[128u + index] = s2;
        partial[192u + index] = s3;
    }
    workgroupBarrier();
    // The columns of a team in a row are added up by one lane.
    for (var sums = index; sums < TEAMS * ROWS; sums += 64u) {
        let row = sums / TEAMS;
        let team = sums % TEAMS;
        let column = ((group.y * groups.x + group.x) * TEAMS + team) * 4u;
        if (t + row < rows && column < N) {
            var total = vec4<f32>();
            for (var i = 0u; i < LANES; i++) {
                total += partial[row * 64u + team * LANES + i];
            }
            for (var i = 0u; i < min(4u, N - column); i++) {
                y[(t + row) * N + column + i] = total[i];
            }
        }
    }
}
