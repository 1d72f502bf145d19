//! What a criterion may look at: a layer's numbers on the host, each under the name that files give it.
//!
//! Every tensor but the weight is optional, and which ones a criterion needs is the criterion's to say: it asks by a
//! method, and one that is not there is an error with its name. Whatever has the weight's shape has its orientation
//! too, so that no criterion has an opinion on layouts.

use crate::{Error, InputSums, Matrix};

/// The tensors of one layer.
///
/// Values that belong to elements of the weight are [`Matrix`] values of its rows and columns; those of single
/// examples or steps are slices of them. Activations are [`Samples`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Inputs<'a> {
    layer: &'a str,
    weight: Option<&'a Matrix>,
    grad: Option<&'a Matrix>,
    weights: Option<&'a [Matrix]>,
    grads: Option<&'a [Matrix]>,
    hessian: Option<&'a Matrix>,
    activations: Option<&'a Samples>,
    grad_activations: Option<&'a Samples>,
    bn_weight: Option<&'a Samples>,
    quant_scale: Option<&'a Samples>,
    quant_zero: Option<&'a Samples>,
    sums: Option<&'a InputSums>,
    there: Option<&'a [bool]>,
}

macro_rules! tensors {
    ($($(#[$doc:meta])+ $with:ident $get:ident $name:literal $type:ty,)+) => {
        $(
            #[doc = concat!("The same with `", $name, "`.")]
            pub fn $with(self, $get: &'a $type) -> Self {
                Self { $get: Some($get), ..self }
            }

            $(#[$doc])+
            ///
            /// # Errors
            ///
            /// [`Error::Missing`].
            pub fn $get(&self) -> Result<&'a $type, Error> {
                self.$get.ok_or_else(|| Error::Missing { input: self.name($name) })
            }
        )+
    };
}

impl<'a> Inputs<'a> {
    /// A weight and nothing else.
    pub fn new(weight: &'a Matrix) -> Self {
        Self { weight: Some(weight), ..Self::default() }
    }

    /// The same, its tensors named after `layer`, such as `layers.3`, in messages.
    pub fn of_layer(self, layer: &'a str) -> Self {
        Self { layer, ..self }
    }

    tensors! {
        /// The weight.
        with_weight weight "weight" Matrix,
        /// Its values after each step.
        with_weights weights "weights" [Matrix],
        /// Activations: the layer's inputs, or the channels that are scored.
        with_activations activations "activations" Samples,
        /// The scale of the batch norm behind the layer.
        with_bn_weight bn_weight "bn.weight" Samples,
        /// The step between two codes, for each row.
        with_quant_scale quant_scale "quant.scale" Samples,
        /// The code of 0, for each row.
        with_quant_zero quant_zero "quant.zero" Samples,
    }

    /// The same with `grad`.
    pub fn with_grad(self, grad: &'a Matrix) -> Self {
        Self { grad: Some(grad), ..self }
    }

    /// The same with `grads`.
    pub fn with_grads(self, grads: &'a [Matrix]) -> Self {
        Self { grads: Some(grads), ..self }
    }

    /// The same with `hessian`.
    pub fn with_hessian(self, hessian: &'a Matrix) -> Self {
        Self { hessian: Some(hessian), ..self }
    }

    /// The same with `grad.activations`.
    pub fn with_grad_activations(self, gradients: &'a Samples) -> Self {
        Self { grad_activations: Some(gradients), ..self }
    }

    /// The same with sums over the layer's inputs in the place of `activations`.
    pub fn with_sums(self, sums: &'a InputSums) -> Self {
        Self { sums: Some(sums), ..self }
    }

    /// The same with what earlier masks have left, row-major: what is gone goes first, counts, and stays gone.
    pub fn with_there(self, there: &'a [bool]) -> Self {
        Self { there: Some(there), ..self }
    }

    /// Sums over the layer's inputs, if they are there in the place of `activations`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for those of another layer.
    pub fn sums(&self) -> Result<Option<&'a InputSums>, Error> {
        let Some(sums) = self.sums else { return Ok(None) };
        let weight = self.weight()?;
        if sums.columns() != weight.columns() || !weight.rows().is_multiple_of(sums.groups()) {
            let input = format!("sums of the inputs of {}", sums.path());
            let expected =
                format!("{} columns, and groups that divide {} rows", weight.columns(), weight.rows());
            return Err(Error::Shape { input, expected, found: vec![sums.groups(), sums.columns()] });
        }
        Ok(Some(sums))
    }

    /// What earlier masks have left of the weight, if they have taken something.
    ///
    /// # Errors
    ///
    /// [`Error::Length`].
    pub fn there(&self) -> Result<Option<&'a [bool]>, Error> {
        let Some(there) = self.there else { return Ok(None) };
        let expected = self.weight()?.values().len();
        match there.len() == expected {
            true => Ok(Some(there)),
            false => Err(Error::Length { path: self.name("mask"), expected, found: there.len() }),
        }
    }

    /// The gradient of the loss by the weight.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Shape`] where it has not the weight's.
    pub fn grad(&self) -> Result<&'a Matrix, Error> {
        let grad = self.grad.ok_or_else(|| Error::Missing { input: self.name("grad") })?;
        self.like_weight(grad)
    }

    /// Gradients of single examples by the weight, or of single steps, at least one.
    ///
    /// # Errors
    ///
    /// As [`grad`](Inputs::grad).
    pub fn grads(&self) -> Result<&'a [Matrix], Error> {
        let grads = self.grads.ok_or_else(|| Error::Missing { input: self.name("grads") })?;
        if grads.is_empty() {
            return Err(Error::Empty { input: self.name("grads") });
        }
        for grad in grads {
            self.like_weight(grad)?;
        }
        Ok(grads)
    }

    /// The diagonal of the Hessian, in the weight's shape, if it is there.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`].
    pub fn hessian(&self) -> Result<Option<&'a Matrix>, Error> {
        self.hessian.map(|hessian| self.like_weight(hessian)).transpose()
    }

    /// The gradients of the loss by the activations, which have the activations' shape.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Shape`].
    pub fn grad_activations(&self) -> Result<&'a Samples, Error> {
        let missing = || Error::Missing { input: self.name("grad.activations") };
        let found = self.grad_activations.ok_or_else(missing)?;
        let expected = self.activations()?;
        match found.shape == expected.shape {
            true => Ok(found),
            false => Err(shape(&found.path, &expected.shape, &found.shape)),
        }
    }

    /// A matrix of the weight's rows and columns, if any of the tensors is one.
    pub fn any_matrix(&self) -> Option<&'a Matrix> {
        self.weight.or_else(|| self.weights.and_then(<[_]>::first))
    }

    /// Whether the weight's history is there.
    pub fn has_weights(&self) -> bool {
        self.weights.is_some()
    }

    /// A tensor's name with its layer's.
    fn name(&self, tensor: &str) -> String {
        if self.layer.is_empty() { tensor.to_owned() } else { format!("{}.{tensor}", self.layer) }
    }

    fn like_weight(&self, matrix: &'a Matrix) -> Result<&'a Matrix, Error> {
        let sizes = |matrix: &Matrix| [matrix.rows(), matrix.columns()];
        match self.any_matrix() {
            Some(weight) if sizes(weight) != sizes(matrix) => {
                Err(shape(matrix.path(), &sizes(weight), &sizes(matrix)))
            }
            _ => Ok(matrix),
        }
    }
}

