//! The ways of the table.

/// A way to prune, as keys of the recipe's stage `sparse`.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) how: How,
}

/// What takes the place of the recipe's stage.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    /// Further steps without masks.
    Dense,
    /// Masks; lines in the place of the stage's own.
    Sparse(&'static [&'static str]),
    /// The same, and the student learns from labels alone.
    Alone(&'static [&'static str]),
    /// What the row of this name left is taken out where it is empty, and filled.
    Filled(&'static str),
}

/// The row that others are held against.
pub(crate) const MAGNITUDE: &str = "magnitude";

/// The same without the teacher.
pub(crate) const ALONE: &str = "magnitude-labels";

/// The share that the rows with masks remove, as they say below and the recipe says.
pub(crate) const SPARSITY: f64 = 0.9;

const UNSTRUCTURED: &str = "pattern.unstructured = { sparsity = 0.9 }";
/// The curve that movement has, for criteria.
const CUBIC: &str = "schedule.cubic = { from = 0.0, to = 1.0, begin = 0.05, end = 0.6 }";

pub(crate) const ROWS: &[Row] = &[
    Row { name: "dense", about: "nothing goes", how: How::Dense },
    Row { name: MAGNITUDE, about: "single weights, by their size", how: How::Sparse(&[UNSTRUCTURED, CUBIC]) },
    Row {
        name: ALONE,
        about: "single weights, by their size, from labels alone",
        how: How::Alone(&[UNSTRUCTURED, CUBIC]),
    },
    Row { name: "movement", about: "single weights, by trained scores", how: How::Sparse(&[UNSTRUCTURED]) },
    Row {
        name: "magnitude-hybrid",
        about: "tiles of 16 × 16 in attention and hidden units, by the size of their weights",
        how: How::Sparse(&[CUBIC]),
    },
    Row {
        name: "hybrid",
        about: "tiles of 16 × 16 in attention and hidden units, by trained scores",
        how: How::Sparse(&[]),
    },
    Row {
        name: "filled",
        about: "hybrid without its empty heads and hidden units, what stays filled and trained on",
        how: How::Filled("hybrid"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_go_on_follow_what_they_go_on_from() {
        for (i, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..i].iter().all(|other| other.name != row.name), "`{}` comes again", row.name);
            if let How::Filled(from) = row.how {
                assert!(ROWS[..i].iter().any(|other| other.name == from), "`{}` comes first", row.name);
            }
        }
        assert!(ROWS.iter().any(|row| row.name == MAGNITUDE));
        assert!(UNSTRUCTURED.contains(&SPARSITY.to_string()));
    }
}
