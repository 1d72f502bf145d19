//! Norms, pooling and optimizer steps of every instruction set of this machine against their definitions in `f64`.

use crate::common::{largest, near, near_terms, numbers, same_on_any_threads};
use kd_kernels::norm::{self, Affine};
use kd_kernels::optim::{self, Adam, Lion, Sgd};
use kd_kernels::{Isa, Norm, Pool, pool};
use proptest::prelude::*;

fn check_norm(shape: &Norm, relu: bool, offset: f32, seed: u64) {
    let x: Vec<f32> = numbers(shape.len(), seed).iter().map(|x| x * 0.3 + offset).collect();
    let (gamma, beta) = (numbers(shape.channels, seed + 1), numbers(shape.channels, seed + 2));
    let mut dy = numbers(shape.len(), seed + 3);
    let affine = Affine { gamma: &gamma, beta: &beta, epsilon: 1e-5, relu };
    let (mean, variance) = norm::reference::moments(shape, &x);
    let y = norm::reference::apply(shape, &x, (&mean, &variance), affine);
    // At the ReLU's corner, up to rounding, either side is right and the gradient jumps: no gradient comes in there.
    let straight = norm::reference::apply(shape, &x, (&mean, &variance), Affine { relu: false, ..affine });
    dy.iter_mut().zip(&straight).for_each(|(dy, y)| *dy *= f32::from(u8::from(y.abs() > 1e-4)));
    let unclipped = straight.iter().fold(0.0f64, |most, y| most.max(y.abs()));
    let (dx, dgamma, dbeta) = norm::reference::backward(shape, &x, affine, &dy);
    for isa in Isa::available() {
        let what = |part: &str| format!("{part} {isa:?} {shape:?} relu {relu}");
        let (found, moments) = norm::train(isa, shape, &x, affine);
        near_terms(&what("mean"), &moments.mean, &mean, largest(&x));
        near(&what("variance"), &moments.variance, &variance);
        near_terms(&what("output"), &found, &y, unclipped);
        near_terms(&what("output by moments"), &norm::apply(isa, shape, &x, &moments, affine), &y, unclipped);
        let found = norm::backward(isa, shape, &x, &moments, affine, &dy);
        near(&what("input's gradient"), &found.x, &dx);
        let terms = largest(&dy) * ((shape.batch * shape.inner) as f64).sqrt();
        near_terms(&what("γ's gradient"), &found.gamma, &dgamma, terms);
        near_terms(&what("β's gradient"), &found.beta, &dbeta, terms);
    }
}

fn check_pool(shape: &Pool, seed: u64) {
    // Few different numbers, so that there are ties.
    let x: Vec<f32> = numbers(shape.input_len(), seed).iter().map(|x| (x * 8.0).round()).collect();
    let dy = numbers(shape.output_len(), seed + 1);
    let (y, places) = pool::reference::max(shape, &x);
    let dx = pool::reference::max_backward(shape, &dy, &places);
    for isa in Isa::available() {
        let (found, place) = pool::max(isa, shape, &x);
        assert!(found.iter().zip(&y).all(|(a, b)| f64::from(*a) == *b), "{isa:?} {shape:?}");
        assert!(place.iter().zip(&places).all(|(a, b)| *a as usize == *b), "{isa:?} {shape:?}");
        near_terms("largest's gradient", &pool::max_backward(isa, shape, &dy, &place), &dx, largest(&dy));
    }
    for count_padding in [false, true] {
        let inside = pool::reference::average(shape, &x, count_padding);
        if inside.iter().all(|y| y.is_finite()) {
            near_terms("mean", &pool::average(shape, &x, count_padding), &inside, largest(&x));
            let dx = pool::reference::average_backward(shape, &dy, count_padding);
            let found = pool::average_backward(shape, &dy, count_padding);
            near_terms("mean's gradient", &found, &dx, largest(&dy));
        }
    }
}

