//! What has no gradient: batch norm in inference, and steps of optimizers.

use burn::backend::Flex;
use kd_kernels::{Isa, norm, optim};

use super::super::{NormOptions, Plain};
use super::{Flat, affine, norm_shape, numbers, tensor, writable, write};

impl Plain for Flex {
    fn kd_norm_apply(
        x: Flat,
        gamma: Flat,
        beta: Flat,
        mean: Flat,
        variance: Flat,
        options: NormOptions,
    ) -> Flat {
        let [x, gamma, beta, mean, variance] = [x, gamma, beta, mean, variance].map(|x| x.to_contiguous());
        let moments = norm::Moments { mean: numbers(&mean).to_vec(), variance: numbers(&variance).to_vec() };
        let affine = affine(&gamma, &beta, options);
        let y = norm::apply(Isa::best(), &norm_shape(&x), numbers(&x), &moments, affine);
        tensor(y, x.layout().shape().clone())
    }

    fn kd_sgd(p: Flat, g: Flat, rule: optim::Sgd) -> Flat {
        let (mut p, g) = (writable(p), g.to_contiguous());
        optim::sgd(Isa::best(), &rule, write(&mut p), numbers(&g));
        p
    }

    fn kd_sgd_momentum(p: Flat, g: Flat, v: Flat, first: bool, rule: optim::Sgd) -> (Flat, Flat) {
        let ([mut p, mut v], g) = ([p, v].map(writable), g.to_contiguous());
        optim::sgd_momentum(Isa::best(), &rule, first, write(&mut p), numbers(&g), write(&mut v));
        (p, v)
    }

    fn kd_adam(p: Flat, g: Flat, first: Flat, second: Flat, rule: optim::Adam) -> (Flat, Flat, Flat) {
        let ([mut p, mut m, mut v], g) = ([p, first, second].map(writable), g.to_contiguous());
        optim::adam(Isa::best(), &rule, write(&mut p), numbers(&g), write(&mut m), write(&mut v));
        (p, m, v)
    }

    fn kd_lion(p: Flat, g: Flat, momentum: Flat, rule: optim::Lion) -> (Flat, Flat) {
        let ([mut p, mut m], g) = ([p, momentum].map(writable), g.to_contiguous());
        optim::lion(Isa::best(), &rule, write(&mut p), numbers(&g), write(&mut m));
        (p, m)
    }
}
