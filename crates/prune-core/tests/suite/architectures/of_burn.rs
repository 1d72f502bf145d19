//! The same networks, and the same rows of the table, of Burn's own layers. Those with convolutions in groups are not among
//! them: Burn's count their groups in a plain number, which follows no cut.

#[path = "branches.rs"]
mod branches;
#[path = "burn_layers.rs"]
mod layers;
#[path = "plain.rs"]
mod plain;
#[path = "residual.rs"]
mod residual;

use super::table;
