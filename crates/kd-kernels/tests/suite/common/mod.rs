//! Numbers and comparisons of all kernel tests.

/// Numbers in -1 .. 1 from a seed.
pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub(crate) fn magnitudes(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| x.abs()).collect()
}

/// `|a − b| ≤ 1e-5 · size` of each element.
pub(crate) fn close(what: &str, found: &[f32], expected: &[f64], size: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, ((&found, &expected), &size)) in found.iter().zip(expected).zip(size).enumerate() {
        let far = (f64::from(found) - expected).abs();
        assert!(far <= 1e-5 * size, "{what}[{i}]: {found} for {expected}, {far:e} apart, size {size}");
    }
}

/// `|a − b| ≤ 1e-5 · max |b|`, for norms, pooling and optimizers.
pub(crate) fn near(what: &str, found: &[f32], expected: &[f64]) {
    near_terms(what, found, expected, 0.0);
}

/// As [`near`], of numbers that are sums of `terms` in size: a sum that cancels keeps its terms' rounding.
pub(crate) fn near_terms(what: &str, found: &[f32], expected: &[f64], terms: f64) {
    let most = expected.iter().fold(terms, |most, x| most.max(x.abs()));
    close(what, found, expected, &vec![most; expected.len()]);
}

/// The largest magnitude.
pub(crate) fn largest(x: &[f32]) -> f64 {
    x.iter().fold(0.0, |most, x| most.max(f64::from(x.abs())))
}

/// What `run` gives on one, two and four threads must be the same bits.
pub(crate) fn same_on_any_threads<T: PartialEq + Send>(run: impl Fn() -> T + Sync) {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(&run)
    };
    let one = on(1);
    assert!(one == on(2), "two threads give other bits than one");
    assert!(one == on(4), "four threads give other bits than one");
}
