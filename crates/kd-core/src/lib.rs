//! Knowledge distillation on [Burn](burn): losses, schedules, and the tap through which a model is watched.
//!
//! The crate is arithmetic: it reads no file, clock or environment variable, prints nothing and has no training loop.
//! A trainer brings the loop and calls three things: a [`Tap`] in each forward pass, an [`Objective`] on what the two
//! models gave, and the optimizer on the student and its [`Connectors`].
//!
//! ```
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::activation::relu;
//! use burn::tensor::{Device, Int, Tensor};
//! use kd_core::loss::{CrossEntropy, Hint, Kl};
//! use kd_core::{Connectors, Objective, Observed, Progress, Schedule, Tap, Temperature, Term, View};
//!
//! /// A network that does not know whether it is a teacher or a student.
//! struct Net(Linear, Linear);
//!
//! impl Net {
//!     fn new(width: usize, device: &Device) -> Self {
//!         Net(LinearConfig::new(8, width).init(device), LinearConfig::new(width, 3).init(device))
//!     }
//!
//!     fn forward(&self, x: Tensor<2>, tap: &mut Tap) -> Tensor<2> {
//!         let x = tap.at("hidden", relu(self.0.forward(x)));
//!         self.1.forward(x)
//!     }
//!
//!     fn observe(&self, x: Tensor<2>) -> Observed {
//!         let mut tap = Tap::wanting(["hidden"]);
//!         let logits = self.forward(x, &mut tap);
//!         Observed::new(logits).with_features(tap.into_features())
//!     }
//! }
//!
//! let device = Device::default();
//! let training = device.clone().autodiff();
//! let (teacher, student) = (Net::new(32, &device), Net::new(4, &training));
//!
//! let objective = Objective::new(vec![
//!     Term::new("cross-entropy", Schedule::constant(0.1)?, CrossEntropy::default()),
//!     Term::new("kl", Schedule::linear(1.0, 0.5)?, Kl::new(Temperature::new(4.0)?)),
//!     Term::new("hint", Schedule::constant(0.2)?, Hint::new("hidden", "hidden")),
//! ])?;
//!
//! let x = Tensor::<2>::ones([2, 8], &device);
//! let targets = Tensor::<1, Int>::from_data([0, 2], &device);
//! let (seen, known) = (student.observe(x.clone().autodiff()), teacher.observe(x));
//!
//! // The features have 4 and 32 units: a linear layer, trained with the student, joins them.
//! let connectors = Connectors::create(&objective.sites(), &seen.features, &known.features, &training)?;
//! let evaluation = objective.evaluate(&View {
//!     student: &seen,
//!     teachers: std::slice::from_ref(&known),
//!     targets: Some(&targets),
//!     mask: None,
//!     progress: Progress::of(1, 2),
//!     connectors: &connectors,
//! })?;
//!
//! assert_eq!(evaluation.terms[1].weight, 0.75);
//! let gradients = evaluation.total.backward();
//! assert!(student.0.weight.grad(&gradients).is_some());
//! # Ok::<(), kd_core::Error>(())
//! ```
//!
//! Where to look next: [`loss::TABLE`] for what each loss equals, [`Schedule`] for how numbers change along a run,
//! [`Tap`] for the one line that a model contributes. To add a loss, write a struct of knobs, implement
//! [`DistillLoss`] for it, and put it in a [`Term`]; nothing has to be registered here.

mod adaptive;
mod connector;
mod docs;
mod error;
mod feature;
pub mod loss;
pub mod named;
mod objective;
mod parameter;
mod progress;
mod schedule;
mod tap;
mod temperature;
mod view;

pub use adaptive::{
    balanced_weights, gradient_norm, paced_weights, uncertainty_parameter, uncertainty_weighted,
};
pub use connector::{Connector, ConnectorKind, Connectors, SitePair};
pub use docs::{Input, Knob};
pub use error::{Error, Obstacle};
pub use feature::{EachRank, Feature, Features};
pub use loss::DistillLoss;
pub use objective::{Evaluation, Objective, Term, TermValue};
pub use parameter::{Parameter, Start};
pub use progress::Progress;
pub use schedule::{Curve, OneCycle, Ramp, Schedule, ScheduleName};
pub use tap::{Rewrite, Tap};
pub use temperature::Temperature;
pub use view::{Observed, Side, View};
