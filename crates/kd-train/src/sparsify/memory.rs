//! What a stage that sparsifies remembers between steps: sums of weight times gradient, scores, condemned weights, and the
//! weights that a round begins again with. All of it is arrays by path, and part of a run's state.

use std::collections::BTreeMap;

use kd_deploy::{Array, Weights};

/// Arrays by kind and path, `kind/path`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory(Weights);

/// What is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Σ w·g of each element over the steps that count.
    Products,
    /// Of one number: over how many steps.
    Steps,
    /// Scores of movement that Adam trains.
    Scores,
    /// Their mean gradient.
    Mean,
    /// Their mean squared gradient.
    Square,
    /// 1 where a weight is condemned.
    Condemned,
    /// Weights to begin again with.
    Anchor,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Products => "products",
            Self::Steps => "steps",
            Self::Scores => "scores",
            Self::Mean => "mean",
            Self::Square => "square",
            Self::Condemned => "condemned",
            Self::Anchor => "anchor",
        }
    }
}

impl Memory {
    /// Everything, `kind/path`.
    pub fn arrays(&self) -> &Weights {
        &self.0
    }

    /// What is remembered of a path.
    pub fn get(&self, kind: Kind, path: &str) -> Option<&[f32]> {
        self.0.get(&key(kind, path)).map(Array::data)
    }

    /// All of one kind, by path.
    pub fn all(&self, kind: Kind) -> Weights {
        let prefix = key(kind, "");
        let of =
            |(name, array): (&String, &Array)| Some((name.strip_prefix(&prefix)?.to_owned(), array.clone()));
        self.0.iter().filter_map(of).collect()
    }

    /// Remembers arrays, as they are.
    pub fn keep(&mut self, kind: Kind, weights: Weights) {
        self.0.extend(weights.into_iter().map(|(path, array)| (key(kind, &path), array)));
    }

    /// Forgets all of one kind.
    pub fn forget(&mut self, kind: Kind) {
        let prefix = key(kind, "");
        self.0.retain(|name, _| !name.starts_with(&prefix));
    }

    /// Changes numbers in place, zeros at first.
    pub fn change(&mut self, kind: Kind, path: &str, len: usize, change: impl FnOnce(&mut [f32])) {
        let old = self.0.remove(&key(kind, path)).filter(|array| array.data().len() == len);
        let mut values = old.map_or_else(|| vec![0.0; len], Array::into_data);
        change(&mut values);
        self.0.insert(key(kind, path), Array::new(vec![len], values).expect("one number each"));
    }

    /// Adds to what is remembered.
    pub fn add(&mut self, kind: Kind, weights: &Weights) {
        for (path, array) in weights {
            self.change(kind, path, array.data().len(), |sums| {
                sums.iter_mut().zip(array.data()).for_each(|(sum, x)| *sum += x);
            });
        }
    }
}

impl From<Weights> for Memory {
    fn from(arrays: BTreeMap<String, Array>) -> Self {
        Self(arrays)
    }
}

fn key(kind: Kind, path: &str) -> String {
    format!("{}/{path}", kind.name())
}
