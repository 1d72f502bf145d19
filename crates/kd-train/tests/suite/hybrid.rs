//! Hybrid patterns: which parts a network has, and that masks take whole tiles and whole hidden units of them.
use std::collections::BTreeSet;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use kd_core::Tap;
use kd_train::Task;
use kd_train::compress::Compression;
use kd_train::models::{ConvNet, ConvNetConfig, Mlp, MlpConfig, Transformer, TransformerConfig};
use kd_train::network::{Built, Network, seeded};
use kd_train::sparsify::{Calendar, Masks, Memory, Part, Shape, Sparsifier, Way, When, masked};
use prune_core::Magnitude;

use crate::common::uncalibrated;

const SHAPE: &str = "hybrid = { rows = 4, columns = 6, sparsity = 0.5, units = 0.7 }";
const STEPS: usize = 20;

fn transformer() -> Box<dyn Network> {
    let config = TransformerConfig { width: 12, layers: 2, heads: 3, feed_forward: 20, vocabulary: 17 };
    let (task, device) = (Task { input: vec![6], classes: 4 }, Device::flex());
    seeded(&device, 3, || Built::<Transformer>::build("transformer", &config, &task, &device)).unwrap()
}

fn when(text: &str) -> When {
    match toml::from_str::<Way>(text) {
        Ok(way) => When::Way(way),
        Err(_) => When::Curve(toml::from_str(text).unwrap()),
    }
}

fn sparsifier(network: &dyn Network, shape: &str, way: &str, floor: Masks) -> Sparsifier {
    let shape: Shape = toml::from_str(shape).unwrap();
    let when = when(way);
    let calendar = Calendar::new(&when, shape.sparsity(), STEPS, Some(1), None);
    Sparsifier::new(shape, Arc::new(Magnitude::default()), (when, calendar), network, floor).unwrap()
}

fn units_of(parts: &[Part]) -> Vec<(String, bool, usize, usize)> {
    parts.iter().map(|part| (part.name.clone(), part.hidden, part.count, part.places.len())).collect()
}

#[test]
fn a_transformer_has_tiles_in_attention_and_units_between_linear_layers() {
    let network = transformer();
    let sparsifier = sparsifier(network.as_ref(), SHAPE, "movement = {}", Masks::new());
    let mut expected = Vec::new();
    for layer in 0..2 {
        expected.push((format!("units of layers.{layer}.hidden.weight"), true, 20, 2));
    }
    for layer in 0..2 {
        for weight in ["query", "key", "value", "output"] {
            expected.push((format!("layers.{layer}.attention.{weight}.weight"), false, 3 * 2, 1));
        }
    }
    assert_eq!(units_of(sparsifier.parts()), expected);
    // Stored as [in, out]: 4 outputs and 6 inputs are a tile, but where heads are read 6 outputs and 4 inputs.
    for (weight, outputs, inputs) in [("query", 4, 6), ("output", 6, 4)] {
        let path = format!("layers.1.attention.{weight}.weight");
        let units = sparsifier.parts().iter().find_map(|part| part.units(&path)).unwrap();
        for (i, o) in (0..12).flat_map(|i| (0..12).map(move |o| (i, o))) {
            let tile = o / outputs * (12 / inputs) + i / inputs;
            assert_eq!(units[i * 12 + o], Some(tile as u32), "{path} at {i}, {o}");
        }
    }
    // A hidden unit is a column of the layer that writes it and a row of the one that reads it.
    let part = &sparsifier.parts()[0];
    let (writes, reads) = (&part.places[0], &part.places[1]);
    assert_eq!([&writes.0, &reads.0], ["layers.0.hidden.weight", "layers.0.output.weight"]);
    assert!(writes.1.iter().enumerate().all(|(at, unit)| *unit == Some(at as u32 % 20)));
    assert!(reads.1.iter().enumerate().all(|(at, unit)| *unit == Some(at as u32 / 12)));
}

