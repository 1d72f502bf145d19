//! The losses that take part, each with the weights that it gets.
//!
//! Weights are those of the papers or of the public collections of losses, RepDistiller (Tian et al., ICLR 2020) before
//! others. None was chosen by a score on the test data; where a published one does not fit a network of this size,
//! the line says what it was scaled by.

/// A loss as it stands in the student's objective.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Its name in a recipe.
    pub(crate) name: &'static str,
    /// What of teacher and student it compares.
    pub(crate) compares: &'static str,
    /// The weight of cross entropy with the labels beside it.
    pub(crate) labels: &'static str,
    /// Its own weight: TOML, a number or a schedule.
    pub(crate) weight: &'static str,
    /// Its knobs: TOML.
    pub(crate) knobs: &'static str,
}

impl Loss {
    /// The objective that the student gets, as TOML.
    pub(crate) fn objective(&self) -> String {
        format!(
            "[{{ weight = {}, cross-entropy = {{}} }}, {{ weight = {}, {} = {} }}]",
            self.labels, self.weight, self.name, self.knobs
        )
    }
}

/// The objective of the student alone.
pub(crate) const ALONE: &str = "[{ weight = 1.0, cross-entropy = {} }]";

const fn loss(
    name: &'static str,
    compares: &'static str,
    labels: &'static str,
    weight: &'static str,
    knobs: &'static str,
) -> Loss {
    Loss { name, compares, labels, weight, knobs }
}

/// Both models' second block, the last maps: 14×14, ten channels and 32.
const MAPS: &str = r#"{ student = "block2", teacher = "block2" }"#;
/// Both models' hidden layer, in front of the classifier: 32 numbers and 128.
const HIDDEN: &str = r#"{ student = "hidden", teacher = "hidden" }"#;

/// In the order of the table in the program: answers, features, relations.
pub(crate) const LOSSES: &[Loss] = &[
    // RepDistiller and mdistiller: 0.1 and 0.9 at a temperature of 4.
    loss("kl", "answers", "0.1", "0.9", "{ temperature = 4.0 }"),
    // The authors' code: 0.9 and 0.1 of a virtual teacher.
    loss("tf-kd", "labels", "0.9", "0.1", "{ correct-probability = 0.99, temperature = 20.0 }"),
    // The paper, CIFAR-100; its weight grows over the first tenth, as there over 20 of 240 epochs.
    loss(
        "dkd",
        "answers",
        "1.0",
        "{ linear = { from = 0.0, to = 1.0, end = 0.1 } }",
        "{ alpha = 1.0, beta = 8.0, temperature = 4.0 }",
    ),
    // The paper.
    loss("nkd", "answers", "1.0", "1.0", "{ gamma = 1.5, temperature = 1.0 }"),
    // The paper, CIFAR-100.
    loss("dist", "answers", "1.0", "1.0", "{ beta = 2.0, gamma = 2.0, temperature = 4.0 }"),
    // The authors' code: 0.1 and 9 at a temperature of 2.
    loss("logit-standardization", "answers", "0.1", "9.0", "{ temperature = 2.0 }"),
    // The authors' code, CIFAR-100.
    loss("wsld", "answers", "1.0", "2.25", "{ temperature = 4.0 }"),
    // Both in mdistiller's manner: labels and the sum over temperatures at weight 1.
    loss("mlkd", "answers", "1.0", "1.0", "{ temperatures = [2.0, 3.0, 4.0, 5.0, 6.0] }"),
];
