//! Reconstruction of blocks: formulas, gradients and steps against torch's, GPTQ with float zero points against numpy's
//! (`tools/golden/quant_reconstruct.py`), and what must hold of any block.
use crate::common::layers::{KINDS, Lcg, Source, stats, view};
use burn::tensor::{Device, Tensor, TensorData, activation};
use quant_core::ptq::*;
use quant_core::{Error, Symmetry};
use serde_json::Value;

fn golden(topic: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../golden/reconstruct.json")).unwrap();
    let cases = all[topic].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "{topic}");
    cases
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|x| x as f32).collect()
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn sixtyfourths(value: &Value) -> Vec<f32> {
    floats(value).into_iter().map(|x| x / 64.0).collect()
}

fn read<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.without_autodiff().into_data().iter::<f64>().collect()
}

fn tensor(columns: usize, values: &[f32]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / columns, columns]), &Device::flex())
}

/// All within `tolerance` of the largest.
fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let most = expected.iter().fold(f64::MIN_POSITIVE, |most, x| x.abs().max(most));
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * most, "{what} at {index}: {a}, expected {b}");
    }
}

/// Linear layers with a ReLU between them.
struct Network {
    x: Tensor<2>,
    y: Tensor<2>,
    fisher: Option<Tensor<2>>,
}

impl Network {
    fn new(x: Tensor<2>, weights: &[Tensor<2>], fisher: Option<Tensor<2>>) -> Self {
        let y = run(x.clone(), weights);
        Self { x, y, fisher }
    }

    fn error(&self, weights: &[Quantized]) -> f64 {
        let weights: Vec<_> = weights.iter().map(|q| tensor(q.columns, &q.dequantize())).collect();
        let error = run(self.x.clone(), &weights) - self.y.clone();
        read(error.clone() * error).iter().sum::<f64>() / self.x.dims()[0] as f64
    }
}

fn run(x: Tensor<2>, weights: &[Tensor<2>]) -> Tensor<2> {
    let layer = |x: Tensor<2>, (index, w): (usize, &Tensor<2>)| {
        let x = if index > 0 { activation::relu(x) } else { x };
        x.matmul(w.clone().transpose())
    };
    weights.iter().enumerate().fold(x, layer)
}

fn rows(x: &Tensor<2>, samples: &[usize]) -> Tensor<2> {
    let at: Vec<i32> = samples.iter().map(|s| *s as i32).collect();
    x.clone().select(0, Tensor::from_data(TensorData::new(at, [samples.len()]), &Device::flex()))
}

impl Block<2> for Network {
    type Error = Error;

    fn samples(&self) -> usize {
        self.x.dims()[0]
    }

    fn outputs(&self, weights: &[Tensor<2>], samples: &[usize]) -> Result<Tensor<2>, Error> {
        Ok(run(rows(&self.x, samples), weights))
    }

    fn targets(&self, samples: &[usize]) -> Result<Targets<2>, Error> {
        let fisher = self.fisher.as_ref().map(|fisher| rows(fisher, samples));
        Ok(Targets { outputs: rows(&self.y, samples), fisher })
    }
}

fn affine(bits: u32, group: usize) -> Grid {
    Grid::new(bits, Some(group), Symmetry::Affine).unwrap()
}

#[test]
fn soft_bits_and_regularizer_are_torchs() {
    for case in golden("formulas") {
        let v = floats(&case["v"]);
        let v = Tensor::<1>::from_floats(v.as_slice(), &Device::flex().autodiff()).require_grad();
        let bits = soft_bits(v.clone());
        close(&read(bits.clone()), &numbers(&case["bits"]), 1e-6, "bits");
        let loss = rounding_regularizer(bits, case["beta"].as_f64().unwrap());
        let gradients = loss.backward();
        close(&read(loss), &[case["loss"].as_f64().unwrap()], 1e-6, "loss");
        // β times a bit's own rounding in 32-bit floats.
        close(&read(v.grad(&gradients).unwrap()), &numbers(&case["gradient"]), 1e-5, "gradient");
    }
}

