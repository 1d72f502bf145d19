//! The recipe tables: what they accept, what they say of a wrong value, and that their documentation is complete.
use kd_datasets::{
    Csv, Dataset, Digits, Error, Examples, FashionMnist, Idx, LabelColumn, Mnist, Normalization, Pixels,
    SOURCES, Source, WordnetGlosses,
};
use serde::de::DeserializeOwned;

const IDX: &str = "train-images = 'a'\ntrain-labels = 'b'\ntest-images = 'c'\ntest-labels = 'd'\n";

fn refused<T: DeserializeOwned + std::fmt::Debug>(table: &str) -> String {
    toml::from_str::<T>(table).unwrap_err().to_string()
}

#[test]
fn published_sets_have_defaults() {
    assert_eq!(toml::from_str::<Mnist>("").unwrap(), Mnist { path: None, validation: 5000 });
    assert_eq!(toml::from_str::<Digits>("").unwrap(), Digits { validation: 380 });
    let glosses: WordnetGlosses = toml::from_str("").unwrap();
    assert_eq!((glosses.length.get(), glosses.validation), (64, 5000));
    let fashion: FashionMnist = toml::from_str("path = 'here'\nvalidation = 100").unwrap();
    assert_eq!((fashion.path, fashion.validation), (Some("here".into()), 100));
}

#[test]
fn a_table_comes_back_as_it_was_written() {
    let text = format!("{IDX}classes = 10\nvalidation = 100\nscale = 255.0\nmean = 0.1307\nstd = 0.3081\n");
    let idx: Idx = toml::from_str(&text).unwrap();
    assert_eq!(toml::to_string(&idx).unwrap().replace('"', "'"), text);
    for label in ["'last'", "'first'", "'kind'", "4"] {
        let text = format!(
            "train = 'a'\ntest = 'b'\nclasses = 10\nvalidation = 1\nlabel = {label}\nheader = true\n"
        );
        let csv: Csv = toml::from_str(&text).unwrap();
        assert_eq!(toml::to_string(&csv).unwrap().replace('"', "'"), text);
    }
    assert_eq!(LabelColumn::default(), LabelColumn::Last);
}

#[test]
fn wrong_values_are_refused_at_their_place() {
    let with = |more: &str| refused::<Idx>(&format!("{IDX}{more}"));
    for (more, says) in [
        ("classes = 1\nvalidation = 1", "expected at least 2 classes, found 1"),
        ("classes = 9\nvalidation = 1\nstd = 0.0", "expected a finite number above 0, found 0"),
        ("classes = 9\nvalidation = 1\nscale = -255", "expected a finite number above 0, found -255"),
        ("classes = 9\nvalidation = 1\nmean = nan", "expected a finite number, found NaN"),
        ("classes = 9\nvalidation = 1\nmean = 1e300", "expected a finite number, found 1"),
    ] {
        let text = with(more);
        let line = 4 + more.lines().count() - usize::from(more.starts_with("classes = 1"));
        assert!(text.contains(says), "{text}");
        assert!(text.contains(&format!("line {line}, column")), "{text}");
    }
    assert!(with("classes = 9").contains("missing field `validation`"));
    assert!(
        refused::<Mnist>("paths = 'x'").contains("unknown field `paths`, expected `path` or `validation`")
    );
    for length in ["0", "513"] {
        let text = refused::<WordnetGlosses>(&format!("validation = 10\nlength = {length}"));
        assert!(text.contains("line 2, column 10"), "{text}");
        assert!(text.contains(&format!("expected a length of 1 to 512 bytes, found {length}")), "{text}");
    }
    let csv = "train = 'a'\ntest = 'b'\nclasses = 10\nvalidation = 1\n";
    let text = refused::<Csv>(&format!("{csv}label = -1"));
    assert!(
        text.contains("expected \"last\", \"first\", the name of a column, or its index from 0"),
        "{text}"
    );
    let text = refused::<Csv>(&format!("{csv}shape = [0, 8]"));
    assert!(text.contains("nonzero"), "{text}");
}

/// The fields that serde knows, as it lists them for an unknown one.
fn fields<T: DeserializeOwned + std::fmt::Debug>() -> Vec<String> {
    let error = serde_json::from_str::<T>(r#"{"no such field": 0}"#).unwrap_err().to_string();
    error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_knob_is_documented() {
    let known = [
        fields::<Mnist>(),
        fields::<FashionMnist>(),
        fields::<Digits>(),
        fields::<WordnetGlosses>(),
        fields::<Idx>(),
        fields::<Csv>(),
    ];
    for (source, mut known) in SOURCES.iter().zip(known) {
        let mut documented: Vec<_> = source.knobs.iter().map(|knob| knob.name.to_owned()).collect();
        documented.sort();
        known.sort();
        assert_eq!(documented, known, "{}", source.name);
    }
}

#[test]
fn a_source_is_an_object_with_the_name_of_its_table() {
    let sources: [Box<dyn Source>; 4] = [
        Box::new(Mnist::default()),
        Box::new(FashionMnist::default()),
        Box::new(Digits::default()),
        Box::new(WordnetGlosses::default()),
    ];
    for (source, doc) in sources.iter().zip(SOURCES) {
        assert_eq!(source.name(), doc.name);
        let default = doc.knobs.iter().find(|knob| knob.name == "validation").unwrap().default;
        assert_eq!(default, Some(source.validation().to_string().as_str()));
    }
}

#[test]
fn a_set_made_in_memory_is_checked() {
    let examples = |values: Vec<f32>, labels: Vec<u32>| {
        Examples::new(Pixels::Floats(values), labels, Normalization::NONE)
    };
    let two = || examples(vec![0.0, 1.0, 2.0, 3.0], vec![0, 1]).unwrap();
    assert!(Dataset::new("mine", [2], 2, two(), two()).is_ok());
    let says = |result: Result<Dataset, Error>| result.unwrap_err().to_string();
    assert_eq!(
        says(Dataset::new("mine", [1, 3], 2, two(), two())),
        "data set `mine`, train examples: expected 3 values for shape [1, 3], found 2"
    );
    assert_eq!(
        says(Dataset::new("mine", [2], 2, two(), examples(vec![0.0; 2], vec![2]).unwrap())),
        "data set `mine`, test example 0: expected a label below 2, found 2"
    );
    let other =
        Examples::new(Pixels::Bytes(vec![1, 2]), vec![0], Normalization::new(255.0, 0.0, 1.0).unwrap())
            .unwrap();
    assert_eq!(
        says(Dataset::new("mine", [2], 2, two(), other)),
        "data set `mine`: expected the same normalization of training and test examples, found two"
    );
    assert_eq!(
        examples(vec![], vec![]).unwrap_err().to_string(),
        "expected at least one example, found none"
    );
    assert_eq!(
        examples(vec![0.0; 3], vec![0, 1]).unwrap_err().to_string(),
        "expected the same number of values for each of 2 examples, found 3 values in all"
    );
    assert_eq!(
        Normalization::new(255.0, 0.0, 0.0).unwrap_err().to_string(),
        "expected a finite standard deviation above 0, found 0"
    );
}
