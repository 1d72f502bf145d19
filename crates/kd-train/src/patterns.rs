//! The table of patterns: what `kd list patterns` and `kd explain pattern.NAME` print.
//!
//! Two stages take a `pattern`, one for zeros that keep their places and one for whole units, and neither reads the other's
//! names; a reader looks for all of them in one place. Tests hold the table against what stages read.

use kd_core::Knob;

/// A pattern of `[stage.sparsify]` or `[stage.prune]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternName {
    /// Its key below `pattern`.
    pub name: &'static str,
    /// The stage that takes it.
    pub stage: PatternStage,
    /// What it removes, in one line.
    pub line: &'static str,
    /// What it is good for, and what not.
    pub when: &'static str,
    /// What its table takes.
    pub knobs: &'static [Knob],
    /// What to write for it, as TOML.
    pub example: &'static str,
    /// The same for `kd prune eval --pattern`, which has those of single layers.
    pub words: Option<&'static str>,
}

/// Which stage takes a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternStage {
    /// The one that masks.
    Sparsify,
    /// The one that takes out.
    Prune,
}

impl PatternStage {
    /// Its key in a recipe.
    pub const fn name(self) -> &'static str {
        match self {
            PatternStage::Sparsify => "sparsify",
            PatternStage::Prune => "prune",
        }
    }
}

const SPARSITY: &str = "share of them that goes in the end, from 0 to 1";
const SHARE: &str = "share of them that goes, from 0 to below 1; or else";
const MACS: &str = "share of the multiply-accumulates that goes at least, from 0 to below 1";

/// Of patterns that take units of axes.
const UNITS: &[Knob] = &[Knob::required("sparsity", SHARE), Knob::required("macs", MACS)];
/// Of patterns that take whole modules.
const MODULES: &[Knob] = &[
    Knob::required("count", "so many, at least 1; or else"),
    Knob::required("sparsity", "share of those that can go, from 0 to below 1; or else"),
    Knob::required("macs", MACS),
];
const ROWS: Knob = Knob::required("rows", "output units that a tile spans, at least 1");
const COLUMNS: Knob = Knob::required("columns", "inputs that a tile spans, at least 1");

