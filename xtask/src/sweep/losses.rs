//! The losses that take part, each with the weights that it gets.
//!
//! Weights are those of the papers or of public collections of losses, RepDistiller (Tian et al., ICLR 2020) before
//! others. They were found for deep networks: where a tenth did better on the validation examples of seed 1, which is
//! not among the sweep's, by more than 0.2 points, it is a tenth. No weight was chosen by a score on test examples.

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

/// Both models' first and second block, maps of 6 and 16 channels, and of 10 and 32.
const BLOCKS: &str = r#"{ student = ["block1", "block2"], teacher = ["block1", "block2"] }"#;
/// The second block alone.
const MAPS: &str = r#"{ student = "block2", teacher = "block2" }"#;
/// Both models' hidden layer, in front of the classifier: 32 numbers and 128.
const HIDDEN: &str = r#"{ student = "hidden", teacher = "hidden" }"#;

/// In the order of the program's own table: answers, features, relations between examples.
pub(crate) const LOSSES: &[Loss] = &[
    // RepDistiller and mdistiller, CIFAR-100.
    loss("kl", "answers", "0.1", "0.9", "{ temperature = 4.0 }"),
    // The authors' code. Its teacher is virtual.
    loss("tf-kd", "labels", "0.9", "0.1", "{ correct-probability = 0.99, temperature = 20.0 }"),
    // A tenth of the paper's, which grows as there, over 20 of 240 epochs.
    loss(
        "dkd",
        "answers",
        "1.0",
        "{ linear = { from = 0.0, to = 0.1, end = 0.1 } }",
        "{ alpha = 1.0, beta = 8.0, temperature = 4.0 }",
    ),
    // The paper.
    loss("nkd", "answers", "1.0", "1.0", "{ gamma = 1.5, temperature = 1.0 }"),
    // The paper, CIFAR-100.
    loss("dist", "answers", "1.0", "1.0", "{ beta = 2.0, gamma = 2.0, temperature = 4.0 }"),
    // The authors' code.
    loss("logit-standardization", "answers", "0.1", "9.0", "{ temperature = 2.0 }"),
    // The authors' code, CIFAR-100.
    loss("wsld", "answers", "1.0", "2.25", "{ temperature = 4.0 }"),
    // A tenth of mdistiller's.
    loss("mlkd", "answers", "1.0", "0.1", "{ temperatures = [2.0, 3.0, 4.0, 5.0, 6.0] }"),
    // A tenth of RepDistiller's.
    loss("hint", "features", "1.0", "10.0", MAPS),
    // A tenth of the paper's.
    loss("at", "features", "1.0", "100.0", MAPS),
    // RepDistiller, where it is a stage of its own.
    loss("fsp", "features", "1.0", "50.0", r#"{ first = "block1", second = "block2" }"#),
    // A tenth of RepDistiller's.
    loss("nst", "features", "1.0", "5.0", MAPS),
    // A tenth of RepDistiller's.
    loss("ft", "features", "1.0", "20.0", MAPS),
    // RepDistiller.
    loss("vid", "features", "1.0", "1.0", MAPS),
    // A tenth of the paper's for features.
    loss("cwd", "features", "1.0", "5.0", r#"{ student = "block2", teacher = "block2", temperature = 1.0 }"#),
    // mdistiller, without its warm-up.
    loss("review-kd", "features", "1.0", "1.0", BLOCKS),
    // The paper, for detectors. It wants as many channels in both.
    loss(
        "pkd",
        "features",
        "1.0",
        "6.0",
        r#"{ student = "block2", teacher = "block2", connector = "conv" }"#,
    ),
    // torchdistill.
    loss("srd", "features", "1.0", "1.0", HIDDEN),
    // The two parts of RepDistiller's `rkd`, which has both at once.
    loss("rkd-distance", "relations", "1.0", "25.0", HIDDEN),
    loss("rkd-angle", "relations", "1.0", "50.0", HIDDEN),
    // RepDistiller.
    loss("sp", "relations", "1.0", "3000.0", HIDDEN),
    // A tenth of RepDistiller's, whose form it is: the paper's takes features of unit length.
    loss(
        "cc",
        "relations",
        "1.0",
        "0.002",
        r#"{ student = "hidden", teacher = "hidden", variant = "author" }"#,
    ),
    // RepDistiller.
    loss("pkt", "relations", "1.0", "30000.0", HIDDEN),
    // The paper.
    loss("irg", "relations", "1.0", "0.005", HIDDEN),
    // A tenth of the authors', CIFAR-100.
    loss("ickd", "features", "1.0", "0.25", MAPS),
];
