//! Every loss of `kd-core` with inputs to measure it on, made from what the loss says it reads.
//!
//! The letters of [`LossName::inputs`] become the sizes of training; what they do not say is in `EXCEPTIONS`.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use kd_core::loss::LossName;
use kd_core::named::{Evaluated, Named};
use kd_core::{DistillLoss, Error, Feature, Input, Observed, Parameter, Start};
use kd_train::loss_eval;
use kd_train::registry::Registry;

use crate::values;

/// What the letters of shapes stand for.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Examples of a batch of logits or of features without positions.
    pub rows: usize,
    /// Classes of logits, and words of tokens.
    pub classes: usize,
    /// Length of a feature without positions.
    pub width: usize,
    /// Examples of a batch of maps, their channels, their height and width.
    pub maps: [usize; 3],
    /// Examples of a batch of sequences, their tokens, the width of a token's state, heads of attention.
    pub tokens: [usize; 4],
    /// Rows of a memory of all examples, and negatives of each example among them.
    pub memory: [usize; 2],
}

impl Sizes {
    /// Those of training.
    pub const TRAINING: Self = Sizes {
        rows: 256,
        classes: 1000,
        width: 512,
        maps: [64, 64, 32],
        tokens: [8, 64, 256, 4],
        memory: [4096, 255],
    };
    /// Those of a test.
    pub const TINY: Self =
        Sizes { rows: 6, classes: 10, width: 12, maps: [4, 6, 8], tokens: [2, 4, 16, 2], memory: [8, 3] };
}

/// What a loss compares, which decides how its letters are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One row an example: logits, embeddings.
    Rows,
    /// `[B, C, H, W]`
    Maps,
    /// `[B, L, D]`
    Tokens,
}