/// Every pattern, those that mask first.
pub const PATTERNS: &[PatternName] = &[
    PatternName {
        name: "unstructured",
        stage: PatternStage::Sparsify,
        line: "single weights with the lowest scores",
        when: "It costs least accuracy, and saves storage alone: no kernel here skips single zeros.",
        knobs: &[
            Knob::required("sparsity", SPARSITY),
            Knob::or(
                "scope",
                "\"local\"",
                "\"local\": every layer loses that share; \"global\": all are ranked together",
            ),
        ],
        example: "unstructured = { sparsity = 0.9 }",
        words: Some("unstructured sparsity=0.9"),
    },
    PatternName {
        name: "n-m",
        stage: PatternStage::Sparsify,
        line: "all but `keep` of every `of` neighbors in a row of the matrix [out, in·kh·kw]",
        when: "2 of 4 is what sparse tensor cores of graphics cards take. On a CPU it gains little time, whatever the kernel.",
        knobs: &[
            Knob::required("keep", "weights of a group that stay, from 1 to `of`"),
            Knob::required("of", "weights of a group"),
        ],
        example: "n-m = { keep = 2, of = 4 }",
        words: Some("keep=2 of=4"),
    },
    PatternName {
        name: "block",
        stage: PatternStage::Sparsify,
        line: "whole tiles, each scored by the mean of its weights",
        when: "The product of `kd-kernels` that skips tiles of 4 × 1 is faster than a dense one from about half of them on.",
        knobs: &[ROWS, COLUMNS, Knob::required("sparsity", SPARSITY)],
        example: "block = { rows = 4, columns = 1, sparsity = 0.8 }",
        words: Some("block 4x1 sparsity=0.8"),
    },
    PatternName {
        name: "rows",
        stage: PatternStage::Sparsify,
        line: "whole rows, the output units of a layer, each scored by the mean of its weights",
        when: "A stage `prune` with `pattern.empty` takes out what is empty in every layer that shares it.",
        knobs: &[Knob::required("sparsity", SPARSITY)],
        example: "rows = { sparsity = 0.5 }",
        words: Some("rows sparsity=0.5"),
    },
    PatternName {
        name: "columns",
        stage: PatternStage::Sparsify,
        line: "whole columns, the inputs of a layer, each scored by the mean of its weights",
        when: "As `rows`; an input that nothing reads makes the unit that writes it empty.",
        knobs: &[Knob::required("sparsity", SPARSITY)],
        example: "columns = { sparsity = 0.5 }",
        words: Some("columns sparsity=0.5"),
    },
    PatternName {
        name: "random",
        stage: PatternStage::Sparsify,
        line: "connections by chance, as many of each output unit; no criterion is asked",
        when: "A control: what a criterion is worth is what it gains over this one at the same sparsity.",
        knobs: &[Knob::required("sparsity", SPARSITY), Knob::or("seed", "0", "seed of the draw")],
        example: "random = { sparsity = 0.9, seed = 1 }",
        words: Some("random sparsity=0.9 seed=1"),
    },
    PatternName {
        name: "hybrid",
        stage: PatternStage::Sparsify,
        line: "tiles in the weights of attention, whole hidden units between linear layers",
        when: "Transformers: heads and units that end up empty are taken out by a stage `prune` with `pattern.empty`.",
        knobs: &[
            ROWS,
            COLUMNS,
            Knob::required("sparsity", "share of the tiles that goes in the end, from 0 to 1"),
            Knob::or("units", "sparsity", "share of the hidden units that goes in the end"),
        ],
        example: "hybrid = { rows = 8, columns = 8, sparsity = 0.8, units = 0.9 }",
        words: None,
    },
    PatternName {
        name: "channels",
        stage: PatternStage::Prune,
        line: "units of every axis that can be cut: channels, hidden units, heads, out of every tensor that shares them",
        when: "What is left is dense and smaller: faster everywhere.",
        knobs: UNITS,
        example: "channels = { macs = 0.4 }",
        words: Some("channels sparsity=0.4"),
    },
    PatternName {
        name: "heads",
        stage: PatternStage::Prune,
        line: "whole heads of attention: queries with their keys and values",
        when: "Models with attention; where queries share keys and values, the group goes.",
        knobs: UNITS,
        example: "heads = { sparsity = 0.5 }",
        words: None,
    },
    PatternName {
        name: "layers",
        stage: PatternStage::Prune,
        line: "residual blocks that are elements of a list in the model",
        when: "It saves most time for its parameters, and costs most accuracy.",
        knobs: MODULES,
        example: "layers = { count = 1 }",
        words: None,
    },
    PatternName {
        name: "experts",
        stage: PatternStage::Prune,
        line: "experts that are elements of a list in the model, with their outputs of the router",
        when: "Mixtures of experts; it saves memory.",
        knobs: MODULES,
        example: "experts = { count = 1 }",
        words: None,
    },
    PatternName {
        name: "empty",
        stage: PatternStage::Prune,
        line: "heads, hidden units and channels that masks of an earlier stage left without a weight",
        when: "Behind a stage `sparsify` whose pattern empties whole units, such as `hybrid`.",
        knobs: &[Knob::or("fill", "false", "whether what stays learns on without masks")],
        example: "empty = { fill = true }",
        words: None,
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use prune_core::Removal;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::recipe::PrunePattern;
    use crate::sparsify::Shape;

    /// The names that a type reads, as it lists them when it is given another one.
    fn read<T: DeserializeOwned + std::fmt::Debug>() -> Vec<String> {
        let error = toml::from_str::<T>("no-pattern = {}").unwrap_err().to_string();
        let (_, list) = error.split_once("expected one of").unwrap();
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_table_has_what_stages_read_and_its_examples_are_read() {
        let names = |stage| -> Vec<&str> {
            PATTERNS.iter().filter(|row| row.stage == stage).map(|row| row.name).collect()
        };
        assert_eq!(names(PatternStage::Sparsify), read::<Shape>());
        assert_eq!(names(PatternStage::Prune), read::<PrunePattern>());
        for row in PATTERNS {
            let written = match row.stage {
                PatternStage::Sparsify => toml::from_str::<Shape>(row.example).map(|_| ()),
                PatternStage::Prune => toml::from_str::<PrunePattern>(row.example).map(|_| ()),
            };
            assert!(written.is_ok(), "{}: {written:?}", row.name);
            assert!(row.example.starts_with(row.name), "{}", row.name);
            if let Some(words) = row.words {
                assert_eq!(words.parse::<Removal>().unwrap().to_string(), words);
            }
        }
    }
}
