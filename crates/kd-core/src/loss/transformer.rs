//! Losses of transformers and language models: attention, hidden states, tokens.

mod common;
pub(super) mod distilbert;
pub(super) mod gkd;
pub(super) mod minillm;
pub(super) mod minilm;
pub(super) mod minilm_v2;
pub(super) mod mobilebert;
pub(super) mod mobileclip;
pub(super) mod pkd_bert;
pub(super) mod sequence_kd;
pub(super) mod tinybert;

pub use common::{AttentionInput, TermWeight};
pub use distilbert::{DistilBert, DistilBertInputs, distilbert};
pub use gkd::{Gkd, GkdBeta, gkd};
pub use minillm::{MiniLlm, minillm};
pub use minilm::{MiniLm, MiniLmLayer, minilm};
pub use minilm_v2::{MiniLmV2, MiniLmV2Layer, RelationHeads, minilm_v2};
pub use mobilebert::{MobileBert, MobileBertInputs, mobilebert};
pub use mobileclip::{Embeddings, MobileClip, mobileclip};
pub use pkd_bert::{PkdBert, PkdVariant, pkd_bert};
pub use sequence_kd::{SequenceKd, sequence_kd};
pub use tinybert::{TinyBert, TinyBertInputs, tinybert};