#[test]
fn steps_are_torchs() {
    for case in golden("blocks") {
        let x = tensor(16, &sixtyfourths(&case["x"]));
        let w: Vec<Vec<f32>> = case["weights"].as_array().unwrap().iter().map(floats).collect();
        let columns = [16, 12];
        let targets: Vec<_> = w.iter().zip(columns).map(|(w, columns)| tensor(columns, w)).collect();
        let fisher = (!case["fisher"].is_null()).then(|| tensor(8, &floats(&case["fisher"])));
        let block = Network::new(x, &targets, fisher);
        let grid = affine(3, size(&case["group"]));
        let weights: Vec<_> =
            w.iter().zip(columns).map(|(w, c)| BlockWeight::nearest(view(c, w), &grid).unwrap()).collect();
        let iterations = size(&case["iterations"]);
        let knobs = |learning_rate| Brecq {
            iterations,
            learning_rate,
            lambda: case["lambda"].as_f64().unwrap(),
            batch: 24,
            ..Brecq::default()
        };
        let rate = case["learning_rate"].as_f64().unwrap();
        let found = brecq(&weights, &block, &knobs(rate), &Device::flex()).unwrap();
        for (layer, expected) in case["v"].as_array().unwrap().iter().enumerate() {
            let found: Vec<f64> = found.v[layer].iter().map(|v| f64::from(*v)).collect();
            close(&found, &numbers(expected), 1e-4, "v");
        }
        // The first step of Adam forgets how large a gradient is; the gradient itself, of the loss as it is written here.
        let device = Device::flex().autodiff();
        let (mut leaves, mut effective) = (Vec::new(), Vec::new());
        for (w, columns) in w.iter().zip(columns) {
            let start = rtn(view(columns, w), &grid).unwrap();
            let shape = [w.len() / columns, columns];
            let of = |f: &dyn Fn(usize) -> f32| {
                Tensor::<2>::from_data(
                    TensorData::new((0..w.len()).map(f).collect::<Vec<f32>>(), shape),
                    &device,
                )
            };
            let cell = |index: usize| start.cell(index / columns, index % columns);
            let ratio = |index: usize| w[index] / cell(index).scale;
            let rest = |index: usize| f64::from(ratio(index) - ratio(index).floor()).clamp(1e-4, 1.0 - 1e-4);
            let v = of(&|i| -(1.2 / (rest(i) + 0.1) - 1.0).ln() as f32);
            let v = v.require_grad();
            let bits = soft_bits(v.clone());
            let (floor, scale) = (of(&|i| ratio(i).floor()), of(&|i| cell(i).scale));
            let zero = of(&|i| cell(i).zero_point as f32);
            effective.push(((floor + bits.clone() + zero.clone()).clamp(-4.0, 3.0) - zero) * scale);
            leaves.push(v);
        }
        let error = run(block.x.clone(), &effective) - block.y.clone();
        let mut squares = error.clone() * error;
        if let Some(fisher) = &block.fisher {
            squares = squares * fisher.clone();
        }
        // In the warm start, as the first step is.
        let gradients = squares.sum().mul_scalar(1.0 / 24.0).backward();
        for (leaf, expected) in leaves.iter().zip(case["gradients"].as_array().unwrap()) {
            close(&read(leaf.grad(&gradients).unwrap()), &numbers(expected), 1e-5, "gradient");
        }
    }
}

#[test]
fn gptq_with_float_zero_points_is_numpys() {
    for case in golden("float") {
        let columns = size(&case["shape"][1]);
        let (w, x) = (floats(&case["w"]), sixtyfourths(&case["x"]));
        let hessian = stats(columns, &x).hessian().unwrap();
        let grid = affine(size(&case["bits"]) as u32, size(&case["group"]));
        for (refit, scale, zero) in [(false, "scale", "zero"), (true, "scale_refitted", "zero_refitted")] {
            let knobs = Gptq { refit, ..Gptq::default() };
            let found = gptq_float(view(columns, &w), &hessian, &grid, &knobs).unwrap().quantized;
            let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
            assert_eq!(
                wide(&found.codes.iter().map(|q| *q as f32).collect::<Vec<_>>()),
                numbers(&case["codes"])
            );
            close(&wide(&found.scale), &numbers(&case[scale]), 2e-6, scale);
            close(&wide(&found.zero), &numbers(&case[zero]), 2e-6, zero);
        }
    }
}

/// Two layers, samples seen and kept back.
fn two_layers(seed: u64, fisher: bool) -> (Vec<Vec<f32>>, Network, Network) {
    let mut random = Lcg(seed);
    let source = Source::new(&mut random, KINDS[0], 24);
    let w = vec![random.normals(32 * 24), random.normals(8 * 32)];
    let tensors = [tensor(24, &w[0]), tensor(32, &w[1])];
    let mut network = |tokens: usize| {
        let x = tensor(24, &source.draw(&mut random, tokens));
        let weights: Vec<f32> = random.normals(tokens * 8).iter().map(|f| f * f).collect();
        Network::new(x, &tensors, fisher.then(|| tensor(8, &weights)))
    };
    let (seen, unseen) = (network(256), network(256));
    (w, seen, unseen)
}

fn quick(lambda: f64) -> Brecq {
    Brecq { iterations: 1000, learning_rate: 2e-2, lambda, batch: 64, ..Brecq::default() }
}

#[test]
fn a_block_s_rounding_is_better_together() {
    let (w, seen, unseen) = two_layers(1, false);
    let grid = affine(3, 8);
    let weights = [
        BlockWeight::nearest(view(24, &w[0]), &grid).unwrap(),
        BlockWeight::nearest(view(32, &w[1]), &grid).unwrap(),
    ];
    let nearest = [rtn(view(24, &w[0]), &grid).unwrap(), rtn(view(32, &w[1]), &grid).unwrap()];
    let found = brecq(&weights, &seen, &quick(0.3), &Device::flex()).unwrap();
    assert!(!found.kept && found.after < found.before);
    close(
        &[found.before, found.after],
        &[seen.error(&nearest), seen.error(&found.quantized)],
        1e-5,
        "objective",
    );
    let (before, after) = (unseen.error(&nearest), unseen.error(&found.quantized));
    assert!(after < 0.6 * before, "{after} against {before}");
    for (found, nearest) in found.quantized.iter().zip(&nearest) {
        assert_eq!(found.cells, nearest.cells);
        let step = |(a, b): (&i32, &i32)| (a - b).abs() <= 1;
        assert!(found.codes.iter().zip(&nearest.codes).all(step), "up or down, nothing else");
    }
    let again = brecq(&weights, &seen, &quick(0.3), &Device::flex()).unwrap();
    assert_eq!(again, found);
    let other = brecq(&weights, &seen, &Brecq { seed: 1, ..quick(0.3) }, &Device::flex()).unwrap();
    assert_ne!(other.v, found.v, "other minibatches");
}

