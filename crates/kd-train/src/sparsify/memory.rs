//! What a stage that sparsifies remembers between steps: sums of weight times gradient, what calibration batches gave, scores,
//! condemned weights, and the weights that a round begins again with. All of it is arrays by path, and part of a run's state.

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
    /// Σ x² of each input of a layer, [wide](Memory::wide).
    InputSquares,
    /// The mean of each element's squared gradient.
    Squares,
    /// Of one number, wide: the sparsity of a layer where layers have other ones than the pattern's.
    Sparsity,
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
            Self::InputSquares => "input-squares",
            Self::Squares => "squares",
            Self::Sparsity => "sparsity",
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

    /// Remembers numbers in twice the precision: each as a float and what it lacks, which hold 48 bits together.
    pub fn keep_wide(&mut self, kind: Kind, path: &str, values: &[f64]) {
        let lacks = values.iter().map(|&x| (x - f64::from(x as f32)) as f32);
        let pairs: Vec<f32> = values.iter().map(|&x| x as f32).chain(lacks).collect();
        let array = Array::new(vec![2, values.len()], pairs).expect("two numbers each");
        self.0.insert(key(kind, path), array);
    }

    /// Numbers that were [kept so](Memory::keep_wide).
    pub fn wide(&self, kind: Kind, path: &str) -> Option<Vec<f64>> {
        let pairs = self.get(kind, path)?;
        let (values, lacks) = pairs.split_at(pairs.len() / 2);
        Some(values.iter().zip(lacks).map(|(&x, &lacks)| f64::from(x) + f64::from(lacks)).collect())
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
