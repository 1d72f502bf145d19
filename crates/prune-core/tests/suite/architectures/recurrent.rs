//! Networks that read a sequence step by step.

use burn::module::Module;
use burn::nn::gru::{Gru, GruConfig};
use burn::nn::{Linear, Lstm, LstmConfig};
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Device, Tensor};

use super::attention::linear;
use super::table::Architecture;

/// Steps of `[batch, length, width]`.
fn steps(x: Tensor<3>) -> impl Iterator<Item = Tensor<2>> {
    let [batch, length, width] = x.dims();
    (0..length).map(move |at| x.clone().narrow(1, at, 1).reshape([batch, width]))
}

/// LSTM (Hochreiter and Schmidhuber 1997; gates as PyTorch orders them), two layers, from a state of zeros.
#[derive(Module, Debug)]
struct LstmNet {
    input: Vec<Linear>,
    state: Vec<Linear>,
    head: Linear,
}

#[test]
fn lstm() {
    let net = LstmNet {
        input: vec![linear(4, 20), linear(5, 24)],
        state: vec![linear(5, 20), linear(6, 24)],
        head: linear(6, 3),
    };
    Architecture::new(net, [1, 3, 4], |net: &LstmNet, x| {
        let [batch, _, _] = x.dims();
        let device = x.device();
        let zeros = |layer: &Linear| Tensor::<2>::zeros([batch, layer.weight.dims()[0]], &device);
        let mut hidden: Vec<Tensor<2>> = net.state.iter().map(zeros).collect();
        let mut cells = hidden.clone();
        for step in steps(x) {
            let mut x = step;
            for (at, (input, state)) in net.input.iter().zip(&net.state).enumerate() {
                let gates = input.forward(x) + state.forward(hidden[at].clone());
                let gates = gates.chunk(4, 1);
                let [open, forget, out] = [0, 1, 3].map(|gate: usize| sigmoid(gates[gate].clone()));
                cells[at] = forget * cells[at].clone() + open * tanh(gates[2].clone());
                hidden[at] = out * tanh(cells[at].clone());
                x = hidden[at].clone();
            }
        }
        net.head.forward(hidden[1].clone())
    })
    .check(
        "width 4: input.0.weight:0; pinned: dimension 2 of the model's input
         width 5: {input,state}.0.weight:1:0/1x4@5 {input,state}.0.bias:0:0/1x4@5 state.0.weight:0 input.1.weight:0
         width 6: {input,state}.1.weight:1:0/1x4@6 {input,state}.1.bias:0:0/1x4@6 state.1.weight:0 head.weight:0
         width 3: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// GRU (Cho et al. 2014; the reset gate behind the matrix, as in PyTorch and cuDNN).
#[derive(Module, Debug)]
struct GruNet {
    input: Linear,
    state: Linear,
    head: Linear,
}

#[test]
fn gru() {
    let net = GruNet { input: linear(4, 15), state: linear(5, 15), head: linear(5, 3) };
    Architecture::new(net, [1, 3, 4], |net: &GruNet, x| {
        let [batch, _, _] = x.dims();
        let mut hidden = Tensor::<2>::zeros([batch, net.state.weight.dims()[0]], &x.device());
        for step in steps(x) {
            let from_input = net.input.forward(step).chunk(3, 1);
            let from_state = net.state.forward(hidden.clone()).chunk(3, 1);
            let gate = |at: usize| sigmoid(from_input[at].clone() + from_state[at].clone());
            let (reset, update) = (gate(0), gate(1));
            let new = tanh(from_input[2].clone() + reset * from_state[2].clone());
            hidden = (update.clone().neg() + 1.0) * new + update * hidden;
        }
        net.head.forward(hidden)
    })
    .check(
        "width 4: input.weight:0; pinned: dimension 2 of the model's input
         width 5: {input,state}.weight:1:0/1x3@5 {input,state}.bias:0:0/1x3@5 state.weight:0 head.weight:0
         width 3: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// Burn's own LSTM starts from zeros of a width that it keeps in a field, and refuses weights of another.
#[derive(Module, Debug)]
struct BurnLstm {
    lstm: Lstm,
    head: Linear,
}

#[test]
fn lstm_of_burn() {
    let net = BurnLstm { lstm: LstmConfig::new(4, 5, true).init(&Device::flex()), head: linear(5, 3) };
    Architecture::new(net, [1, 3, 4], |net: &BurnLstm, x| {
        let (_, state) = net.lstm.forward(x, None);
        net.head.forward(state.hidden)
    })
    .check(
        "width 4: lstm.{input,forget,output,cell}_gate.input_transform.weight:0; pinned: model's input
         width 5: lstm.{input,forget,output,cell}_gate.{input,hidden}_transform.weight:1
            lstm.{input,forget,output,cell}_gate.{input,hidden}_transform.bias:0
            lstm.{input,forget,output,cell}_gate.hidden_transform.weight:0 head.weight:0; pinned: plain numbers
         width 3: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}

/// Burn's own GRU writes its states into a tensor that is there already, which a graph does not describe: what goes in is
/// pinned, and so is what comes out.
#[derive(Module, Debug)]
struct BurnGru {
    gru: Gru,
    head: Linear,
}

#[test]
fn gru_of_burn() {
    let net = BurnGru { gru: GruConfig::new(4, 5, true).init(&Device::flex()), head: linear(5, 3) };
    Architecture::new(net, [1, 3, 4], |net: &BurnGru, x| {
        let states = net.gru.forward(x, None);
        net.head.forward(states.mean_dim(1).flatten::<2>(1, 2))
    })
    .check(
        "width 4: gru.{update,reset,new}_gate.input_transform.weight:0; pinned: model's input
         width 5: gru.{update,reset,new}_gate.{input,hidden}_transform.weight:1
            gru.{update,reset,new}_gate.{input,hidden}_transform.bias:0
            gru.{update,reset,new}_gate.hidden_transform.weight:0; pinned: it meets `slice_assign` behind `gru.
         width 5: head.weight:0; pinned: it meets `slice_assign` behind `gru.
         width 3: head.weight:1 head.bias:0; pinned: dimension 1 of the model's output",
        "",
    );
}
