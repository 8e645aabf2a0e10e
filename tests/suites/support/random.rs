//! Numbers without a pattern that are the same again for the same seed, which a failing test prints.

use std::{env, fmt};

/// The environment variable with the seed of another run.
pub const SEED: &str = "WITGATE_SEED";

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
pub struct Random {
    state: u64,
    seed: u64,
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SEED}={}", self.seed)
    }
}

impl Random {
    /// Numbers by the seed in [`SEED`], or else by this one.
    ///
    /// # Panics
    /// If the variable is not a number.
    pub fn seeded(default: u64) -> Self {
        let seed = env::var(SEED).map_or(default, |seed| seed.parse().expect("a seed is a number"));
        Self { state: seed, seed }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end as u64).expect("it is below one of its kind")
    }

    /// One of several.
    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Says the seed if the test fails.
impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run it again with {SEED}={}", self.seed);
        }
    }
}
