//! Two sequences at once.

use burn::module::{Module, Param};
use burn::nn::{Embedding, LayerNorm, Linear};
use burn::tensor::Tensor;

use super::attention::{
    Attention, FeedForward, attention_groups, causal, embedding, last, linear, norm, table,
};
use super::table::Architecture;

/// An encoder and a decoder of different widths (Vaswani et al. 2017): the decoder's second attention reads the
/// encoder's result.
#[derive(Module, Debug)]
struct Translator {
    source: Embedding,
    source_places: Param<Tensor<3>>,
    encoder: Attention,
    encoder_norm1: LayerNorm,
    encoder_mlp: FeedForward,
    encoder_norm2: LayerNorm,
    target: Embedding,
    target_places: Param<Tensor<3>>,
    decoder: Attention,
    decoder_norm1: LayerNorm,
    cross: Attention,
    decoder_norm2: LayerNorm,
    decoder_mlp: FeedForward,
    decoder_norm3: LayerNorm,
    head: Linear,
}

#[test]
fn cross_attention() {
    let net = Translator {
        source: embedding(9, 6),
        source_places: table([1, 4, 6]),
        encoder: Attention::new(6, 6, 2, [3, 4]),
        encoder_norm1: norm(6),
        encoder_mlp: FeedForward::new(6, 10),
        encoder_norm2: norm(6),
        target: embedding(9, 8),
        target_places: table([1, 3, 8]),
        decoder: Attention::new(8, 8, 3, [2, 5]),
        decoder_norm1: norm(8),
        cross: Attention::new(8, 6, 2, [5, 3]),
        decoder_norm2: norm(8),
        decoder_mlp: FeedForward::new(8, 12),
        decoder_norm3: norm(8),
        head: linear(8, 9),
    };
    let groups = [
        "rows 9: source.weight:0; pinned: rows of an embedding
         rows 9: target.weight:0; pinned: rows of an embedding
         positions 4: source_places:1; pinned: model's input; across: softmax
         positions 3: target_places:1; pinned: model's input; across: softmax
         embedding 6: source.weight:1 source_places:2 encoder.{query,key,value}.weight:0 encoder.output.weight:1
            encoder.output.bias:0 encoder_norm{1,2}.{gamma,beta}:0 encoder_mlp.up.weight:0 encoder_mlp.down.weight:1
            encoder_mlp.down.bias:0 cross.{key,value}.weight:0; across: layer_norm
         embedding 8: target.weight:1 target_places:2 decoder.{query,key,value}.weight:0 decoder.output.weight:1
            decoder.output.bias:0 decoder_norm{1,2,3}.{gamma,beta}:0 cross.query.weight:0 cross.output.weight:1
            cross.output.bias:0 decoder_mlp.up.weight:0 decoder_mlp.down.weight:1 decoder_mlp.down.bias:0
            head.weight:0; across: layer_norm
        ",
        &attention_groups("encoder", 2, [3, 4]),
        &attention_groups("decoder", 3, [2, 5]),
        &attention_groups("cross", 2, [5, 3]),
        "width 10: encoder_mlp.up.weight:1 encoder_mlp.up.bias:0 encoder_mlp.down.weight:0
         width 12: decoder_mlp.up.weight:1 decoder_mlp.up.bias:0 decoder_mlp.down.weight:0
         width 9: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
    ];
    Architecture::new(net, [1, 7], |net: &Translator, x| {
        let ids = x.int();
        let (source, target) = (ids.clone().narrow(1, 0, 4), ids.narrow(1, 4, 3));
        let x = net.source.forward(source) + net.source_places.val();
        let y = net.encoder.forward(x.clone(), x.clone(), |scores| scores);
        let x = net.encoder_norm1.forward(x + y);
        let memory = net.encoder_norm2.forward(x.clone() + net.encoder_mlp.forward(x));
        let x = net.target.forward(target) + net.target_places.val();
        let y = net.decoder.forward(x.clone(), x.clone(), causal);
        let x = net.decoder_norm1.forward(x + y);
        let y = net.cross.forward(x.clone(), memory, |scores| scores);
        let x = net.decoder_norm2.forward(x + y);
        let x = net.decoder_norm3.forward(x.clone() + net.decoder_mlp.forward(x));
        net.head.forward(last(x))
    })
    .tokens(9)
    .check(
        &groups.concat(),
        "encoder.*
         encoder_mlp.*
         decoder.*
         cross.* encoder.* encoder_norm1.* encoder_mlp.* encoder_norm2.* source.* source_places
         decoder_mlp.*",
    );
}
