//! Splits: whole, disjoint, uniform, and the same for a seed for ever.
use kd_datasets::{Error, split};

#[test]
fn both_halves_together_are_everything_once() {
    for (len, validation) in [(1, 0), (10, 0), (10, 3), (1000, 999)] {
        let split = split(len, validation, 7).unwrap();
        assert_eq!(split.validation.len(), validation);
        assert!(split.train.is_sorted() && split.validation.is_sorted());
        let mut all = [split.train, split.validation].concat();
        all.sort_unstable();
        assert_eq!(all, (0..len).collect::<Vec<_>>());
    }
}

#[test]
fn a_seed_means_the_same_split_in_every_version() {
    assert_eq!(split(60_000, 5000, 42).unwrap(), split(60_000, 5000, 42).unwrap());
    assert_ne!(split(60_000, 5000, 42).unwrap(), split(60_000, 5000, 43).unwrap());
    assert_eq!(split(20, 5, 42).unwrap().validation, [0, 8, 9, 13, 19]);
    assert_eq!(split(20, 5, 43).unwrap().validation, [1, 10, 13, 15, 17]);
}

#[test]
fn every_example_is_as_likely() {
    let mut counts = [0_u32; 10];
    for seed in 0..4000 {
        for index in split(10, 3, seed).unwrap().validation {
            counts[index] += 1;
        }
    }
    // 1200 are expected, with a standard deviation of 29.
    assert!(counts.iter().all(|&count| (1080..=1320).contains(&count)), "{counts:?}");
}

#[test]
fn something_must_be_left_to_learn_from() {
    let error = split(10, 10, 0).unwrap_err();
    assert!(matches!(error, Error::Split { examples: 10, validation: 10 }));
    assert_eq!(
        error.to_string(),
        "expected fewer validation examples than the 10 training examples, found 10"
    );
}
