//! A run that is stopped anywhere, any number of times, ends with the same bytes.
use crate::common::{RECIPE, StopAfter, exact_files, go_on, run};
use kd_train::Error;
use kd_train::event::Silent;

#[test]
fn stopped_and_resumed_equals_uninterrupted_byte_for_byte() {
    let base = tempfile::tempdir().unwrap();
    let whole = run(RECIPE, &[], base.path(), &mut Silent).unwrap();
    assert!(whole.dir.ends_with("runs/tiny"));

    let again = run(RECIPE, &[], base.path(), &mut Silent).unwrap();
    assert!(again.dir.ends_with("runs/tiny-2"), "a finished run is not overwritten: {}", again.dir.display());
    let expected = exact_files(&whole.dir);
    compare(&expected, &exact_files(&again.dir), "two plain runs");

    // Prime step counts, so that stops fall everywhere: first and last steps of epochs, between stages.
    let other = tempfile::tempdir().unwrap();
    let mut stops = [1, 17, 26, 2, 41, 7, 29, 13].into_iter().cycle();
    let mut result = run(RECIPE, &[], other.path(), &mut StopAfter(stops.next().unwrap()));
    let dir = other.path().join("runs/tiny");
    let mut sessions = 1;
    while let Err(error) = result {
        assert!(matches!(&error, Error::Interrupted { run } if *run == dir), "{error:?}");
        assert!(sessions < 100, "the run does not get on");
        result = go_on(&dir, &mut StopAfter(stops.next().unwrap()));
        sessions += 1;
    }
    assert!(sessions > 8, "only {sessions} sessions");
    compare(&expected, &exact_files(&dir), &format!("{sessions} sessions"));

    let printed = go_on(&dir, &mut Silent).unwrap();
    assert_eq!(printed.report, result.unwrap().report, "a finished run prints its report again");
}

#[test]
fn an_unfinished_run_is_not_begun_anew() {
    let base = tempfile::tempdir().unwrap();
    let stopped = run(RECIPE, &[], base.path(), &mut StopAfter(1)).unwrap_err();
    assert!(matches!(stopped, Error::Interrupted { .. }));
    let error = run(RECIPE, &[], base.path(), &mut Silent).unwrap_err();
    assert_eq!(error.code(), "run::unfinished");
    assert!(error.help().unwrap().contains("kd train --resume"), "{:?}", error.help());
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let base = tempfile::tempdir().unwrap();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let folder = base.path().join(threads.to_string());
        exact_files(&pool.install(|| run(RECIPE, &[], &folder, &mut Silent).unwrap().dir))
    };
    let expected = on(1);
    compare(&expected, &on(2), "two threads");
    compare(&expected, &on(4), "four threads");
}

#[test]
fn a_feature_loss_of_more_than_four_million_elements_has_the_same_bits_on_any_threads() {
    use burn::tensor::{Device, Distribution, Tensor};
    let device = Device::flex();
    device.seed(5);
    // Burn's full reduction adds 4·1024² elements and more in an order that depends on who steals work.
    let features = || Tensor::<4>::random([66, 16, 64, 64], Distribution::Default, &device);
    let (student, teacher) = (features(), features());
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let loss = || kd_core::loss::hint(student.clone(), teacher.clone()).unwrap().into_scalar::<f32>();
        pool.install(|| (0..8).map(|_| loss().to_bits()).collect::<Vec<_>>())
    };
    let expected = vec![on(1)[0]; 8];
    assert_eq!(on(2), expected);
    assert_eq!(on(4), expected);
}

#[test]
fn burns_kernels_run_the_same_recipe() {
    let base = tempfile::tempdir().unwrap();
    let ours = run(RECIPE, &[], base.path(), &mut Silent).unwrap();
    let burns = run(RECIPE, &["device.kernels=burn"], base.path(), &mut Silent).unwrap();
    let (ours, burns) = (exact_files(&ours.dir), exact_files(&burns.dir));
    assert_eq!(ours.keys().collect::<Vec<_>>(), burns.keys().collect::<Vec<_>>());
    assert_ne!(ours["metrics.jsonl"], burns["metrics.jsonl"], "they add in different orders");
}

fn compare(
    expected: &std::collections::BTreeMap<String, Vec<u8>>,
    found: &std::collections::BTreeMap<String, Vec<u8>>,
    what: &str,
) {
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{what}");
    assert!(expected.len() > 20, "only {} files", expected.len());
    for (name, bytes) in expected {
        assert!(bytes == &found[name], "{what}: `{name}` differs");
    }
}
