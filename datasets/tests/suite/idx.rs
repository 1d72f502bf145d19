//! `[data.idx]`: one's own files in MNIST's format, good and bad.
use crate::common::{based_in, folder, gzip, idx, message};
use kd_datasets::{Dataset, Error, Idx, Kind, Pixels, Source};
use tempfile::TempDir;

const RECIPE: &str = r#"
    train-images = "a"
    train-labels = "b"
    test-images = "c"
    test-labels = "d"
    classes = 3
    validation = 1
"#;

/// Loads four files of the given bytes, with `more` lines in the recipe.
fn load(files: [Vec<u8>; 4], more: &str) -> (TempDir, Result<Dataset, Error>) {
    let [a, b, c, d] = &files;
    let there = folder(&[("a", a), ("b", b), ("c", c), ("d", d)]);
    let source: Idx = toml::from_str(&format!("{RECIPE}{more}")).unwrap();
    let loaded = source.load(&based_in(there.path()));
    (there, loaded)
}

fn good() -> [Vec<u8>; 4] {
    [
        idx(8, &[2, 1, 2], &[0, 255, 51, 102]),
        idx(8, &[2], &[2, 0]),
        idx(8, &[1, 1, 2], &[255, 0]),
        idx(8, &[1], &[1]),
    ]
}

#[test]
fn images_are_read_and_normalized() {
    let (_there, loaded) = load(good(), "mean = 0.5\nstd = 0.25\n");
    let set = loaded.unwrap();
    assert_eq!((set.name.as_str(), set.shape.as_slice(), set.classes), ("idx", [1, 1, 2].as_slice(), 3));
    assert_eq!((set.train.labels(), set.test.labels()), ([2, 0].as_slice(), [1].as_slice()));
    let mut rows = vec![9.0; 7];
    set.train.rows(&[1, 0, 1], &mut rows);
    let expected = [51.0, 102.0, 0.0, 255.0, 51.0, 102.0].map(|v: f32| (v / 255.0 - 0.5) / 0.25);
    assert_eq!(rows, expected);
    let mut labels = Vec::new();
    set.train.labels_at(&[1, 0], &mut labels);
    assert_eq!(labels, [0, 2]);
}

#[test]
fn mean_and_deviation_are_measured_on_training_values_alone() {
    let (_there, loaded) = load(good(), "");
    let set = loaded.unwrap();
    // 0, 1, 0.2 and 0.4 have mean 0.4 and variance (0.16 + 0.36 + 0.04 + 0) / 4.
    assert!((set.mean() - 0.4).abs() < 1e-6, "{}", set.mean());
    assert!((set.std() - 0.14_f32.sqrt()).abs() < 1e-6, "{}", set.std());
    assert_eq!(set.train.normalization(), set.test.normalization());
}

#[test]
fn gzip_and_plain_files_are_the_same() {
    let (_a, plain) = load(good(), "");
    let (_b, packed) = load(good().map(|bytes| gzip(&bytes)), "");
    assert_eq!(plain.unwrap(), packed.unwrap());
}

#[test]
fn every_type_of_the_format_is_read() {
    let cases: [(u8, Vec<u8>); 5] = [
        (0x09, vec![(-3_i8).cast_unsigned(), 2]),
        (0x0b, [(-3_i16).to_be_bytes(), 2_i16.to_be_bytes()].concat()),
        (0x0c, [(-3_i32).to_be_bytes(), 2_i32.to_be_bytes()].concat()),
        (0x0d, [(-3_f32).to_be_bytes(), 2_f32.to_be_bytes()].concat()),
        (0x0e, [(-3_f64).to_be_bytes(), 2_f64.to_be_bytes()].concat()),
    ];
    for (code, values) in cases {
        let images = idx(code, &[1, 2], &values);
        let label = idx(0x0c, &[1], &2_i32.to_be_bytes());
        let (_there, loaded) = load([images.clone(), label.clone(), images, label], "");
        let set = loaded.unwrap();
        assert_eq!(set.train.pixels(), &Pixels::Floats(vec![-3.0, 2.0]), "type {code:#04x}");
        assert_eq!(set.shape, [2]);
        assert_eq!(set.normalization().divisor(), 1.0);
        assert_eq!(set.train.labels(), [2]);
    }
}

#[test]
fn channels_are_kept() {
    let images = idx(8, &[1, 3, 1, 2], &[0, 1, 2, 3, 4, 5]);
    let label = idx(8, &[1], &[0]);
    let (_there, loaded) = load([images.clone(), label.clone(), images, label], "scale = 5\n");
    let set = loaded.unwrap();
    assert_eq!(set.shape, [3, 1, 2]);
    assert_eq!(set.normalization().divisor(), 5.0);
}

