//! Losses as recipes write them.

use kd_core::loss::{CrossEntropy, Hint, Kl, LossName, Reduction, Register, TABLE, register};
use kd_core::{ConnectorKind, DistillLoss, Temperature};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A loss as it stands in a recipe: `name = { knobs }`.
fn parse<T: DeserializeOwned>(name: &str, knobs: &str) -> Result<T, toml::de::Error> {
    let document: std::collections::BTreeMap<String, T> = toml::from_str(&format!("{name} = {knobs}"))?;
    Ok(document.into_values().next().unwrap())
}

/// The error for `knobs` and the text that it underlines.
fn error<T: DeserializeOwned + std::fmt::Debug>(name: &str, knobs: &str) -> (String, String) {
    let error = parse::<T>(name, knobs).unwrap_err();
    let text = format!("{name} = {knobs}");
    (text[error.span().unwrap()].to_string(), error.message().to_string())
}

#[test]
fn knobs_have_the_documented_defaults() {
    assert_eq!(parse::<CrossEntropy>("cross-entropy", "{}").unwrap(), CrossEntropy::default());
    let kl: Kl = parse("kl", "{ temperature = 4 }").unwrap();
    assert_eq!(kl, Kl::new(Temperature::new(4.0).unwrap()));
    assert_eq!((kl.reduction, kl.t_squared), (Reduction::BatchMean, true));
    let hint: Hint = parse("hint", "{ student = 'a', teacher = 'b' }").unwrap();
    assert_eq!(hint, Hint::new("a", "b"));
}

#[test]
fn knobs_are_read_as_written() {
    let smooth: CrossEntropy = parse("cross-entropy", "{ label-smoothing = 0.1 }").unwrap();
    assert_eq!(smooth.label_smoothing.get(), 0.1);
    for (word, reduction) in
        [("batch-mean", Reduction::BatchMean), ("mean", Reduction::Mean), ("sum", Reduction::Sum)]
    {
        let text = format!("{{ temperature = 2.5, reduction = '{word}', t-squared = false }}");
        let kl: Kl = parse("kl", &text).unwrap();
        assert_eq!(
            kl,
            Kl::new(Temperature::new(2.5).unwrap()).with_reduction(reduction).with_t_squared(false)
        );
    }
    for kind in ConnectorKind::ALL {
        let text = format!("{{ student = 'a', teacher = 'b', connector = '{kind}' }}");
        let hint: Hint = parse("hint", &text).unwrap();
        assert_eq!(hint.connector, Some(kind));
    }
}

#[test]
fn mistakes_are_underlined() {
    let (place, message) = error::<Kl>("kl", "{ reduction = 'mean' }");
    assert_eq!((place.as_str(), message.as_str()), ("{ reduction = 'mean' }", "missing field `temperature`"));
    let (place, message) = error::<Kl>("kl", "{ temperature = -1.0 }");
    assert_eq!(place, "-1.0");
    assert_eq!(message, "`temperature` must be finite and above 0, found -1");
    let (place, message) = error::<Kl>("kl", "{ temperature = 1, reduction = 'batchmean' }");
    assert_eq!(place, "'batchmean'");
    assert!(message.contains("expected one of `batch-mean`, `mean`, `sum`"), "{message}");
    let (place, message) = error::<Kl>("kl", "{ temperature = 1, tsquared = true }");
    assert_eq!(place, "tsquared");
    assert!(message.contains("unknown field `tsquared`"), "{message}");
    let (place, message) = error::<CrossEntropy>("cross-entropy", "{ label-smoothing = 1.5 }");
    assert_eq!(place, "1.5");
    assert_eq!(message, "`label-smoothing` must be from 0 to 1, found 1.5");
    let (place, message) = error::<Hint>("hint", "{ student = 'a', teacher = 'b', connector = 'cnov' }");
    assert_eq!(place, "'cnov'");
    let kinds: Vec<_> = ConnectorKind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
    assert!(message.contains(&format!("expected one of {}", kinds.join(", "))), "{message}");
}

#[test]
fn alpha_is_refused_with_what_to_write_instead() {
    for knobs in
        ["{ temperature = 4.0, alpha = 0.9 }", "{ alpha = 0.9, temperature = 4.0 }", "{ alpha = 0.9 }"]
    {
        let (place, message) = error::<Kl>("kl", knobs);
        assert_eq!(place, "0.9");
        assert_eq!(
            message,
            "`kl` has no `alpha`: give each term of the objective its own `weight`, such as `weight = 0.9` beside \
             `kl` and `weight = 0.1` beside `cross-entropy`"
        );
    }
}

/// What a loss writes when a recipe gives it only the knobs that have no default, as its example has them.
struct Written<'a> {
    row: &'a LossName,
    given: toml::Table,
    knobs: Option<toml::Table>,
}

impl Register for Written<'_> {
    fn loss<L: DistillLoss + Serialize + DeserializeOwned + 'static>(&mut self, name: &'static LossName) {
        if name.name == self.row.name {
            let loss: L = self.given.clone().try_into().unwrap();
            self.knobs = Some(toml::Table::try_from(loss).unwrap());
        }
    }
}

/// The table names the knobs and defaults that the structs have.
#[test]
fn the_table_of_losses_tells_the_truth() {
    for row in TABLE {
        let example: toml::Table = toml::from_str(&format!("x = {}", row.example)).unwrap();
        let mut given = example["x"].as_table().unwrap().clone();
        given.retain(|key, _| row.knobs.iter().any(|knob| knob.name == key && knob.default.is_none()));
        let mut written = Written { row, given: given.clone(), knobs: None };
        register(&mut written);
        let knobs = written.knobs.unwrap();
        for key in knobs.keys() {
            assert!(
                row.knobs.iter().any(|knob| knob.name == key),
                "`{key}` of `{}` is undocumented",
                row.name
            );
        }
        for knob in row.knobs {
            match knob.default {
                Some(default) => {
                    let default: toml::Table = toml::from_str(&format!("x = {default}")).unwrap();
                    assert_eq!(knobs[knob.name], default["x"], "{} of {}", knob.name, row.name);
                }
                None => {
                    assert_eq!(knobs.get(knob.name), given.get(knob.name), "{} of {}", knob.name, row.name)
                }
            }
        }
        assert!(!row.paper.is_empty() && row.reference.contains('/') && row.line.len() < 120, "{}", row.name);
    }
}