prop_compose! {
    fn pools()(
        planes in 1usize..=9,
        input in [1usize..=13, 1usize..=70],
        kernel in [1usize..=4, 1usize..=4],
        stride in [1usize..=3, 1usize..=3],
        padding in [(0usize..=2, 0usize..=2), (0usize..=2, 0usize..=2)],
        halves in any::<bool>(),
    ) -> Pool {
        match halves {
            true => Pool { planes, input, kernel: [2; 2], stride: [2; 2], padding: [(0, 0); 2] },
            false => {
                // A window wholly in the padding has no largest number: frameworks refuse it.
                let padding = [0, 1].map(|d| {
                    (padding[d].0.min(kernel[d] / 2), padding[d].1.min(kernel[d] / 2))
                });
                Pool { planes, input, kernel, stride, padding }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn batch_norm_equals_its_definition(
        batch in 1usize..=33,
        channels in 1usize..=70,
        inner in 1usize..=60,
        relu in any::<bool>(),
        offset in -3f32..3.0,
        seed in 0u64..1000,
    ) {
        // A few numbers of a channel may lie together: what is left is the rounding of their mean, a thousandfold.
        prop_assume!(batch * inner > 15);
        check_norm(&Norm { batch, channels, inner }, relu, offset, seed);
    }

    #[test]
    fn pooling_equals_its_definition(shape in pools(), seed in 0u64..1000) {
        check_pool(&shape, seed);
    }

    #[test]
    fn optimizer_steps_equal_their_rules(len in 1usize..=40_000, step in 1i32..1000, seed in 0u64..1000, on in any::<bool>()) {
        let (p, g) = (numbers(len, seed), numbers(len, seed + 1));
        let m = numbers(len, seed + 2);
        let v: Vec<f32> = numbers(len, seed + 3).iter().map(|v| v * v).collect();
        let sgd = Sgd { rate: 0.1, decay: 0.01, momentum: 0.9, dampening: 0.2, nesterov: on };
        let betas = [0.9, 0.99];
        let adam = Adam {
            rate: 0.01,
            decay: if on { 0.1 } else { 0.0 },
            keep: if on { 1.0 } else { 0.999 },
            betas,
            epsilon: 1e-5,
            corrections: betas.map(|beta: f32| 1.0 - beta.powi(step)),
        };
        let lion = Lion { rate: 0.01, keep: 0.999, betas };
        let wide = |x: &[f32], i: usize| f64::from(x[i]);
        let expect = |at: &dyn Fn(usize) -> f64| (0..len).map(at).collect::<Vec<f64>>();
        for isa in Isa::available() {
            let mut q = p.clone();
            optim::sgd(isa, &Sgd { momentum: 0.0, ..sgd }, &mut q, &g);
            let plain = Sgd { momentum: 0.0, nesterov: false, ..sgd };
            near("sgd", &q, &expect(&|i| optim::reference::sgd(&plain, wide(&p, i), wide(&g, i), None).0));
            for first in [true, false] {
                let (mut q, mut u) = (p.clone(), m.clone());
                optim::sgd_momentum(isa, &sgd, first, &mut q, &g, &mut u);
                let before = |i| (!first).then(|| wide(&m, i));
                let after = |i| optim::reference::sgd(&sgd, wide(&p, i), wide(&g, i), before(i));
                near("momentum's parameter", &q, &expect(&|i| after(i).0));
                near("velocity", &u, &expect(&|i| after(i).1));
            }
            let (mut q, mut first, mut second) = (p.clone(), m.clone(), v.clone());
            optim::adam(isa, &adam, &mut q, &g, &mut first, &mut second);
            let after = |i| optim::reference::adam(&adam, wide(&p, i), wide(&g, i), [wide(&m, i), wide(&v, i)]);
            near("adam's parameter", &q, &expect(&|i| after(i).0));
            near("first moment", &first, &expect(&|i| after(i).1[0]));
            near("second moment", &second, &expect(&|i| after(i).1[1]));
            let (mut q, mut momentum) = (p.clone(), m.clone());
            optim::lion(isa, &lion, &mut q, &g, &mut momentum);
            let after = |i| optim::reference::lion(&lion, wide(&p, i), wide(&g, i), wide(&m, i));
            near("lion's parameter", &q, &expect(&|i| after(i).0));
            near("lion's momentum", &momentum, &expect(&|i| after(i).1));
        }
    }
}

#[test]
fn sizes_of_networks_equal_their_definitions() {
    check_norm(&Norm { batch: 128, channels: 6, inner: 784 }, true, 0.5, 1);
    check_norm(&Norm { batch: 64, channels: 3, inner: 1024 }, false, -2.0, 2);
    check_pool(
        &Pool { planes: 80, input: [28, 28], kernel: [2; 2], stride: [2; 2], padding: [(0, 0); 2] },
        3,
    );
    check_pool(&Pool { planes: 5, input: [32, 32], kernel: [3; 2], stride: [2; 2], padding: [(1, 1); 2] }, 4);
}

#[test]
fn not_a_number_and_infinity_come_through() {
    let shape = Norm { batch: 2, channels: 2, inner: 40 };
    let mut x = numbers(160, 1);
    (x[3], x[50]) = (f32::NAN, f32::INFINITY);
    let affine = Affine { gamma: &[1.0, 2.0], beta: &[0.0, 1.0], epsilon: 1e-5, relu: true };
    let halves = Pool { planes: 4, input: [4, 10], kernel: [2; 2], stride: [2; 2], padding: [(0, 0); 2] };
    for isa in Isa::available() {
        let (y, moments) = norm::train(isa, &shape, &x, affine);
        assert!(moments.mean[0].is_nan() && moments.variance[0].is_nan());
        assert!(moments.mean[1].is_infinite() && moments.variance[1].is_nan());
        assert!(y.iter().all(|y| y.is_nan()), "{isa:?}");
        let (y, _) = pool::max(isa, &halves, &x);
        assert!(y[1].is_nan() && y.iter().filter(|y| y.is_nan()).count() == 1, "{isa:?}");
        assert_eq!(y.iter().filter(|y| y.is_infinite()).count(), 1, "{isa:?}");
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let shape = Norm { batch: 32, channels: 10, inner: 300 };
    let (x, dy) = (numbers(shape.len(), 1), numbers(shape.len(), 2));
    let (gamma, beta) = (numbers(10, 3), numbers(10, 4));
    let affine = Affine { gamma: &gamma, beta: &beta, epsilon: 1e-5, relu: true };
    let halves = Pool { planes: 100, input: [28, 28], kernel: [2; 2], stride: [2; 2], padding: [(0, 0); 2] };
    let plane = numbers(halves.input_len(), 5);
    for isa in Isa::available() {
        same_on_any_threads(|| {
            let (y, moments) = norm::train(isa, &shape, &x, affine);
            let back = norm::backward(isa, &shape, &x, &moments, affine, &dy);
            let (pooled, place) = pool::max(isa, &halves, &plane);
            let spread = pool::max_backward(isa, &halves, &pooled, &place);
            (y, moments, back, pooled, spread)
        });
    }
}
