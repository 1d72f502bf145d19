//! All randomness, from the recipe's one seed.
//!
//! Every use has a stream of its own, named by words and numbers, so that adding a stage, resuming in the middle
//! of an epoch or evaluating more often never shifts the numbers that another part draws.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The stream of `seed` that belongs to `purpose` and `index`: its key is SHA-256 of the three.
pub fn stream(seed: u64, purpose: &str, index: &[u64]) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(key(seed, purpose, index))
}

/// A seed for a generator that takes 64 bits, such as a device's.
pub fn derive(seed: u64, purpose: &str, index: &[u64]) -> u64 {
    let key = key(seed, purpose, index);
    u64::from_le_bytes(key[..8].try_into().expect("eight of 32 bytes"))
}

fn key(seed: u64, purpose: &str, index: &[u64]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update((purpose.len() as u64).to_le_bytes());
    hash.update(purpose.as_bytes());
    for number in index {
        hash.update(number.to_le_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_index_and_repeat() {
        let all = [
            derive(1, "order", &[0]),
            derive(2, "order", &[0]),
            derive(1, "augment", &[0]),
            derive(1, "order", &[1]),
            derive(1, "order", &[0, 0]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "stream {i} repeats an earlier one");
        }
        assert_eq!(all[0], derive(1, "order", &[0]));
    }
}
