//! Seeded randomness: a test that draws prints its seed, and runs again with it.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// The environment variable that sets the seed again.
pub const SEED_VARIABLE: &str = "TANDEM_SEED";

/// A generator for the test `name`. Its seed is [`SEED_VARIABLE`]'s if that is set, else a new one,
/// and is printed either way.
pub fn seeded(name: &str) -> ChaCha8Rng {
    let given = std::env::var(SEED_VARIABLE).ok().and_then(|s| s.trim().parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    announce(name, seed);
    ChaCha8Rng::seed_from_u64(seed)
}

// Tests show what is printed only when they fail, which is when the seed is wanted.
#[allow(clippy::print_stdout)]
fn announce(name: &str, seed: u64) {
    println!("{name}: seed {seed}; run again with {SEED_VARIABLE}={seed}");
}
