//! Packed models: every bit comes back, and a model starts from one as from any checkpoint.

use kd_deploy::{Array, safetensors};
use kd_train::event::Silent;
use kd_train::pack::{pack, unpack};
use kd_train::weights;

use crate::common::{run, trained};

#[test]
fn a_run_is_packed_unpacked_and_taken_as_a_checkpoint() {
    let trained = trained();
    let folder = tempfile::tempdir().unwrap();
    let (packed, back) = (folder.path().join("model.kdz"), folder.path().join("back.safetensors"));
    let before = weights::read(&weights::resolve(&trained.dir).unwrap()).unwrap();
    let report = pack(&trained.dir, &packed).unwrap();
    assert_eq!(report.bytes, std::fs::metadata(&packed).unwrap().len());
    let elements: usize = before.arrays.values().map(|array| array.data().len()).sum();
    assert_eq!(report.float_bytes, 4 * elements as u64);
    assert_eq!(unpack(&packed, &back).unwrap(), before.arrays.len());
    assert_eq!(safetensors::read(&back).unwrap().arrays, before.arrays);
    for (out, done) in
        [(&packed, pack(&trained.dir, &packed).map(drop)), (&back, unpack(&packed, &back).map(drop))]
    {
        assert_eq!(done.unwrap_err().code(), "run::file-exists", "{}", out.display());
    }

    let (recipe, [teacher, student]) = trained.recipe("weights = \"int8 channel narrow\"");
    let packed = folder.path().join("student.kdz");
    pack(&trained.dir.join("2-distill"), &packed).unwrap();
    let rounded = |student: &str| {
        let base = tempfile::tempdir().unwrap();
        let dir = run(&recipe, &[&teacher, student], base.path(), &mut Silent).unwrap().dir;
        std::fs::read(dir.join("2-rounded/model.safetensors")).unwrap()
    };
    let from_packed = rounded(&format!("student.checkpoint={:?}", packed.display().to_string()));
    assert!(from_packed == rounded(&student), "another student came out of the packed file");
}

#[test]
fn few_values_at_few_places_take_few_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (floats, packed) = (folder.path().join("w.safetensors"), folder.path().join("w.kdz"));
    let value = |i: usize| if i.is_multiple_of(13) { ((i / 13 * 7) % 16) as f32 - 7.5 } else { 0.0 };
    let array = Array::new([100, 260], (0..26_000).map(value).collect::<Vec<_>>()).unwrap();
    safetensors::write(&floats, &[("w".to_owned(), array)].into(), &Default::default()).unwrap();
    let report = pack(&floats, &packed).unwrap();
    assert_eq!(report.tensors[0].shared, Some((2000, 16)));
    // Four bits a value, and regular gaps are free.
    assert!(report.bytes < 1000 + 300, "{} bytes", report.bytes);
    assert!(report.ratio() > 80.0, "{}", report.ratio());
}

#[test]
fn damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.kdz");
    std::fs::write(&file, b"KDZ1....").unwrap();
    let error = unpack(&file, &folder.path().join("out.safetensors")).unwrap_err();
    assert_eq!(error.code(), "checkpoint::unusable");
    assert!(error.to_string().contains("its checksum is not that of its content"), "{error}");
}
