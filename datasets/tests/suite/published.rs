//! The published sets: what is in them, where they are looked for, and what is said of wrong files.
use std::fs;
use std::path::PathBuf;

use crate::common::{folder, gzip, message, repository, skip};
use kd_datasets::{
    Availability, Damage, Digits, FashionMnist, FileState, Folders, Kind, MNIST, Mnist, Normalization,
    Pixels, Published, Source, WORDNET_GLOSSES, WordnetGlosses, list, verify, workspace_datasets,
};

fn counts(labels: &[u32]) -> Vec<usize> {
    let classes = labels.iter().max().map_or(0, |&most| most as usize + 1);
    let mut counts = vec![0; classes];
    for &label in labels {
        counts[label as usize] += 1;
    }
    counts
}

/// Mean and standard deviation of all training pixels, measured here by the definition.
fn measured(pixels: &Pixels, divisor: f64) -> (f64, f64) {
    let Pixels::Bytes(bytes) = pixels else { panic!("images are bytes") };
    let n = bytes.len() as f64;
    let mut histogram = [0_u64; 256];
    bytes.iter().for_each(|&byte| histogram[usize::from(byte)] += 1);
    let moment = |f: &dyn Fn(f64) -> f64| {
        histogram.iter().enumerate().map(|(v, &count)| count as f64 * f(v as f64 / divisor)).sum::<f64>() / n
    };
    let mean = moment(&|v| v);
    (mean, moment(&|v| (v - mean).powi(2)).sqrt())
}

fn check_normalization(pixels: &Pixels, normalization: Normalization) {
    let (mean, std) = measured(pixels, f64::from(normalization.divisor()));
    assert!((mean - f64::from(normalization.mean())).abs() < 1e-4, "{mean}");
    assert!((std - f64::from(normalization.std())).abs() < 1e-4, "{std}");
}