/// A tensor whose first dimensions count examples, in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    path: String,
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Samples {
    /// A tensor of `shape` with row-major `values`; `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] when `values` does not fill `shape`, [`Error::NotFinite`].
    pub fn new<T: Copy + Into<f64>>(path: &str, shape: &[usize], values: &[T]) -> Result<Self, Error> {
        let (expected, found) = (shape.iter().product(), values.len());
        if expected != found {
            return Err(Error::Length { path: path.into(), expected, found });
        }
        let values: Vec<f64> = values.iter().map(|&value| value.into()).collect();
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(Error::NotFinite { path: path.into(), index, value: values[index] }),
            None => Ok(Self { path: path.into(), shape: shape.into(), values }),
        }
    }

    /// Where it is in its file or module.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values, which must be `count`: one for each row of a weight.
    ///
    /// # Errors
    ///
    /// [`Error::Length`].
    pub fn exactly(&self, count: usize) -> Result<&[f64], Error> {
        match self.values.len() == count {
            true => Ok(&self.values),
            false => {
                Err(Error::Length { path: self.path.clone(), expected: count, found: self.values.len() })
            }
        }
    }

    /// As `[samples…, columns]`: one slice a sample, at least one.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] where the last dimension is another one, [`Error::Empty`].
    pub fn rows(&self, columns: usize) -> Result<std::slice::ChunksExact<'_, f64>, Error> {
        if self.shape.len() < 2 || self.shape.last() != Some(&columns) {
            let expected = format!("[samples, {columns}]");
            return Err(Error::Shape { input: self.path.clone(), expected, found: self.shape.clone() });
        }
        if self.values.is_empty() {
            return Err(Error::Empty { input: self.path.clone() });
        }
        Ok(self.values.chunks_exact(columns))
    }

    /// As `[samples, channels, positions…]`: the three sizes, none of them 0.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] where there are fewer than two dimensions, [`Error::Empty`].
    pub fn channels(&self) -> Result<[usize; 3], Error> {
        let &[samples, channels, ref positions @ ..] = self.shape.as_slice() else {
            let expected = "[samples, channels, …]".into();
            return Err(Error::Shape { input: self.path.clone(), expected, found: self.shape.clone() });
        };
        if self.values.is_empty() {
            return Err(Error::Empty { input: self.path.clone() });
        }
        Ok([samples, channels, positions.iter().product()])
    }
}

fn shape(input: &str, expected: &[usize], found: &[usize]) -> Error {
    Error::Shape { input: input.into(), expected: format!("{expected:?}"), found: found.into() }
}
