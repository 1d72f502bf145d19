//! Sums over a layer's inputs stand for the inputs: the same scores, masks and weights, group by group.
use prune_core::{
    Builtin, Criterion, Error, InputSums, Inputs, Matrix, Pruned, Samples, Sparsity, Unit, prune,
};
use serde_json::json;

use super::{criterion, noise, removal};

/// Σ x xᵀ of rows.
fn products(x: &[f64], columns: usize) -> Vec<f64> {
    let mut sums = vec![0.0; columns * columns];
    for row in x.chunks(columns) {
        for (i, j) in (0..columns).flat_map(|i| (0..columns).map(move |j| (i, j))) {
            sums[i * columns + j] += row[i] * row[j];
        }
    }
    sums
}

fn one(criterion: &Builtin, pattern: &str, inputs: Inputs<'_>) -> Pruned {
    prune(criterion, Some(&removal(pattern)), &[inputs]).unwrap().remove(0)
}

#[test]
fn sums_say_what_rows_say_and_a_group_is_a_layer_of_its_own() {
    let (rows, columns, samples) = (6, 10, 40);
    for (spelling, patterns) in [
        (json!({ "wanda": {} }), ["unstructured sparsity=0.5", "keep=2 of=4"]),
        (json!({ "sparsegpt": { "block-size": 4 } }), ["unstructured sparsity=0.5", "keep=2 of=4"]),
    ] {
        let criterion = criterion(spelling);
        for pattern in patterns {
            let weight = noise(3, 2 * rows * columns);
            let inputs: Vec<Vec<f64>> = (0..2).map(|group| noise(10 + group, samples * columns)).collect();
            let both: Vec<f64> = inputs.iter().flat_map(|x| products(x, columns)).collect();
            let sums = InputSums::of_products("layer", columns, both).unwrap();
            assert_eq!((sums.groups(), sums.columns()), (2, columns));
            let matrix = Matrix::new("layer", 2 * rows, columns, &weight).unwrap();
            let found = one(&criterion, pattern, Inputs::new(&matrix).with_sums(&sums));
            let scores = criterion.scores(&Inputs::new(&matrix).with_sums(&sums), Unit::Element).unwrap();
            let (mut keep, mut left, mut expected) = (Vec::new(), Vec::new(), Vec::new());
            for (part, x) in weight.chunks(rows * columns).zip(&inputs) {
                let matrix = Matrix::new("layer", rows, columns, part).unwrap();
                let samples = Samples::new("layer", &[samples, columns], x).unwrap();
                let inputs = Inputs::new(&matrix).with_activations(&samples);
                let alone = one(&criterion, pattern, inputs);
                keep.extend(alone.keep.unwrap());
                left.extend(alone.weight.unwrap());
                expected.extend(criterion.scores(&inputs, Unit::Element).unwrap());
            }
            assert_eq!((found.keep, found.weight), (Some(keep), Some(left)), "{pattern}");
            assert_eq!(scores, expected);
            if criterion.name() == "wanda" {
                let squares = InputSums::of_squares("layer", columns, sums.squares().to_vec()).unwrap();
                let inputs = Inputs::new(&matrix).with_sums(&squares);
                assert_eq!(criterion.scores(&inputs, Unit::Element).unwrap(), scores);
            }
        }
    }
}

#[test]
fn what_is_gone_takes_its_place_and_stays_zero() {
    let (rows, columns) = (5, 12);
    let weight: Vec<f64> = noise(1, rows * columns);
    let there: Vec<bool> = (0..rows * columns).map(|index| index % 3 != 0).collect();
    let stored: Vec<f64> =
        weight.iter().zip(&there).map(|(w, there)| if *there { *w } else { 0.0 }).collect();
    let matrix = Matrix::new("layer", rows, columns, &stored).unwrap();
    let sums = InputSums::of_products("layer", columns, products(&noise(2, 30 * columns), columns)).unwrap();
    let sparse = criterion(json!({ "sparsegpt": { "block-size": 4 } }));
    let inputs = Inputs::new(&matrix).with_sums(&sums).with_there(&there);
    for (pattern, kept) in [("unstructured sparsity=0.5", 30), ("keep=2 of=4", 30), ("keep=3 of=4", 40)] {
        let found = one(&sparse, pattern, inputs);
        let (keep, left) = (found.keep.unwrap(), found.weight.unwrap());
        assert!(keep.iter().zip(&there).all(|(keep, there)| *there || !keep), "{pattern}");
        assert!(keep.iter().zip(&left).all(|(keep, w)| *keep == (*w != 0.0)), "{pattern}");
        let count = keep.iter().filter(|keep| **keep).count();
        assert_eq!(count, kept, "{pattern}");
    }
    let short = inputs.with_there(&there[1..]);
    assert!(matches!(prune(&sparse, Some(&removal("keep=2 of=4")), &[short]), Err(Error::Length { .. })));
}

#[test]
fn sums_of_another_layer_and_layers_out_of_range_are_refused() {
    let matrix = Matrix::new("layer", 3, 4, &[1.0; 12]).unwrap();
    let wanda = criterion(json!({ "wanda": {} }));
    let error = |sums: InputSums| {
        wanda.scores(&Inputs::new(&matrix).with_sums(&sums), Unit::Element).unwrap_err().to_string()
    };
    let squares = |columns, count| InputSums::of_squares("layer", columns, vec![1.0; count]);
    let text = error(squares(5, 5).unwrap());
    assert_eq!(
        text,
        "`sums of the inputs of layer` has the shape [1, 5], expected 4 columns, and groups that divide 3 rows"
    );
    assert!(error(squares(4, 8).unwrap()).contains("[2, 4]"));
    assert!(matches!(squares(4, 6), Err(Error::Length { .. })));
    assert!(matches!(squares(0, 0), Err(Error::Length { .. })));
    let broken = InputSums::of_squares("layer", 1, vec![f64::INFINITY]);
    assert!(matches!(broken, Err(Error::NotFinite { .. })));
    let sparse = criterion(json!({ "sparsegpt": {} }));
    let only = squares(4, 4).unwrap();
    let found = prune(&sparse, Some(&removal("keep=2 of=4")), &[Inputs::new(&matrix).with_sums(&only)]);
    assert!(matches!(found, Err(Error::Missing { .. })), "{found:?}");

    let owl = criterion(json!({ "owl": { "m": 1.0, "lambda": 0.6 } }));
    let other =
        Matrix::new("other", 3, 4, &[5.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]).unwrap();
    let layers = [Inputs::new(&matrix).with_sums(&only), Inputs::new(&other).with_sums(&only)];
    let found = owl.sparsities(Sparsity::new(0.5).unwrap(), &layers);
    assert_eq!(
        found.unwrap().unwrap_err().to_string(),
        "the layer `layer` would have a sparsity of 1.1000, expected a number in 0 ..= 1: `lambda` = 0.6 spreads layers too far from the mean"
    );
    assert!(wanda.sparsities(Sparsity::new(0.5).unwrap(), &layers).is_none());
}