#[test]
fn wrong_files_are_named() {
    /// Which of the four files is replaced, by what, and what is said.
    struct Case {
        file: usize,
        bytes: Vec<u8>,
        says: &'static str,
    }
    let packed = gzip(&good()[0]);
    let cases = [
        Case {
            file: 0,
            bytes: b"1,2,3\n".to_vec(),
            says: "`DIR/a`: expected an IDX file (bytes `00 00`, a type, a rank of 1 to 4), found `31 2c 32 2c`\n\
                   help: check that the right file is named; a table of text is read by `[data.csv]`",
        },
        Case {
            file: 2,
            bytes: vec![0, 0, 8],
            says: "`DIR/c`: expected an IDX file (bytes `00 00`, a type, a rank of 1 to 4), found `00 00 08`\n\
                   help: check that the right file is named; a table of text is read by `[data.csv]`",
        },
        Case {
            file: 0,
            bytes: packed[..packed.len() - 9].to_vec(),
            says: "`DIR/a`: expected a whole gzip file, found one that breaks off or is corrupt after N unpacked bytes\n\
                   help: download or pack the file again; `gzip -t FILE` tells whether it is whole",
        },
        Case {
            file: 0,
            bytes: idx(8, &[2, 1, 2], &[0, 255, 51]),
            says: "`DIR/a`: expected 20 bytes for shape [2, 1, 2], found 19\n\
                   help: the file is cut off or has a wrong header: copy or write it again",
        },
        Case {
            file: 0,
            bytes: idx(8, &[2, 1, 2], &[0; 5]),
            says: "`DIR/a`: expected 20 bytes for shape [2, 1, 2], found 21\n\
                   help: the file is cut off or has a wrong header: copy or write it again",
        },
        Case {
            file: 0,
            bytes: idx(8, &[u32::MAX, u32::MAX, u32::MAX], &[]),
            says: "`DIR/a`: expected 79228162458924105385300197391 bytes for shape [4294967295, 4294967295, 4294967295], \
                   found 16\n\
                   help: the file is cut off or has a wrong header: copy or write it again",
        },
        Case {
            file: 1,
            bytes: Vec::new(),
            says: "`DIR/b`: expected examples, found an empty file\n\
                   help: check that the file was written, and that it holds more than a header",
        },
        Case {
            file: 0,
            bytes: idx(8, &[0, 28, 28], &[]),
            says: "`DIR/a`: expected examples, found an empty file\n\
                   help: check that the file was written, and that it holds more than a header",
        },
        Case {
            file: 1,
            bytes: idx(8, &[3], &[0, 1, 2]),
            says: "`DIR/b`: expected 2 labels, one for each image of `DIR/a`, found 3\n\
                   help: check that files of the same set are named",
        },
        Case {
            file: 1,
            bytes: idx(8, &[2], &[0, 3]),
            says: "`DIR/b`, example 1: expected a label, a whole number from 0 to 2, found `3`\n\
                   help: number the classes from 0, and check `classes` and the column of the label",
        },
        Case {
            file: 3,
            bytes: idx(9, &[1], &[255]),
            says: "`DIR/d`, example 0: expected a label, a whole number from 0 to 2, found `-1`\n\
                   help: number the classes from 0, and check `classes` and the column of the label",
        },
        Case {
            file: 3,
            bytes: idx(0x0d, &[1], &1_f32.to_be_bytes()),
            says: "`DIR/d`: expected labels of a whole-number type, found f32\n\
                   help: store labels as bytes or integers",
        },
        Case {
            file: 1,
            bytes: idx(8, &[2, 1, 2], &[0; 4]),
            says: "`DIR/b`: expected labels of shape [n], found an IDX file of shape [2, 1, 2]\n\
                   help: check that the files of images and labels are not exchanged",
        },
        Case {
            file: 0,
            bytes: idx(8, &[2], &[0, 1]),
            says: "`DIR/a`: expected examples of shape [n, h, w], [n, c, h, w] or [n, features], found an IDX file of \
                   shape [2]\n\
                   help: check that the files of images and labels are not exchanged",
        },
        Case {
            file: 2,
            bytes: idx(8, &[1, 2, 2], &[0; 4]),
            says: "`DIR/c`: expected examples of shape [1, 1, 2] as in `DIR/a`, found [1, 2, 2]\n\
                   help: check that files of the same set are named",
        },
        Case {
            file: 2,
            bytes: idx(0x0d, &[1, 1, 2], &[1_f32.to_be_bytes(), f32::NAN.to_be_bytes()].concat()),
            says: "`DIR/c`, example 0: expected a finite number, found `NaN`\n\
                   help: fill or remove the cell; texts and categories must become numbers first",
        },
    ];
    for case in cases {
        let mut files = good();
        files[case.file] = case.bytes;
        let (there, loaded) = load(files, "");
        let error = loaded.unwrap_err();
        let says = match &error {
            Error::Gzip { unpacked, .. } => case.says.replace('N', &unpacked.to_string()),
            _ => case.says.to_owned(),
        };
        assert_eq!(message(&error, there.path()), says);
        assert_eq!(error.kind(), Kind::Malformed);
        let file = there.path().join(["a", "b", "c", "d"][case.file]);
        assert_eq!(error.path(), Some(file.as_path()));
    }
}

#[test]
fn an_absent_file_and_a_folder_are_told_apart() {
    let there = folder(&[("a/inside", b"")]);
    let source: Idx = toml::from_str(RECIPE).unwrap();
    let error = source.load(&based_in(there.path())).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("cannot read")), (Kind::Io, true));
    let error = source.load(&based_in(&there.path().join("a"))).unwrap_err();
    assert_eq!(
        message(&error, there.path()),
        "there is no file `DIR/a/a`\nhelp: check the path; relative ones start at the folder that the command runs in"
    );
}

#[test]
fn equal_values_have_no_deviation() {
    let mut files = good();
    files[0] = idx(8, &[2, 1, 2], &[51; 4]);
    let (there, loaded) = load(files.clone(), "");
    let error = loaded.unwrap_err();
    assert_eq!(
        message(&error, there.path()),
        "expected training values that differ, found 51 everywhere, so that their standard deviation is 0\n\
         help: write `std = 1.0` if that is meant"
    );
    let (_there, loaded) = load(files, "std = 1.0\n");
    assert!((loaded.unwrap().mean() - 0.2).abs() < 1e-7);
}
