//! Repeatable randomness for tests.

/// A small generator that gives the same numbers for the same seed.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// A number of 0..n.
    #[allow(dead_code)] // not every test draws numbers
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A number of -1..1, hardly ever 0.
    #[allow(dead_code)] // not every test draws values
    pub fn unit(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 30) as f32 - 1.0
    }
}