/// What a loss needs beyond its inputs, their letters and its example.
#[derive(Debug, Clone, Copy)]
enum Exception {
    /// Any shape is allowed, and it is used on this one.
    Kind(Kind),
    /// Inputs that may be left out and are not.
    With(&'static [&'static str]),
    /// What `SITE` stands for.
    Sites(&'static [&'static str]),
    /// A letter that has a size of its own.
    Letter(&'static str, usize),
    /// Other knobs than those of the example, for these sizes.
    Knobs(&'static str),
    /// Fewer images, and lower and narrower ones: both divided by this.
    Smaller([usize; 2]),
    /// The teacher is differentiated too.
    Teacher,
}

use Exception::{Knobs, Letter, Sites, Smaller, Teacher, With};

const EXCEPTIONS: &[(&str, Exception)] = &[
    ("deit", With(&["student.distillation"])),
    ("hint", Exception::Kind(Kind::Maps)),
    ("srd", Exception::Kind(Kind::Maps)),
    ("affine", Exception::Kind(Kind::Maps)),
    ("ofd", With(&["teacher.mean", "teacher.std"])),
    ("review-kd", Sites(&["block1", "block2"])),
    // Convolutions of 3×3 take more than a second at full size.
    ("review-kd", Smaller([4, 1])),
    ("mgd", Smaller([4, 1])),
    ("sem-ckd", Sites(&["block1", "block2"])),
    ("sem-ckd", Smaller([4, 2])),
    ("sem-ckd", Knobs("{ batch = 16 }")),
    // Similarities of all pixels of all images with each other: 17 GB at full size.
    ("cirkd", Smaller([8, 2])),
    ("tinybert", With(&["embedding", "hidden", "attention"])),
    ("distilbert", With(&["targets", "hidden"])),
    ("minilm-v2", Knobs("{ relation-heads = 4 }")),
    ("pkd-bert", Sites(&["block1", "block2"])),
    ("pkd-bert", Knobs("{ layers = [\"block1\", \"block2\"] }")),
    ("gkd", Exception::Kind(Kind::Tokens)),
    ("minillm", Exception::Kind(Kind::Tokens)),
    // The width of its embeddings is a knob.
    ("crd", Letter("F", 128)),
    ("dafl", Teacher),
    ("deep-inversion", Teacher),
    ("deep-inversion", Letter("P", 3)),
];

fn exceptions(loss: &str) -> impl Iterator<Item = Exception> {
    EXCEPTIONS.iter().filter(move |(name, _)| *name == loss).map(|&(_, exception)| exception)
}

/// A loss and the shapes of its inputs.
#[derive(Debug, Clone)]
pub struct Case {
    row: &'static LossName,
    /// `NAME = { KNOBS }`
    line: String,
    /// By name, in the order in which the loss lists them.
    shapes: Vec<(String, Vec<usize>)>,
    classes: usize,
}

impl Case {
    /// The loss at these sizes.
    pub fn new(row: &'static LossName, sizes: &Sizes) -> Self {
        let mut knobs = row.example;
        let (mut wanted, mut sites): (&[&str], &[&str]) = (&[], &["site"]);
        for exception in exceptions(row.name) {
            match exception {
                Knobs(other) => knobs = other,
                With(names) => wanted = names,
                Sites(names) => sites = names,
                _ => {}
            }
        }
        let is_wanted =
            |name: &str| wanted.iter().any(|wanted| name == *wanted || name.ends_with(&format!(".{wanted}")));
        let inputs: Vec<&Input> = row
            .inputs
            .iter()
            // What it trains has the shapes that it says once it sees the others.
            .filter(|input| !input.name.starts_with("connector."))
            .filter(|input| !input.optional || is_wanted(input.name))
            .collect();
        let letters = Letters::new(row.name, &inputs, sizes);
        let mut shapes = Vec::new();
        for input in inputs {
            let shape = letters.shape(input);
            let all = if input.name.contains("SITE") { sites } else { &[""] };
            let names = all.iter().map(|site| input.name.replace("SITE", site));
            shapes.extend(names.flat_map(each_teacher).map(|name| (name, shape.clone())));
        }
        let line = format!("{} = {knobs}", row.name);
        Case { row, line, shapes, classes: sizes.classes }
    }

    /// `kl/256x1000`
    pub fn label(&self) -> String {
        let shape = self.shapes.first().map_or(&[][..], |(_, shape)| shape);
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        format!("{}/{}", self.row.name, shape.join("x"))
    }

    /// The loss and its inputs.
    ///
    /// # Errors
    ///
    /// What is wrong with the example, or with a shape.
    pub fn job(&self, device: &Device) -> Result<Job, kd_train::Error> {
        let (_, loss) = loss_eval::parse(&self.line, &Registry::builtin())?;
        let autodiff = device.clone().autodiff();
        let teacher = exceptions(self.row.name).any(|exception| matches!(exception, Teacher));
        let mut named = Named::new();
        let mut seen: BTreeMap<&str, Observed> = BTreeMap::new();
        for (name, shape) in &self.shapes {
            if name == "targets" {
                named.insert_targets(self.labels(shape, device));
                continue;
            }
            let (side, site) = name.split_once('.').unwrap_or((name, ""));
            let trained = side == "student" || side == "teacher" && teacher;
            let x = feature(numbers(name, shape), shape, if trained { &autodiff } else { device });
            let x = if trained { x.require_grad() } else { x };
            seen.entry(side).or_default().features.insert(site, x.clone());
            named.insert(name, x)?;
        }
        let seen = |side| seen.get(side).cloned().unwrap_or_default();
        for parameter in loss.parameters(&seen("student"), &seen("teacher"))? {
            let x = feature(first_values(&parameter), &parameter.shape, &autodiff);
            named.insert(&format!("connector.{}", parameter.name), x)?;
        }
        Ok(Job { loss, named })
    }

    fn labels(&self, shape: &[usize], device: &Device) -> Tensor<1, Int> {
        crate::labels(shape.iter().product(), self.classes, device)
    }
}

/// A loss with its inputs in memory.
#[derive(Debug)]
pub struct Job {
    loss: Box<dyn DistillLoss>,
    /// What it is measured on; a clone shares the numbers.
    pub named: Named,
}

impl Job {
    /// Forward and backward pass.
    ///
    /// # Errors
    ///
    /// Those of the loss.
    pub fn evaluate(&self, named: Named) -> Result<Evaluated, Error> {
        named.evaluate(self.loss.as_ref())
    }
}

/// Both teachers where a loss has several.
fn each_teacher(name: String) -> Vec<String> {
    match name.split_once(".K.") {
        Some((side, rest)) => (0..2).map(|k| format!("{side}.{k}.{rest}")).collect(),
        None => vec![name],
    }
}

/// Sizes of one loss's letters.
struct Letters {
    kind: Kind,
    sizes: Sizes,
    own: BTreeMap<&'static str, usize>,
}

impl Letters {
    fn new(loss: &str, inputs: &[&Input], sizes: &Sizes) -> Self {
        let any = |is: fn(&&Input) -> bool| inputs.iter().any(is);
        let kind = if any(|input| input.shape.iter().any(|letter| ["L", "B·L"].contains(letter))) {
            Kind::Tokens
        } else if any(|input| input.shape.len() == 4) {
            Kind::Maps
        } else {
            Kind::Rows
        };
        let mut letters = Letters { kind, sizes: *sizes, own: BTreeMap::new() };
        for exception in exceptions(loss) {
            match exception {
                Exception::Kind(kind) => letters.kind = kind,
                Letter(letter, size) => {
                    letters.own.insert(letter, size);
                }
                Smaller([images, side]) => {
                    letters.sizes.maps[0] = (sizes.maps[0] / images).max(2);
                    letters.sizes.maps[2] = (sizes.maps[2] / side).max(2);
                }
                _ => {}
            }
        }
        letters
    }

    fn shape(&self, input: &Input) -> Vec<usize> {
        let Sizes { classes, maps: [images, channels, side], tokens: [batch, length, width, _], .. } =
            self.sizes;
        match (self.kind, input.shape) {
            (Kind::Maps, ["B", _]) if input.name.ends_with(".SITE") => vec![images, channels, side, side],
            (Kind::Maps, ["B", _]) if input.name.ends_with(".logits") => vec![images, classes],
            (Kind::Tokens, ["B", _]) if input.name.ends_with(".logits") => vec![batch, length, classes],
            (Kind::Tokens, ["B", _]) => vec![batch, length, width],
            (_, letters) => {
                letters.iter().enumerate().map(|(at, letter)| self.size(letter, at, letters.len())).collect()
            }
        }
    }

    /// Of a letter that is the `at`-th of `rank`.
    fn size(&self, letter: &'static str, at: usize, rank: usize) -> usize {
        if let Some(size) = letter.parse().ok().or_else(|| self.own.get(letter).copied()) {
            return size;
        }
        let Sizes {
            rows,
            classes,
            width,
            maps: [images, channels, side],
            tokens: [batch, length, state, heads],
            memory,
        } = self.sizes;
        match (self.kind, letter) {
            (Kind::Rows, "B") => rows,
            (Kind::Rows, "C") => classes,
            (Kind::Rows, "K + 1") => memory[1] + 1,
            (Kind::Rows, "N") if rank == 2 => memory[0],
            (Kind::Rows, "N") => rows,
            (Kind::Rows, _) => width,
            (Kind::Maps, "B") => images,
            (Kind::Maps, _) if at > 1 => side,
            (Kind::Maps, _) => channels,
            (Kind::Tokens, "B") => batch,
            (Kind::Tokens, "L") => length,
            (Kind::Tokens, "B·L") => batch * length,
            (Kind::Tokens, "C") => classes,
            (Kind::Tokens, "h") => heads,
            (Kind::Tokens, _) if rank == 4 => state / heads,
            (Kind::Tokens, _) => state,
        }
    }
}

/// Numbers for an input: the same in every run, other ones for each name, and such as it may have.
fn numbers(name: &str, shape: &[usize]) -> Vec<f32> {
    let skipped: usize = name.bytes().map(usize::from).sum();
    let x = values(skipped + shape.iter().product::<usize>()).split_off(skipped);
    let meaning = name.rsplit(['.', '-']).next().unwrap_or_default();
    match meaning {
        // Each example's own place first, then places of others; there are at least as many as there are here.
        "indices" => (0..x.len()).map(|i| (i % shape[0].max(1)) as f32).collect(),
        "memory" => x.into_iter().map(|x| 0.1 * x).collect(),
        "region" | "mask" => x.into_iter().map(|x| 0.5 + 0.5 * x).collect(),
        "std" | "var" => x.into_iter().map(|x| 0.5 + x * x).collect(),
        _ => x,
    }
}

fn first_values(parameter: &Parameter) -> Vec<f32> {
    let len = parameter.shape.iter().product();
    match parameter.start {
        Start::Constant(value) => vec![value as f32; len],
        Start::Uniform(bound) => values(len).into_iter().map(|x| x * bound as f32).collect(),
    }
}

fn feature(numbers: Vec<f32>, shape: &[usize], device: &Device) -> Feature {
    let data = TensorData::new(numbers, shape.to_vec());
    match shape.len() {
        0 | 1 => Tensor::<1>::from_data(data, device).into(),
        2 => Tensor::<2>::from_data(data, device).into(),
        3 => Tensor::<3>::from_data(data, device).into(),
        _ => Tensor::<4>::from_data(data, device).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kd_core::loss::TABLE;

    #[test]
    fn every_loss_has_inputs_and_gives_finite_numbers() {
        for row in TABLE {
            let case = Case::new(row, &Sizes::TINY);
            let label = case.label();
            let job = case.job(&crate::device()).unwrap_or_else(|error| panic!("{label}: {error}"));
            let found = job.evaluate(job.named.clone()).unwrap_or_else(|error| panic!("{label}: {error}"));
            let value = found.value.into_scalar::<f32>();
            assert!(value.is_finite(), "{label}: {value}");
            for (name, gradient) in found.gradients {
                let gradient: Vec<f32> = gradient.flat().into_data().iter().collect();
                assert!(gradient.iter().all(|x| x.is_finite()), "{label}: gradient of {name}");
            }
        }
    }

    #[test]
    fn letters_become_sizes_of_training() {
        let labels: Vec<String> = TABLE.iter().map(|row| Case::new(row, &Sizes::TRAINING).label()).collect();
        for label in ["kl/256x1000", "at/64x64x32x32", "hint/64x64x32x32", "sp/256x512", "minillm/8x64x1000"]
        {
            assert!(labels.iter().any(|found| found == label), "{label}: {labels:?}");
        }
    }

    #[test]
    fn exceptions_are_of_losses_that_exist() {
        for (name, _) in EXCEPTIONS {
            assert!(TABLE.iter().any(|row| row.name == *name), "{name}");
        }
    }
}