#[test]
fn digits_are_what_uci_publishes() {
    let digits = Digits::default().load(&Folders::default()).unwrap();
    assert_eq!((digits.train.len(), digits.test.len()), (3823, 1797));
    assert_eq!((digits.shape.as_slice(), digits.classes), ([1, 8, 8].as_slice(), 10));
    // The class counts of UCI's own description.
    assert_eq!(counts(digits.train.labels()), [376, 389, 380, 389, 387, 376, 377, 387, 380, 382]);
    assert_eq!(counts(digits.test.labels()), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    check_normalization(digits.train.pixels(), digits.normalization());
}

#[test]
fn what_a_set_says_of_its_examples_is_what_is_loaded() {
    let folders = Folders { workspace: repository(), ..Folders::default() };
    let sources: [&dyn Source; 4] =
        [&Digits::default(), &WordnetGlosses::default(), &Mnist::default(), &FashionMnist::default()];
    for source in sources {
        let form = source.form().unwrap();
        // Those that are not on this machine say it all the same.
        if let Ok(loaded) = source.load(&folders) {
            assert_eq!((form.shape, form.classes), (loaded.shape, loaded.classes), "{}", source.name());
        }
    }
}

#[test]
fn mnist_of_the_repository_is_mnist() {
    let Some(datasets) = repository() else { return };
    let folders = Folders { workspace: Some(datasets.clone()), ..Folders::default() };
    let mnist = Mnist::default().load(&folders).unwrap();
    assert_eq!((mnist.train.len(), mnist.test.len()), (60_000, 10_000));
    assert_eq!((mnist.shape.as_slice(), mnist.classes), ([1, 28, 28].as_slice(), 10));
    assert_eq!(mnist.test.labels()[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    check_normalization(mnist.train.pixels(), mnist.normalization());

    // The first training image, a five, has this row of pixels: the values a network sees are theirs.
    let mut rows = Vec::new();
    mnist.train.rows(&[0], &mut rows);
    let row: Vec<u8> = vec![0, 0, 0, 3, 18, 18, 18, 126, 136, 175, 26, 166, 255, 247, 127];
    for (found, byte) in rows[5 * 28 + 9..].iter().zip(row) {
        assert_eq!(*found, (f32::from(byte) / 255.0 - 0.1307) / 0.3081);
    }

    assert!(verify("mnist", &folders).unwrap().is_good());
    assert_eq!(list(&folders)[0].availability, Availability::Folder(datasets.join("mnist")));
}

#[test]
fn fashion_mnist_is_fashion_mnist() {
    let Some(data) = std::env::var_os("KD_TEST_DATA").map(PathBuf::from) else {
        return skip("Fashion-MNIST: set `KD_TEST_DATA` to a folder that holds `fashion-mnist/`");
    };
    if !data.join("fashion-mnist").is_dir() {
        return skip("Fashion-MNIST: `KD_TEST_DATA` has no `fashion-mnist/`");
    }
    let folders = Folders { env: Some(data), ..Folders::default() };
    let fashion = FashionMnist::default().load(&folders).unwrap();
    assert_eq!(counts(fashion.train.labels()), [6000; 10]);
    assert_eq!(counts(fashion.test.labels()), [1000; 10]);
    check_normalization(fashion.train.pixels(), fashion.normalization());
    assert!(verify("fashion-mnist", &folders).unwrap().is_good());
}

/// The bytes of an example as text, without the zeros behind it.
fn text(rows: &[f32]) -> String {
    let end = rows.iter().rposition(|&byte| byte != 0.0).map_or(0, |last| last + 1);
    assert!(rows[..end].iter().all(|&byte| byte.fract() == 0.0 && (1.0..=255.0).contains(&byte)));
    String::from_utf8(rows[..end].iter().map(|&byte| byte as u8).collect()).unwrap()
}

#[test]
fn glosses_are_the_nouns_of_wordnet() {
    let glosses = WordnetGlosses::default().load(&Folders::default()).unwrap();
    assert_eq!((glosses.train.len(), glosses.test.len()), (73_974, 8_141));
    assert_eq!((glosses.train.len(), glosses.test.len()), WORDNET_GLOSSES.examples);
    assert_eq!((glosses.shape.as_slice(), glosses.classes), ([64].as_slice(), 26));
    assert_eq!((glosses.mean(), glosses.std(), glosses.normalization().divisor()), (0.0, 1.0, 1.0));

    // WordNet 3.0 has 82,115 noun synsets (`wnstats(7WN)`). The counts are those of `cut -f1 | sort | uniq -c`.
    assert_eq!(glosses.train.len() + glosses.test.len(), 82_115);
    let train = [
        47, 5985, 6759, 10468, 2714, 1845, 2674, 5028, 980, 384, 2331, 2353, 2880, 39, 1388, 10025, 580,
        7227, 954, 693, 1141, 384, 306, 3173, 2686, 930,
    ];
    let test = [
        4, 665, 750, 1119, 325, 171, 290, 579, 94, 44, 242, 271, 329, 3, 157, 1062, 61, 803, 107, 77, 134,
        53, 35, 371, 297, 98,
    ];
    assert_eq!(counts(glosses.train.labels()), train);
    assert_eq!(counts(glosses.test.labels()), test);
    let named = |name: &str| WordnetGlosses::CLASSES.iter().position(|class| *class == name).unwrap();
    assert_eq!([train[named("noun.motive")], test[named("noun.plant")]], [39, 803]);

    // The first line of the training file, longer than an example, and of the test file, shorter.
    let mut rows = Vec::new();
    glosses.train.rows(&[0], &mut rows);
    assert_eq!(text(&rows), "that which is perceived or known or inferred to have its own dis");
    glosses.test.rows(&[0], &mut rows);
    assert_eq!(rows.len(), 64);
    assert_eq!(text(&rows), "an object occurring naturally; not made by man");
    assert_eq!([rows[0], rows[1], rows[2], rows[46]], [97.0, 110.0, 32.0, 0.0]);
}

#[test]
fn whole_glosses_come_back_as_they_were_written() {
    let longest: WordnetGlosses = toml::from_str("length = 512").unwrap();
    let glosses = longest.load(&Folders::default()).unwrap();
    assert_eq!(glosses.shape, [512]);
    let mut written = String::new();
    let mut rows = Vec::new();
    for (index, &label) in glosses.test.labels().iter().enumerate() {
        glosses.test.rows(&[index], &mut rows);
        written += &format!("{}\t{}\n", WordnetGlosses::CLASSES[label as usize], text(&rows));
    }
    // No definition is longer than 512 bytes, so that nothing is lost: these are the bytes of the file.
    let file = &WORDNET_GLOSSES.files[1];
    assert_eq!(written.len() as u64, file.bytes);
    let sha256: String =
        <sha2::Sha256 as sha2::Digest>::digest(&written).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(sha256, file.sha256);
}

#[test]
fn embedded_files_verify_and_list() {
    for name in ["digits", "wordnet-glosses"] {
        let verified = verify(name, &Folders::default()).unwrap();
        assert_eq!(verified.files.len(), 2);
        assert!(verified.is_good() && verified.folder.is_none());
    }
    let found: Vec<_> = list(&Folders::default()).into_iter().map(|l| (l.set.name, l.availability)).collect();
    assert_eq!(
        found,
        [
            ("mnist", Availability::Absent),
            ("fashion-mnist", Availability::Absent),
            ("digits", Availability::Embedded),
            ("wordnet-glosses", Availability::Embedded)
        ]
    );
}

#[test]
fn the_catalog_has_unique_names_and_whole_checksums() {
    for (index, set) in Published::ALL.iter().enumerate() {
        assert!(Published::ALL[..index].iter().all(|other| other.name != set.name));
        for file in set.files {
            assert_eq!(file.sha256.len(), 64, "{}", file.name);
            assert!(
                file.sha256.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)),
                "{}",
                file.name
            );
        }
        assert!(set.addresses.iter().all(|address| address.ends_with('/')));
        let n = set.normalization;
        assert!(Normalization::new(n.divisor(), n.mean(), n.std()).is_ok());
    }
    let error = Published::named("minst").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no data set is named `minst`; there are `mnist`, `fashion-mnist`, `digits`, `wordnet-glosses`"
    );
}