#[test]
fn never_worse_than_what_it_starts_from() {
    for seed in 0..4 {
        let (w, seen, _) = two_layers(seed, seed % 2 == 1);
        let grid = affine(2, 8);
        let weights = [
            BlockWeight::nearest(view(24, &w[0]), &grid).unwrap(),
            BlockWeight::nearest(view(32, &w[1]), &grid).unwrap(),
        ];
        // Too few steps to learn anything, and a rate at which nothing can be learned.
        for knobs in [
            Brecq { iterations: 0, ..quick(0.1) },
            Brecq { iterations: 3, ..quick(0.1) },
            Brecq { iterations: 20, learning_rate: 50.0, ..quick(0.0) },
        ] {
            let found = brecq(&weights, &seen, &knobs, &Device::flex()).unwrap();
            assert_eq!(found.kept, found.after >= found.before);
            if found.kept {
                assert_eq!(found.quantized[0], rtn(view(24, &w[0]), &grid).unwrap());
                assert_eq!(found.quantized[1], rtn(view(32, &w[1]), &grid).unwrap());
            }
        }
    }
}

#[test]
fn one_linear_layer_is_adarounds() {
    let mut random = Lcg(7);
    let source = Source::new(&mut random, KINDS[1], 32);
    let x = source.draw(&mut random, 128);
    let (w, grid) = (random.normals(8 * 32), affine(3, 16));
    let hessian = stats(32, &x).hessian().unwrap();
    let error = |q: &Quantized| hessian.output_error(view(32, &w), view(32, &q.dequantize())).unwrap();
    let knobs = AdaRound { iterations: 2000, ..AdaRound::default() };
    let theirs = error(&adaround(view(32, &w), &hessian, &grid, &knobs).unwrap().quantized);
    let nearest = error(&rtn(view(32, &w), &grid).unwrap());
    let block = Network::new(tensor(32, &x), &[tensor(32, &w)], Some(tensor(8, &[1.0; 8 * 128])));
    let weights = [BlockWeight::nearest(view(32, &w), &grid).unwrap()];
    let knobs = Brecq { iterations: 2000, learning_rate: 1e-2, batch: 128, ..Brecq::default() };
    let ours = error(&brecq(&weights, &block, &knobs, &Device::flex()).unwrap().quantized[0]);
    assert!(ours < 0.5 * nearest, "{ours} against {nearest}");
    assert!((ours / theirs - 1.0).abs() < 0.2, "{ours} against {theirs}");
}

#[test]
fn outputs_that_cannot_be_right_are_errors() {
    let (w, mut seen, _) = two_layers(1, false);
    let grid = affine(3, 8);
    let weights = [
        BlockWeight::nearest(view(24, &w[0]), &grid).unwrap(),
        BlockWeight::nearest(view(32, &w[1]), &grid).unwrap(),
    ];
    let run = |block: &Network, knobs: Brecq| brecq(&weights, block, &knobs, &Device::flex()).map(|_| ());
    assert!(matches!(run(&seen, Brecq { batch: 0, ..quick(0.1) }), Err(Error::Setting { .. })));
    assert!(matches!(run(&seen, quick(-1.0)), Err(Error::Setting { .. })));
    seen.y = seen.y.clone().slice([0..256, 0..4]);
    assert!(matches!(run(&seen, quick(0.1)), Err(Error::Shapes { .. })));
    seen.y = tensor(8, &[f32::NAN; 256 * 8]);
    let error = run(&seen, Brecq { iterations: 1, ..quick(0.1) });
    assert!(matches!(error, Err(Error::NotFiniteIn { .. })));
    assert!(BlockWeight::new(view(24, &w[0]), rtn(view(32, &w[1]), &grid).unwrap()).is_err());

    /// A block with weights of its own.
    struct Deaf(Network);
    impl Block<2> for Deaf {
        type Error = Error;
        fn samples(&self) -> usize {
            self.0.samples()
        }
        fn outputs(&self, _: &[Tensor<2>], samples: &[usize]) -> Result<Tensor<2>, Error> {
            Ok(self.0.targets(samples)?.outputs)
        }
        fn targets(&self, samples: &[usize]) -> Result<Targets<2>, Error> {
            self.0.targets(samples)
        }
    }
    let (_, seen, _) = two_layers(1, false);
    let found = brecq(&weights, &Deaf(seen), &quick(0.3), &Device::flex());
    assert_eq!(found.map(|_| ()), Err(Error::NotOfWeights));
}
