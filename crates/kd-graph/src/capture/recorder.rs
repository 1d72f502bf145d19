//! Turns recorded operations into a draft: values, and which file knows an operation.

use std::collections::{BTreeMap, HashMap};

use burn::backend::ir::{BoolOperationIr, IntOperationIr, OperationIr, TensorId, TensorIr};
use burn::tensor::{DType, TensorData};

use super::arithmetic::same_for_integers;
use super::params::Params;
use crate::draft::{Contents, Draft, DraftOrigin, DraftValue};
use crate::graph::{Binary, Node, Op, Param, ValueId};

/// Turns recorded operations into a draft.
pub(super) struct Recorder<'a> {
    data: &'a BTreeMap<TensorId, TensorData>,
    params: HashMap<TensorId, usize>,
    pub(super) known: HashMap<TensorId, ValueId>,
    batch: usize,
    pub(super) values: Vec<DraftValue>,
    nodes: Vec<Node>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        params: &Params,
        data: &'a BTreeMap<TensorId, TensorData>,
        batch: usize,
        input: TensorId,
    ) -> Self {
        let ids = params.ids.iter().enumerate().filter_map(|(index, &id)| Some((id?, index))).collect();
        let mut recorder =
            Self { data, params: ids, known: HashMap::new(), batch, values: Vec::new(), nodes: Vec::new() };
        let shape = data.get(&input).map(|data| data.shape().to_vec()).unwrap_or_default();
        let value = recorder.push(shape, DraftOrigin::Input);
        recorder.known.insert(input, value);
        recorder
    }

    pub(super) fn finish(
        mut self,
        params: Vec<Param>,
        output: TensorId,
        marks: Vec<(String, TensorId)>,
    ) -> Draft {
        let output = self.leaf(output);
        let mut sites: Vec<(String, ValueId)> = Vec::new();
        for (name, id) in marks {
            let site = (name, self.leaf(id));
            if !sites.contains(&site) {
                sites.push(site);
            }
        }
        let input = ValueId(0);
        Draft { batch: self.batch, params, values: self.values, nodes: self.nodes, input, output, sites }
    }

    pub(super) fn push(&mut self, shape: Vec<usize>, origin: DraftOrigin) -> ValueId {
        self.values.push(DraftValue { shape, origin });
        ValueId(self.values.len() - 1)
    }

    pub(super) fn node(&mut self, op: Op, inputs: Vec<ValueId>, shape: Vec<usize>) -> ValueId {
        let output = self.push(shape, DraftOrigin::Node);
        self.nodes.push(Node { op, inputs, output });
        output
    }

    /// The value behind a tensor: the result of an operation, or else a parameter or a constant.
    pub(super) fn leaf(&mut self, id: TensorId) -> ValueId {
        if let Some(&value) = self.known.get(&id) {
            return value;
        }
        let data = self.data.get(&id);
        let shape = data.map(|data| data.shape().to_vec()).unwrap_or_default();
        let value = match (self.params.get(&id), data.and_then(contents)) {
            (Some(&index), _) => self.push(shape, DraftOrigin::Param(index)),
            (None, Some(contents)) => self.push(shape, DraftOrigin::Constant(contents)),
            (None, None) => self.node(Op::Opaque("data".into()), Vec::new(), shape),
        };
        self.known.insert(id, value);
        value
    }

    pub(super) fn emit<'t>(
        &mut self,
        op: Op,
        inputs: impl IntoIterator<Item = &'t TensorIr>,
        out: &TensorIr,
    ) {
        let inputs = inputs.into_iter().map(|tensor| self.leaf(tensor.id)).collect();
        let value = self.node(op, inputs, out.shape.to_vec());
        self.known.insert(out.id, value);
    }

    pub(super) fn emit_constant(&mut self, value: f32, out: &TensorIr) {
        let value = self.push(out.shape.to_vec(), DraftOrigin::Constant(Contents::Uniform(value)));
        self.known.insert(out.id, value);
    }

    fn opaque(&mut self, operation: &OperationIr) {
        let name = operation_name(operation);
        for out in operation.outputs() {
            self.emit(Op::Opaque(name.clone()), operation.inputs(), out);
        }
    }

    pub(super) fn operation(&mut self, operation: &OperationIr) {
        let done = match operation {
            OperationIr::Init(_) | OperationIr::Drop(_) => true,
            OperationIr::Module(op) => self.module(op),
            OperationIr::Activation(op) => self.activation(op),
            OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => {
                self.base(op)
            }
            OperationIr::NumericFloat(_, op) => self.numeric(op),
            OperationIr::NumericInt(_, op) if same_for_integers(op) => self.numeric(op),
            OperationIr::Float(_, op) => self.float(op),
            // Integers and truth values are floats in the graph already.
            OperationIr::Bool(op) if self.logic(op) => true,
            OperationIr::Int(IntOperationIr::IntoFloat(op))
            | OperationIr::Bool(BoolOperationIr::IntoFloat(op) | BoolOperationIr::IntoInt(op)) => {
                let value = self.leaf(op.input.id);
                self.known.insert(op.out.id, value);
                true
            }
            _ => false,
        };
        if !done {
            self.opaque(operation);
        }
    }

    /// Truth is one and falsehood zero.
    fn logic(&mut self, operation: &BoolOperationIr) -> bool {
        match operation {
            BoolOperationIr::Not(op) => self.emit(Op::Scalar(Binary::Equal, 0.0), [&op.input], &op.out),
            BoolOperationIr::And(op) => self.binary(Binary::Mul, op),
            BoolOperationIr::Or(op) => {
                let inputs = vec![self.leaf(op.lhs.id), self.leaf(op.rhs.id)];
                let shape = op.out.shape.to_vec();
                let either = self.node(Op::Binary(Binary::Add), inputs, shape.clone());
                let value = self.node(Op::Scalar(Binary::Greater, 0.0), vec![either], shape);
                self.known.insert(op.out.id, value);
            }
            _ => return false,
        }
        true
    }
}

/// What a constant holds as 32-bit floats; `None` where they cannot hold it.
fn contents(data: &TensorData) -> Option<Contents> {
    /// Integers up to this size are floats too.
    const EXACT: i64 = 1 << 24;
    let dtype = data.dtype();
    if dtype.is_int() || dtype.is_uint() {
        let wide: Vec<i64> = data.clone().convert_dtype(DType::I64).try_to_vec().ok()?;
        if wide.iter().any(|value| !(-EXACT..=EXACT).contains(value)) {
            return None;
        }
    } else if !dtype.is_float() && !dtype.is_bool() {
        return None;
    }
    let values: Vec<f32> = data.clone().convert_dtype(DType::F32).try_to_vec().ok()?;
    match values.split_first() {
        Some((first, rest)) if rest.iter().all(|value| value.to_bits() == first.to_bits()) => {
            Some(Contents::Uniform(*first))
        }
        _ => Some(Contents::Data(values)),
    }
}

/// Burn's name of an operation in snake case, such as `conv_transpose2d`.
fn operation_name(operation: &OperationIr) -> String {
    if let OperationIr::Custom(custom) = operation {
        return custom.id.clone();
    }
    // `Category(Name(…))` or `Category(dtype, Name(…))`.
    let text = format!("{operation:?}");
    let inner = text.split_once('(').map_or(text.as_str(), |(_, inner)| inner);
    let name = inner.split(['(', '{']).next().unwrap_or(inner);
    let name = name.rsplit(", ").next().unwrap_or(name).trim_end_matches([')', ' ']);
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