#[test]
fn folders_are_searched_in_order_and_an_explicit_one_alone() {
    let there = folder(&[("mnist/t10k-labels-idx1-ubyte", b"x"), ("flat/train-labels-idx1-ubyte.gz", b"x")]);
    let [yes, no, flat] = ["", "nothing", "flat"].map(|name| there.path().join(name));
    let find = |folders: Folders| folders.find(&MNIST).map_err(|error| message(&error, there.path()));
    let some = |path: &PathBuf| Some(path.clone());

    let folders = Folders { env: some(&no), workspace: some(&yes), ..Folders::default() };
    assert_eq!(find(folders).unwrap(), there.path().join("mnist"));
    let folders = Folders { env: some(&flat), workspace: some(&no), cache: some(&yes), ..Folders::default() };
    assert_eq!(
        find(folders).unwrap(),
        there.path().join("mnist"),
        "only an explicit folder may hold files directly"
    );
    let folders = Folders { explicit: some(&flat), ..Folders::default() };
    assert_eq!(find(folders).unwrap(), flat);
    let folders = Folders { explicit: some(&no), workspace: some(&yes), ..Folders::default() };
    assert_eq!(
        find(folders).unwrap_err(),
        "the data set `mnist` was not found; looked in `DIR/nothing/mnist`, `DIR/nothing`\n\
         help: `kd data fetch mnist` downloads it; without a network, `kd data fetch mnist --from DIR` copies it, and \
         `KD_DATA=DIR` names a folder that holds `mnist/`"
    );
    assert!(find(Folders::default()).unwrap_err().contains("there is no folder to look in"));
}

#[test]
fn a_relative_path_starts_at_the_base() {
    let there = folder(&[("data/train-labels-idx1-ubyte.gz", b"")]);
    let folders = Folders { base: there.path().to_owned(), ..Folders::default() };
    let error = Mnist { path: Some("data".into()), validation: 0 }.load(&folders).unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
    assert_eq!(
        message(&error, there.path()),
        "the data set `mnist` is incomplete: there is no file `DIR/data/train-images-idx3-ubyte.gz`\n\
         help: `kd data fetch mnist` brings a whole copy"
    );
}

#[test]
fn the_enclosing_workspace_is_found_from_inside() {
    let there = folder(&[
        ("Cargo.toml", b"[workspace]\nmembers = []\n"),
        ("datasets/README.md", b""),
        ("crates/a/Cargo.toml", b"[package]\nname = \"a\"\n"),
    ]);
    assert_eq!(workspace_datasets(&there.path().join("crates/a")), Some(there.path().join("datasets")));
    fs::remove_dir_all(there.path().join("datasets")).unwrap();
    assert_eq!(workspace_datasets(&there.path().join("crates/a")), None);
}

#[test]
fn damage_is_named() {
    let Some(datasets) = repository() else { return };
    let name = "t10k-labels-idx1-ubyte.gz";
    let good = fs::read(datasets.join("mnist").join(name)).unwrap();
    let [short, other, long] =
        [5_000, 10_000, 10_001].map(|len| crate::common::idx(8, &[10_000], &vec![0; len]));
    // Checksums and what a cut-off stream yields are not compared.
    let cases: [(&[u8], Damage, &str); 5] = [
        (b"", Damage::Empty, "an empty file"),
        (
            &good[..good.len() / 2],
            Damage::Gzip { unpacked: 0 },
            "a gzip file that breaks off or is corrupt after N unpacked bytes",
        ),
        (&gzip(&short), Damage::Short { bytes: 5_008 }, "5008 bytes"),
        (&gzip(&other), Damage::Content { sha256: String::new() }, "SHA-256 `N`"),
        (&long, Damage::Long, "more bytes"),
    ];
    for (bytes, expected, text) in cases {
        let there = folder(&[("mnist/t10k-labels-idx1-ubyte.gz", bytes)]);
        for other in ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"]
        {
            fs::copy(datasets.join("mnist").join(other), there.path().join("mnist").join(other)).unwrap();
        }
        let folders = Folders { env: Some(there.path().to_owned()), ..Folders::default() };

        let verified = verify("mnist", &folders).unwrap();
        assert!(!verified.is_good());
        let FileState::Damaged(damage) = &verified.files[3].1 else { panic!("{:?}", verified.files[3]) };
        assert_eq!(std::mem::discriminant(damage), std::mem::discriminant(&expected), "{damage:?}");

        let text = match damage {
            Damage::Gzip { unpacked } => text.replace('N', &unpacked.to_string()),
            Damage::Content { sha256 } => text.replace('N', sha256),
            _ => text.to_owned(),
        };
        let error = Mnist::default().load(&folders).unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged);
        assert_eq!(
            message(&error, there.path()),
            format!(
                "`DIR/mnist/{name}`: expected the published file of `mnist` (10008 bytes unpacked, SHA-256 \
                 `ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2`), found {text}\n\
                 help: remove `DIR/mnist/{name}`, then `kd data fetch mnist` brings a good copy"
            )
        );
    }
}
