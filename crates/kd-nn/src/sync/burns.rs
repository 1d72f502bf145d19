//! Burn's own layers: those with numbers that follow, and those without.

use burn::nn::attention::{CrossAttention, MultiHeadAttention};
use burn::nn::conv::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
use burn::nn::pool::{AdaptiveAvgPool1d, AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d};
use burn::nn::transformer::{PositionWiseFeedForward, TransformerEncoder, TransformerEncoderLayer};
use burn::nn::{
    BatchNorm, BiGru, BiLstm, Dropout, Embedding, Gelu, GroupNorm, Gru, HardSigmoid, InstanceNorm, LayerNorm,
    LeakyRelu, Linear, Lstm, PRelu, PositionalEncoding, Relu, RmsNorm, RotaryEncoding, Sigmoid, SwiGlu, Tanh,
};

use super::ours::unchanged;
use super::{ShapeCut, SyncShape, first_name};

unchanged!(Linear, Embedding, BatchNorm, LayerNorm, RmsNorm, Dropout, PositionalEncoding, RotaryEncoding);
unchanged!(Relu, Gelu, Sigmoid, Tanh, HardSigmoid, LeakyRelu, PRelu, SwiGlu);
unchanged!(AdaptiveAvgPool1d, AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d);
unchanged!(CrossAttention, MultiHeadAttention, PositionWiseFeedForward, TransformerEncoderLayer);

/// Groups that are left: `[channels_out, channels_in / groups, …]` loses a group with all its output channels.
macro_rules! convolutions {
    ($($type:ty),*) => {
        $(impl SyncShape for $type {
            fn sync_shape(&mut self, cut: &ShapeCut<'_>) {
                if let Some(kept) = cut.kept("weight", 0) {
                    self.groups = kept.parts(self.groups);
                }
            }
        })*
    };
}
convolutions!(Conv1d, Conv2d, Conv3d);

/// The same of `[channels_in, channels_out / groups, …]`, with a record of the channels beside it.
macro_rules! transposed {
    ($($type:ty),*) => {
        $(impl SyncShape for $type {
            fn sync_shape(&mut self, cut: &ShapeCut<'_>) {
                if let Some(kept) = cut.kept("weight", 0) {
                    self.groups = kept.parts(self.groups);
                }
                let dims = self.weight.dims();
                self.channels = [dims[0], dims[1] * self.groups];
            }
        })*
    };
}
transposed!(ConvTranspose1d, ConvTranspose2d, ConvTranspose3d);

impl SyncShape for GroupNorm {
    fn sync_shape(&mut self, cut: &ShapeCut<'_>) {
        if let Some(kept) = cut.kept("gamma", 0) {
            self.num_groups = kept.parts(self.num_groups);
            self.num_channels = kept.keep.len();
        }
    }
}

impl SyncShape for InstanceNorm {
    fn sync_shape(&mut self, cut: &ShapeCut<'_>) {
        if let Some(kept) = cut.kept("gamma", 0) {
            self.num_channels = kept.keep.len();
        }
    }
}

impl SyncShape for Lstm {
    fn sync_shape(&mut self, _: &ShapeCut<'_>) {
        self.d_hidden = self.input_gate.input_transform.weight.dims()[1];
    }
}

impl SyncShape for Gru {
    fn sync_shape(&mut self, _: &ShapeCut<'_>) {
        self.d_hidden = self.update_gate.input_transform.weight.dims()[1];
    }
}

/// One layer for each direction, and a record of their width.
macro_rules! both_ways {
    ($($type:ty),*) => {
        $(impl SyncShape for $type {
            fn sync_shape(&mut self, cut: &ShapeCut<'_>) {
                self.forward.sync_shape(&cut.at("forward"));
                self.reverse.sync_shape(&cut.at("reverse"));
                self.d_hidden = self.forward.d_hidden;
            }
        })*
    };
}
both_ways!(BiLstm, BiGru);

impl SyncShape for TransformerEncoder {
    fn sync_shape(&mut self, _: &ShapeCut<'_>) {
        // The numbers are for display only; layers that all lost the same tell the width of the hidden layer.
        if let Some(layer) = self.layers.first() {
            self.d_ff = layer.pwff.linear_inner.weight.dims()[1];
        }
        self.n_layers = self.layers.len();
    }

    fn remove_element(&mut self, path: &str) -> bool {
        match first_name(path) {
            ("layers", index) => self.layers.remove_element(index),
            _ => false,
        }
    }
}
