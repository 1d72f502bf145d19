//! Numbers that layers keep beside their weights, after a cut of these weights.
//!
//! A convolution's groups and an attention's heads stand in plain fields, which no surgery on tensors reaches. The
//! layers of this crate read such numbers off their weights' shapes and need nothing; Burn's own, and models with numbers
//! of their own, follow through [`SyncShape`].

mod burns;
mod ours;

pub use kd_derive::SyncShape;

/// Brings a module's plain numbers up to date once slices of its weights were removed.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::Device;
/// use kd_nn::{Kept, ShapeCut, SyncShape};
///
/// #[derive(Module, Debug, SyncShape)]
/// struct Heads {
///     query: Linear,
///     #[sync(self.query.weight.dims()[1] / self.width)]
///     heads: usize,
///     width: usize,
/// }
///
/// let device = Device::default();
/// // A module of 4 heads of 8, after the first head's columns were taken out of the weight.
/// let query = LinearConfig::new(16, 24).init(&device);
/// let mut attention = Heads { query, heads: 4, width: 8 };
/// let keep: Vec<usize> = (8..32).collect();
/// let kept = |path: &str, dim: usize| {
///     ((path, dim) == ("query.weight", 1)).then_some(Kept { size: 32, keep: &keep })
/// };
/// attention.sync_shape(&ShapeCut::new(&kept));
/// assert_eq!(attention.heads, 3);
/// ```
///
/// Derive it: fields are asked in turn, and a number that depends on the weights has a rule, see
/// [the macro](derive@SyncShape). Burn's layers have it where their numbers are public and can follow: convolutions,
/// group and instance norm, recurrent layers. [`CrossAttention`](burn::nn::attention::CrossAttention) keeps its numbers private,
/// and [`MultiHeadAttention`](burn::nn::attention::MultiHeadAttention) makes its heads' widths add up to the width of its input,
/// so that neither can lose a head; they change nothing, and whoever checks a cut by capturing the module again finds out.
pub trait SyncShape {
    /// Sets the numbers to what the weights ask for. `cut` says what was removed, by paths from this module.
    fn sync_shape(&mut self, cut: &ShapeCut<'_>);

    /// Takes the element at a dotted path from this module, `layers.2`, out of the `Vec` that holds it; what follows moves
    /// up by one. `false`, and nothing is changed, where no such list has such an element.
    ///
    /// Numbers do not follow here: ask for them with [`sync_shape`](SyncShape::sync_shape) once all is out.
    ///
    /// ```
    /// # use burn::module::Module;
    /// # use burn::nn::{Linear, LinearConfig};
    /// # use burn::tensor::Device;
    /// use kd_nn::SyncShape;
    ///
    /// #[derive(Module, Debug, SyncShape)]
    /// struct Stack {
    ///     layers: Vec<Linear>,
    /// }
    ///
    /// let device = Device::default();
    /// let mut stack = Stack { layers: [3, 5, 7].map(|out| LinearConfig::new(3, out).init(&device)).into() };
    /// assert!(stack.remove_element("layers.1") && !stack.remove_element("layers.2"));
    /// assert_eq!(stack.layers[1].weight.dims(), [3, 7]);
    /// ```
    fn remove_element(&mut self, path: &str) -> bool {
        let _ = path;
        false
    }
}

/// The first name of a dotted path, and what follows it.
#[doc(hidden)]
pub fn first_name(path: &str) -> (&str, &str) {
    path.split_once('.').unwrap_or((path, ""))
}

/// What stayed of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept<'a> {
    /// Its size before.
    pub size: usize,
    /// The indices that stayed, ascending.
    pub keep: &'a [usize],
}

impl Kept<'_> {
    /// How many of so many equal consecutive parts of the dimension have any index left.
    ///
    /// This tells a cut of whole groups from one inside each group. `parts` has to divide the size; where it does not,
    /// there were no such parts, and the answer is `parts`.
    pub fn parts(&self, parts: usize) -> usize {
        if parts == 0 || !self.size.is_multiple_of(parts) {
            return parts;
        }
        let part = self.size / parts;
        let mut alive: Vec<usize> = self.keep.iter().map(|index| index / part).collect();
        alive.dedup();
        alive.len()
    }
}

/// A cut as a module sees it: by paths that start at the module.
#[derive(Clone)]
pub struct ShapeCut<'a> {
    kept: &'a dyn Fn(&str, usize) -> Option<Kept<'a>>,
    path: String,
}

impl std::fmt::Debug for ShapeCut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShapeCut").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<'a> ShapeCut<'a> {
    /// At the root. `kept` says what stayed of a dimension of the parameter with a dotted path, if not all did.
    pub fn new(kept: &'a dyn Fn(&str, usize) -> Option<Kept<'a>>) -> Self {
        Self { kept, path: String::new() }
    }

    /// At a field.
    #[must_use]
    pub fn at(&self, field: &str) -> Self {
        let path = if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) };
        Self { kept: self.kept, path }
    }

    /// What stayed of a dimension of the parameter `field` of this module, if not all did.
    pub fn kept(&self, field: &str, dim: usize) -> Option<Kept<'a>> {
        (self.kept)(&self.at(field).path, dim)
    }
}
