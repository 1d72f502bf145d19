//! What the student loses, and how much accuracy that may cost.

/// A way to take something from the student, or nothing.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// What it is called in folders.
    pub(crate) folder: &'static str,
    /// What stands in the recipe in the place of [`STEPS`], all that the ways differ in.
    pub(crate) stage: &'static str,
    /// The stage's table, whose `epochs` a quick run replaces.
    pub(crate) kind: &'static str,
    /// Most that may be lost, in points, on average over seeds.
    pub(crate) most: Option<f64>,
}

/// How the recipe itself sparsifies.
pub(crate) const STEPS: &str = "[stage.sparsify]\n\
    pattern.unstructured = { sparsity = 0.9, scope = \"global\" }\n\
    criterion.lamp = {}\n\
    schedule.cubic = { from = 0.0, to = 1.0, end = 0.6 }\n";

/// The first one is what the others are held against.
pub(crate) const WAYS: [Way; 4] = [
    Way {
        name: "dense",
        folder: "dense",
        stage: "[stage.train]\nof = \"student\"\n",
        kind: "train",
        most: None,
    },
    Way {
        name: "90 % of the weights masked",
        folder: "unstructured",
        stage: STEPS,
        kind: "sparsify",
        most: Some(0.3),
    },
    Way {
        name: "half of the MACs removed, by channels",
        folder: "channels",
        stage: "[stage.prune]\npattern.channels = { macs = 0.5 }\ncriterion.taylor = {}\npinned = [\"^output\"]\n",
        kind: "prune",
        most: Some(0.2),
    },
    Way {
        name: "2:4 masked",
        folder: "n-m",
        stage: "[stage.sparsify]\npattern.n-m = { keep = 2, of = 4 }\n",
        kind: "sparsify",
        most: Some(0.1),
    },
];