#[test]
fn a_weight_between_two_hidden_layers_is_in_both() {
    let (task, device) = (Task { input: vec![1, 8, 8], classes: 10 }, Device::flex());
    let config = MlpConfig { hidden: vec![15, 12] };
    let mlp = seeded(&device, 1, || Built::<Mlp>::build("mlp", &config, &task, &device)).unwrap();
    let sparsifier = sparsifier(mlp.as_ref(), SHAPE, "movement = {}", Masks::new());
    let expected = [("units of hidden.0.weight", 15, 2), ("units of hidden.1.weight", 12, 1)];
    assert_eq!(units_of(sparsifier.parts()), expected.map(|(name, n, of)| (name.to_owned(), true, n, of)));

    // Convolutions have tiles; what is written and read by linear layers is hidden.
    let config = ConvNetConfig { channels: vec![4, 6], kernel: 3, hidden: 12, norm: true };
    let net = seeded(&device, 1, || Built::<ConvNet>::build("convnet", &config, &task, &device)).unwrap();
    let parts = self::sparsifier(net.as_ref(), SHAPE, "movement = {}", Masks::new());
    let covered: BTreeSet<&str> =
        parts.parts().iter().flat_map(|part| part.places.iter().map(|(path, _)| path.as_str())).collect();
    let all: Vec<String> = masked(&net.entries()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(covered, all.iter().map(String::as_str).collect());
    assert_eq!(parts.parts().iter().filter(|part| part.hidden).count(), 1);
}

/// Masks of every step of a stage, with gradients of a sum of squared logits.
fn stage(sparsifier: &Sparsifier, mut look: impl FnMut(usize, &Masks)) {
    let paths = masked(&transformer().entries());
    let weights = transformer().weights();
    let mut masks: Masks =
        paths.iter().map(|(path, _)| (path.clone(), vec![true; weights[path].data().len()])).collect();
    masks.extend(sparsifier.floor.clone());
    let compression = Compression { masks: masks.clone(), ..Compression::default() };
    let mut student = transformer().with_compression(compression);
    if sparsifier.watches() {
        student.watch_masks();
    }
    let mut student = student.training();
    let mut memory = Memory::default();
    for step in 0..=STEPS {
        uncalibrated(|calibration| {
            sparsifier.before_step(&mut masks, &mut memory, student.as_mut(), step, calibration)
        })
        .unwrap();
        assert_eq!(student.compression().masks, masks);
        look(step, &masks);
        if step < STEPS {
            let ids: Vec<f32> = (0..8 * 6).map(|i| ((i * 7 + step * 3) % 17) as f32).collect();
            let rows = Tensor::from_data(TensorData::new(ids, [8, 6]), &Device::flex().autodiff());
            let logits = student.forward(rows, &mut Tap::none());
            let mut own = student.gradients(&mut logits.square().sum().backward());
            sparsifier.behind_backward(&mut memory, student.as_ref(), &mut own, step).unwrap();
        }
    }
}

/// Units of a part that are gone; none may be gone in part.
fn gone(part: &Part, masks: &Masks) -> usize {
    let mut seen = vec![[false; 2]; part.count];
    for (path, units) in &part.places {
        for (unit, &keep) in units.iter().zip(&masks[path]) {
            seen[unit.unwrap() as usize][usize::from(keep)] = true;
        }
    }
    assert!(seen.iter().all(|[gone, there]| gone != there), "{}: a unit is there in part", part.name);
    seen.iter().filter(|[gone, _]| *gone).count()
}

#[test]
fn units_and_tiles_go_as_a_whole_and_as_many_as_the_pattern_says() {
    for way in [
        "cubic = { from = 0.0, to = 1.0, end = 0.8 }",
        "iterative = { rounds = 3 }",
        "movement = { begin = 0.1, end = 0.8 }",
        "movement = { begin = 0.1, end = 0.8, scores = \"adam\" }",
        "lottery-ticket = { rounds = 2 }",
    ] {
        let sparsifier = sparsifier(transformer().as_ref(), SHAPE, way, Masks::new());
        let mut share = 0.0;
        stage(&sparsifier, |step, masks| {
            if sparsifier.calendar.acts_at(step) {
                share = sparsifier.calendar.share(step);
            }
            for part in sparsifier.parts() {
                let all = part.sparsity.get() * share * part.count as f64;
                assert_eq!(gone(part, masks), (all + 1e-9) as usize, "{way}: {} at {step}", part.name);
            }
        });
        assert!((share - 1.0).abs() < 1e-12, "{way}");
    }
}

#[test]
fn a_threshold_takes_no_more_of_a_part_than_the_pattern_says() {
    let soft = |regularisation: f64| {
        let way = format!(
            "soft-movement = {{ regularisation = {regularisation:?}, rate = 0.3, begin = 0.0, end = 0.75 }}"
        );
        let sparsifier = sparsifier(transformer().as_ref(), SHAPE, &way, Masks::new());
        let mut last = Vec::new();
        stage(&sparsifier, |_, masks| {
            last = sparsifier.parts().iter().map(|part| gone(part, masks)).collect();
        });
        last
    };
    let most: Vec<usize> = [14, 14].into_iter().chain([3; 8]).collect();
    let little = soft(0.0);
    assert!(little.iter().zip(&most).all(|(found, most)| found <= most), "{little:?}");
    assert_eq!(soft(1e6), most);
}

#[test]
fn what_earlier_stages_masked_counts_and_stays_gone() {
    let path = "layers.0.hidden.weight";
    // Units 3 and 5 are gone on both sides; of unit 7 the row that writes it alone.
    let floor = Masks::from([
        (path.to_owned(), (0..12 * 20).map(|at| ![3, 5, 7].contains(&(at % 20))).collect()),
        ("layers.0.output.weight".to_owned(), (0..20 * 12).map(|at| ![3, 5].contains(&(at / 12))).collect()),
    ]);
    let shape = "hybrid = { rows = 4, columns = 6, sparsity = 0.0, units = 0.1 }";
    let sparsifier = sparsifier(transformer().as_ref(), shape, "movement = {}", floor.clone());
    stage(&sparsifier, |step, masks| {
        assert_eq!(masks[path], floor[path], "step {step}");
        assert_eq!(masks["layers.0.output.weight"], floor["layers.0.output.weight"], "step {step}");
    });
}
