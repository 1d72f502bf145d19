//! When masks tighten: steps against arithmetic on whole numbers, masks against the formulas, step by step.
use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use kd_core::Tap;
use kd_train::Task;
use kd_train::compress::Compression;
use kd_train::models::{ConvNet, ConvNetConfig, Mlp, MlpConfig};
use kd_train::network::{Built, Network, seeded};
use kd_train::recipe::OptimizerSpec;
use kd_train::sparsify::{Calendar, Kind, Masks, Memory, Sparsifier, Turn, Way, When, masked};
use prune_core::{Criterion, Error, Inputs, Magnitude, Needs, Pattern, Random, Unit};

use crate::common::uncalibrated;

fn way(text: &str) -> When {
    When::Way(toml::from_str::<Way>(text).unwrap_or_else(|error| panic!("{text}: {error}")))
}

fn curve(text: &str) -> When {
    When::Curve(toml::from_str(text).unwrap())
}

fn acts(calendar: &Calendar, steps: usize) -> Vec<usize> {
    (0..=steps).filter(|&step| calendar.acts_at(step)).collect()
}

fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-12, "{what}: {found} for {expected}");
}

/// The first step t with `t · of ≥ numerator`.
fn first(numerator: usize, of: usize) -> usize {
    numerator.div_ceil(of)
}

#[test]
fn curves_act_from_where_they_move_to_where_they_arrive() {
    for steps in 1..60 {
        for (begin, end) in [(0, 10), (2, 7), (0, 5), (3, 10), (5, 6)] {
            for frequency in [1, 2, 3, 5, 100] {
                let places = format!("begin = {:?}, end = {:?}", begin as f64 / 10.0, end as f64 / 10.0);
                let text = format!("cubic = {{ from = 0.0, to = 1.0, {places} }}");
                let calendar = Calendar::new(&curve(&text), 0.9, steps, Some(frequency), None);
                let (from, to) = (begin * steps / 10, first(end * steps, 10));
                let mut expected: Vec<usize> = (from..=to).step_by(frequency).collect();
                if expected.last() != Some(&to) {
                    expected.push(to);
                }
                assert_eq!(acts(&calendar, steps), expected, "{steps} steps, {text}, every {frequency}");
                assert_eq!(calendar.locks(), to);
                for step in 0..=steps {
                    let p = ((step * 10) as f64 / steps as f64 - begin as f64) / (end - begin) as f64;
                    let share = 1.0 - (1.0 - p.clamp(0.0, 1.0)).powi(3);
                    close(calendar.share(step), share, &format!("step {step} of {steps}, {text}"));
                }
                // Only what a step leaves behind the last update may be passed on.
                let ready = (to + 1).min(steps) as f64 / steps as f64;
                close(calendar.ready(), ready, "ready");
            }
        }
    }
}

#[test]
fn a_lock_behind_the_end_keeps_masks_moving_until_there() {
    let cubic = curve("cubic = { from = 0.0, to = 1.0, end = 0.5 }");
    let lock = |lock| acts(&Calendar::new(&cubic, 0.5, 20, Some(4), lock), 20);
    assert_eq!(lock(None), [0, 4, 8, 10]);
    assert_eq!(lock(Some(0.5)), [0, 4, 8, 10]);
    assert_eq!(lock(Some(0.85)), [0, 4, 8, 10, 12, 16, 17]);
    assert_eq!(lock(Some(1.0)), [0, 4, 8, 10, 12, 16, 20]);
    // A hundred updates in a stage where nothing is said.
    let calendar = Calendar::new(&cubic, 0.5, 1000, None, None);
    assert_eq!(acts(&calendar, 1000), (0..=500).step_by(10).collect::<Vec<_>>());
}

#[test]
fn the_density_of_exponential_shrinks_by_equal_factors() {
    for (from, sparsity) in [(0.0, 0.9), (0.2, 0.5), (0.0, 0.999), (0.5, 0.5)] {
        let text = format!("exponential = {{ from = {from:?}, end = 1.0 }}");
        let calendar = Calendar::new(&way(&text), sparsity, 32, Some(1), None);
        for step in 0..=32 {
            let expected = 1.0 - (1.0 - from) * ((1.0 - sparsity) / (1.0 - from)).powf(step as f64 / 32.0);
            close(calendar.share(step) * sparsity, expected, &format!("{text} at {step}"));
        }
    }
    let default = Calendar::new(&way("exponential = {}"), 0.9, 100, None, None);
    assert_eq!(default.locks(), 75);
}

#[test]
fn rounds_cut_where_they_begin() {
    for steps in 0..50 {
        for rounds in 1..6 {
            for begin in [0, 3] {
                let text = format!("iterative = {{ rounds = {rounds}, begin = {:?} }}", begin as f64 / 10.0);
                let calendar = Calendar::new(&way(&text), 0.9, steps, None, None);
                let cut = |round: usize| first(steps * (begin * rounds + (10 - begin) * round), 10 * rounds);
                let cuts: Vec<usize> = (0..rounds).map(cut).collect();
                let mut apart = cuts.clone();
                apart.dedup();
                assert_eq!(acts(&calendar, steps), apart, "{steps} steps, {text}");
                for step in 0..=steps {
                    let done = cuts.iter().filter(|&&cut| cut <= step).count();
                    let sparsity = 1.0 - 0.1_f64.powf(done as f64 / rounds as f64);
                    close(calendar.share(step) * 0.9, sparsity, &format!("{text}, step {step} of {steps}"));
                }
            }
        }
    }
    let shot = Calendar::new(&way("one-shot = { at = 0.5 }"), 0.9, 7, None, None);
    assert_eq!(acts(&shot, 7), [4]);
    assert_eq!((shot.share(3), shot.share(4)), (0.0, 1.0));
}

#[test]
fn tickets_train_equally_long_and_schedules_begin_again() {
    for steps in 1..60 {
        for rounds in 1..5 {
            for to in [0, 1, 5] {
                let text = format!("lottery-ticket = {{ rounds = {rounds}, to = {:?} }}", to as f64 / 10.0);
                let calendar = Calendar::new(&way(&text), 0.8, steps, None, None);
                let cut = |round: usize| first(steps * (10 + round * (10 - to)), 10 + rounds * (10 - to));
                let cuts: Vec<usize> = (0..rounds).map(cut).collect();
                let mut apart = cuts.clone();
                apart.dedup();
                assert_eq!(acts(&calendar, steps), apart, "{steps} steps, {text}");
                assert_eq!(calendar.anchor(), Some(first(to * cuts[0], 10)));
                let mut before = -1.0;
                assert!(!calendar.rewinds_at(steps), "nothing begins behind the last step");
                for step in 0..steps {
                    let learning = calendar.learning(step).get();
                    match cuts.contains(&step) {
                        true => {
                            assert!(calendar.rewinds_at(step));
                            close(learning, to as f64 / 10.0, "a round begins");
                        }
                        false => assert!(learning > before && learning < 1.0, "{text}: {learning} at {step}"),
                    }
                    before = learning;
                }
            }
        }
    }
    let by_rate = way("lottery-ticket = { rounds = 2, rewind = \"learning-rate\" }");
    assert_eq!(Calendar::new(&by_rate, 0.8, 30, None, None).anchor(), None);
}

#[test]
fn a_penalty_grows_in_equal_steps_to_its_ceiling() {
    let growing = way("growing-regularisation = { ceiling = 2.0, begin = 0.2, end = 0.7 }");
    let calendar = Calendar::new(&growing, 0.9, 40, Some(3), None);
    assert_eq!((acts(&calendar, 40), calendar.condemns_at()), (vec![28], Some(8)));
    for step in 0..=40 {
        let expected = if (8..28).contains(&step) { 2.0 * ((step - 8) / 3 * 3) as f64 / 20.0 } else { 0.0 };
        close(calendar.penalty(step), expected, &format!("step {step}"));
    }
    assert_eq!((calendar.share(27), calendar.share(28)), (0.0, 1.0));
}

fn student(seed: u64) -> Box<dyn Network> {
    let task = Task { input: vec![1, 8, 8], classes: 10 };
    let device = Device::flex();
    let config = MlpConfig { hidden: vec![15, 12] };
    seeded(&device, seed, || Built::<Mlp>::build("mlp", &config, &task, &device)).unwrap()
}

const LAYERS: [(&str, usize, usize); 2] = [("hidden.0.weight", 64, 15), ("hidden.1.weight", 15, 12)];

fn full() -> Masks {
    LAYERS.iter().map(|(path, inputs, outputs)| ((*path).to_owned(), vec![true; inputs * outputs])).collect()
}

fn masked_student(seed: u64, masks: &Masks, watched: bool) -> Box<dyn Network> {
    let compression = Compression { masks: masks.clone(), ..Compression::default() };
    let mut network = student(seed).with_compression(compression);
    if watched {
        network.watch_masks();
    }
    network.training()
}

/// One step's gradients, of the sum of squared logits.
fn gradients(network: &dyn Network, step: usize) -> burn::optim::GradientsParams {
    let values: Vec<f32> = (0..16 * 64).map(|i| ((i + 31 * step) as f32 * 0.73).sin()).collect();
    let rows = Tensor::from_data(TensorData::new(values, [16, 64]), &Device::flex().autodiff());
    let logits = network.forward(rows, &mut Tap::none());
    network.gradients(&mut logits.square().sum().backward())
}

fn sparsifier(
    when: When,
    pattern: &str,
    steps: usize,
    criterion: Arc<dyn Criterion>,
    floor: Masks,
) -> Sparsifier {
    let pattern: Pattern = toml::from_str(pattern).unwrap();
    let calendar = Calendar::new(&when, pattern.sparsity(), steps, Some(2), None);
    Sparsifier::new(pattern.into(), criterion, (when, calendar), student(5).as_ref(), floor).unwrap()
}

/// Trains through a whole stage and looks at the masks before every step and behind the last one.
fn stage(sparsifier: &Sparsifier, steps: usize, mut look: impl FnMut(usize, &Masks, &dyn Network, Turn)) {
    let mut masks = full();
    masks.extend(sparsifier.floor.clone());
    let mut student = masked_student(5, &masks, sparsifier.watches());
    let mut memory = Memory::default();
    let spec: OptimizerSpec = toml::from_str("sgd = {}").unwrap();
    let mut optimizer = kd_train::optimizer::build(&spec);
    for step in 0..=steps {
        let turn = uncalibrated(|calibration| {
            sparsifier.before_step(&mut masks, &mut memory, student.as_mut(), step, calibration)
        })
        .unwrap();
        assert_eq!(student.compression().masks, masks);
        look(step, &masks, student.as_ref(), turn);
        if step < steps {
            let mut own = gradients(student.as_ref(), step);
            sparsifier.behind_backward(&mut memory, student.as_ref(), &mut own, step).unwrap();
            student.step(&mut optimizer, 1e-3, own);
        }
    }
}

/// Elements that a pattern of this spelling masks in a layer at a share of what it removes in the end.
fn expected(pattern: &str, share: f64, inputs: usize, outputs: usize) -> usize {
    let floor = |x: f64| (x + 1e-9).floor() as usize;
    match pattern {
        "unstructured = { sparsity = 0.7 }" => floor(0.7 * share * (inputs * outputs) as f64),
        "n-m = { keep = 1, of = 4 }" => {
            let gone = floor(3.0 * share);
            // A last group of r elements keeps as many as a whole one.
            let group = |len: usize| len.saturating_sub(4 - gone);
            outputs * (inputs / 4 * group(4) + group(inputs % 4))
        }
        "rows = { sparsity = 0.5 }" => floor(0.5 * share * outputs as f64) * inputs,
        "random = { sparsity = 0.6, seed = 1 }" => outputs * floor(0.6 * share * inputs as f64),
        "columns = { sparsity = 0.5 }" => floor(0.5 * share * inputs as f64) * outputs,
        // Both layers have whole tiles only.
        "block = { rows = 3, columns = 1, sparsity = 0.4 }" => {
            3 * floor(0.4 * share * (outputs / 3 * inputs) as f64)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_masked_is_what_the_formula_says_at_every_step() {
    let steps = 21;
    let whens = [
        curve("cubic = { from = 0.0, to = 1.0, end = 0.75 }"),
        curve("linear = { from = 0.2, to = 1.0 }"),
        curve("step = { at = [0.2, 0.6], values = [0.5, 1.0] }"),
        way("one-shot = { at = 0.3 }"),
        way("iterative = { rounds = 3 }"),
        way("exponential = { end = 0.9 }"),
        way("movement = {}"),
        way("movement = { scores = \"adam\" }"),
        way("movement = { scores.from-magnitude = { rate = 0.01 } }"),
        way("growing-regularisation = { end = 0.4 }"),
        way("lottery-ticket = { rounds = 2, to = 0.1 }"),
        way("lottery-ticket = { rounds = 3, rewind = \"learning-rate\" }"),
    ];
    let criteria: [Arc<dyn Criterion>; 2] = [Arc::new(Magnitude::default()), Arc::new(Random::default())];
    for (when, criterion) in whens.iter().flat_map(|when| criteria.iter().map(move |c| (when, c))) {
        for pattern in [
            "unstructured = { sparsity = 0.7 }",
            "n-m = { keep = 1, of = 4 }",
            "rows = { sparsity = 0.5 }",
            "columns = { sparsity = 0.5 }",
            "block = { rows = 3, columns = 1, sparsity = 0.4 }",
            "random = { sparsity = 0.6, seed = 1 }",
        ] {
            if pattern.starts_with("random") && when.is_movement() {
                // Scores that are trained choose nothing by chance: a recipe is refused.
                continue;
            }
            let sparsifier = sparsifier(when.clone(), pattern, steps, criterion.clone(), Masks::new());
            let (mut updates, mut last) = (0, 0);
            stage(&sparsifier, steps, |step, masks, _, _| {
                if sparsifier.calendar.acts_at(step) {
                    (updates, last) = (updates + 1, step);
                }
                for (path, inputs, outputs) in LAYERS {
                    let share = if updates == 0 { 0.0 } else { sparsifier.calendar.share(last) };
                    let gone = masks[path].iter().filter(|&&keep| !keep).count();
                    let expected = expected(pattern, share, inputs, outputs);
                    assert_eq!(gone, expected, "{when:?}, {pattern}, {path} at step {step}");
                }
            });
            assert!(updates > 0);
            close(sparsifier.calendar.share(last), 1.0, "the last update is final");
        }
    }
}

#[test]
fn a_global_scope_counts_over_all_layers() {
    let pattern = "unstructured = { sparsity = 0.7, scope = \"global\" }";
    for when in
        [curve("cubic = { from = 0.0, to = 1.0 }"), way("iterative = { rounds = 3 }"), way("movement = {}")]
    {
        let sparsifier = sparsifier(when.clone(), pattern, 21, Arc::new(Magnitude::default()), Masks::new());
        let mut share = 0.0;
        stage(&sparsifier, 21, |step, masks, _, _| {
            if sparsifier.calendar.acts_at(step) {
                share = sparsifier.calendar.share(step);
            }
            let gone = masks.values().flatten().filter(|&&keep| !keep).count();
            let all = (64 * 15 + 15 * 12) as f64;
            assert_eq!(gone, (0.7 * share * all + 1e-9) as usize, "{when:?} at step {step}");
        });
    }
}

#[test]
fn rounds_take_from_what_is_left_and_begin_again_with_the_same_weights() {
    for criterion in [Arc::new(Magnitude::default()) as Arc<dyn Criterion>, Arc::new(Random::default())] {
        for pattern in
            ["unstructured = { sparsity = 0.7 }", "block = { rows = 2, columns = 4, sparsity = 0.7 }"]
        {
            let when = way("lottery-ticket = { rounds = 3, to = 0.5 }");
            let sparsifier = sparsifier(when, pattern, 24, criterion.clone(), Masks::new());
            let anchor = sparsifier.calendar.anchor().unwrap();
            let (mut anchored, mut before, mut again) = (None, full(), 0);
            stage(&sparsifier, 24, |step, masks, student, turn| {
                if step == anchor {
                    anchored = Some(student.weights());
                }
                assert_eq!(turn == Turn::Again, sparsifier.calendar.rewinds_at(step));
                if turn == Turn::Again {
                    assert_eq!(Some(student.weights()), anchored, "step {step}");
                    again += 1;
                } else if step > anchor {
                    assert_ne!(Some(student.weights()), anchored, "step {step}");
                }
                for (path, keep) in masks {
                    let nested = keep.iter().zip(&before[path]).all(|(now, before)| *before || !now);
                    assert!(nested, "{path} at step {step}: something came back");
                }
                before = masks.clone();
            });
            assert_eq!(again, 3);
        }
    }
}

#[test]
fn running_statistics_begin_again_too() {
    let (task, device) = (Task { input: vec![1, 8, 8], classes: 10 }, Device::flex());
    let config = ConvNetConfig { channels: vec![4, 6], kernel: 3, hidden: 12, norm: true };
    let network = seeded(&device, 1, || Built::<ConvNet>::build("convnet", &config, &task, &device)).unwrap();
    let stored = network.weights();
    let full: Masks = masked(&network.entries())
        .into_iter()
        .map(|(path, _)| (path.clone(), vec![true; stored[&path].data().len()]))
        .collect();
    let compression = Compression { masks: full.clone(), ..Compression::default() };
    let mut student = network.with_compression(compression).training();
    let when = way("lottery-ticket = { rounds = 1, to = 0.5 }");
    let pattern = "unstructured = { sparsity = 0.5 }";
    let sparsifier = sparsifier(when, pattern, 9, Arc::new(Magnitude::default()), Masks::new());
    let (mut masks, mut memory, mut anchored) = (full, Memory::default(), None);
    let (anchor, mut again) = (sparsifier.calendar.anchor().unwrap(), 0);
    for step in 0..9 {
        if step == anchor {
            anchored = Some(student.weights());
        }
        let turn = uncalibrated(|calibration| {
            sparsifier.before_step(&mut masks, &mut memory, student.as_mut(), step, calibration)
        })
        .unwrap();
        if turn == Turn::Again {
            assert_eq!(Some(student.weights()), anchored);
            again += 1;
        }
        // A forward pass leaves an update of running statistics that nobody has asked for yet.
        gradients(student.as_ref(), step);
    }
    assert_eq!(again, 1);
    let means = |weights: &kd_deploy::Weights| weights["blocks.0.norm.running_mean"].clone();
    assert_ne!(means(&student.weights()), means(&anchored.unwrap()));
}

#[test]
fn what_earlier_stages_masked_is_gone_and_counts() {
    let floor: Masks = full()
        .into_iter()
        .map(|(path, keep)| (path, (0..keep.len()).map(|index| index % 3 != 0).collect()))
        .collect();
    let criterion = Arc::new(Random::default());
    let sparsifier =
        sparsifier(way("one-shot = {}"), "unstructured = { sparsity = 0.7 }", 3, criterion, floor.clone());
    stage(&sparsifier, 3, |step, masks, _, _| {
        for (path, inputs, outputs) in LAYERS {
            let gone = masks[path].iter().filter(|&&keep| !keep).count();
            assert_eq!(gone, (0.7 * (inputs * outputs) as f64 + 1e-9) as usize, "{path} at {step}");
            assert!(masks[path].iter().zip(&floor[path]).all(|(now, before)| *before || !now), "{path}");
        }
    });
}

#[test]
fn gradients_of_masks_are_weight_times_gradient_where_masked_too() {
    let masks: Masks = full()
        .into_iter()
        .map(|(path, keep)| (path, (0..keep.len()).map(|index| index % 4 != 1).collect()))
        .collect();
    let network = masked_student(3, &masks, true);
    let mut own = gradients(network.as_ref(), 0);
    let products = network.mask_gradients(&mut own);
    assert!(network.mask_gradients(&mut own).is_empty(), "they are taken out");

    // The twin has zeros where the other is masked, and no masks: its gradients are those by the weights in force.
    let mut twin = student(3);
    let stored = twin.weights();
    twin.set_weights(&kd_train::weights::masked(network.as_ref()));
    let twin = twin.training();
    let gradients = gradients(twin.as_ref(), 0);
    for entry in twin.entries().iter().filter(|entry| masks.contains_key(&entry.path)) {
        let gradient: Vec<f32> = gradients.get::<2>(entry.id).unwrap().into_data().try_to_vec().unwrap();
        let weight = stored[&entry.path].data();
        let mut of_masked = 0.0_f32;
        for (index, found) in products[&entry.path].data().iter().enumerate() {
            let expected = weight[index] * gradient[index];
            assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1e-2), "{found} for {expected}");
            if !masks[&entry.path][index] {
                of_masked = of_masked.max(found.abs());
            }
        }
        assert!(of_masked > 0.0, "{} has no product where it is masked", entry.path);
    }
}

#[test]
fn a_penalty_adds_its_multiple_of_the_condemned_weights_alone() {
    let network = masked_student(3, &full(), false);
    let path = "hidden.1.weight";
    let array = |values: Vec<f32>| kd_deploy::Array::new(vec![values.len()], values).unwrap();
    let ones: Vec<f32> = (0..15 * 12).map(|index| if index % 3 == 0 { 1.0 } else { 0.0 }).collect();
    let (plain, mut own) = (gradients(network.as_ref(), 0), gradients(network.as_ref(), 0));
    network.penalize(&mut own, &BTreeMap::from([(path.to_owned(), array(ones.clone()))]), 0.5);
    let weights = network.weights();
    for entry in
        network.entries().iter().filter(|entry| entry.path.starts_with("hidden") && entry.shape.len() == 2)
    {
        let of = |gradients: &burn::optim::GradientsParams| -> Vec<f32> {
            gradients.get::<2>(entry.id).unwrap().into_data().try_to_vec().unwrap()
        };
        for (index, (before, after)) in of(&plain).iter().zip(of(&own)).enumerate() {
            let condemned = if entry.path == path { ones[index] } else { 0.0 };
            assert_eq!(after, before + 0.5 * (weights[&entry.path].data()[index] * condemned));
        }
    }
}

#[test]
fn condemned_weights_shrink_before_they_go() {
    let when = way("growing-regularisation = { ceiling = 100.0, end = 0.9 }");
    let pattern = "unstructured = { sparsity = 0.5 }";
    let sparsifier = sparsifier(when, pattern, 60, Arc::new(Magnitude::default()), Masks::new());
    let (mut first, mut condemned, mut late) = (None, None, None);
    stage(&sparsifier, 60, |step, masks, student, _| {
        let weights = student.weights();
        match step {
            0 => first = Some(weights),
            53 => late = Some(weights),
            54 => condemned = Some(masks.clone()),
            _ => {}
        }
    });
    let (first, condemned, late) = (first.unwrap(), condemned.unwrap(), late.unwrap());
    for (path, keep) in condemned {
        let sum = |weights: &kd_deploy::Weights| -> f32 {
            let values = weights[&path].data().iter().zip(&keep);
            values.filter(|(_, keep)| !**keep).map(|(x, _)| x.abs()).sum()
        };
        assert!(sum(&late) < 0.2 * sum(&first), "{path}: {} of {}", sum(&late), sum(&first));
    }
}

/// Scores −w·g with what training gathered.
#[derive(Debug)]
struct FirstOrder(Needs);

impl Criterion for FirstOrder {
    fn name(&self) -> &str {
        "first-order"
    }

    fn needs(&self) -> Needs {
        self.0
    }

    fn unit(&self) -> Option<Unit> {
        None
    }

    fn scores(&self, inputs: &Inputs<'_>, _: Unit) -> Result<Vec<f64>, Error> {
        let (weight, gradient) = (inputs.weight()?.values(), inputs.grad()?.values());
        Ok(weight.iter().zip(gradient).map(|(w, g)| -w * g).collect())
    }
}

#[test]
fn a_criterion_gets_what_it_needs_and_movement_is_that_criterion_under_a_cubic_curve() {
    let pattern = "unstructured = { sparsity = 0.6 }";
    let of = |when: When, needs: Option<Needs>| {
        let criterion: Arc<dyn Criterion> = match needs {
            Some(needs) => Arc::new(FirstOrder(needs)),
            None => Arc::new(Magnitude::default()),
        };
        let sparsifier = sparsifier(when, pattern, 16, criterion, Masks::new());
        let mut all = Vec::new();
        stage(&sparsifier, 16, |_, masks, _, _| all.push(masks.clone()));
        all
    };
    let cubic = || curve("cubic = { from = 0.0, to = 1.0, begin = 0.1, end = 0.9 }");
    let movement = of(way("movement = {}"), None);
    let differ = |other: &[Masks]| other.iter().zip(&movement).filter(|(a, b)| a != b).count();
    // The gradient behind a sum is that sum divided by the weight: a rounding may exchange two that are all but equal.
    for (found, expected) in of(cubic(), Some(Needs::Movement)).iter().zip(&movement) {
        for (path, keep) in found {
            let differing = keep.iter().zip(&expected[path]).filter(|(a, b)| a != b).count();
            assert!(differing <= 2, "{path}: {differing} differ");
        }
    }
    assert!(differ(&of(cubic(), Some(Needs::Gradient))) > 5, "a mean since the last update is no sum");
    assert!(differ(&of(cubic(), None)) > 5);
}

/// A rate that moves nothing leaves the magnitudes of the first step, and one that is huge leaves no trace of them.
#[test]
fn scores_from_magnitude_lie_between_magnitudes_and_trained_scores() {
    let pattern = "unstructured = { sparsity = 0.6 }";
    let of = |when: When| {
        let sparsifier = sparsifier(when, pattern, 16, Arc::new(Magnitude::default()), Masks::new());
        let (mut first, mut last) = (None, Masks::new());
        stage(&sparsifier, 16, |_, masks, student, _| {
            first.get_or_insert_with(|| (student.weights(), student.entries()));
            last = masks.clone();
        });
        let (weights, entries) = first.expect("a step");
        (last, sparsifier.masks(&weights, &entries, 1.0, &Memory::default(), &Masks::new()).unwrap())
    };
    let differ = |a: &Masks, b: &Masks| {
        let of = |path: &String| a[path].iter().zip(&b[path]).filter(|(a, b)| a != b).count();
        a.keys().map(of).sum::<usize>()
    };
    let (_, magnitude) = of(curve("cubic = { from = 0.0, to = 1.0 }"));
    let (trained, _) = of(way("movement = { scores = \"adam\" }"));
    let from =
        |rate: &str| of(way(&format!("movement = {{ scores.from-magnitude = {{ rate = {rate} }} }}"))).0;
    assert_eq!(from("1e-12"), magnitude);
    // Adam's scores have ties after so few steps, which magnitudes decide.
    let huge = from("1e4");
    assert!(4 * differ(&huge, &trained) < differ(&huge, &magnitude));
    let between = from("0.01");
    assert!(differ(&between, &magnitude) > 5 && differ(&between, &trained) > 5);
}

#[test]
fn soft_movement_masks_scores_below_its_threshold_and_no_more_than_the_pattern_says() {
    for (pattern, units) in [
        ("unstructured = { sparsity = 0.8 }", [64 * 15, 15 * 12]),
        ("block = { rows = 3, columns = 5, sparsity = 0.8 }", [5 * 13, 4 * 3]),
    ] {
        let when = way("soft-movement = { rate = 0.2, regularisation = 20.0, begin = 0.0, end = 0.75 }");
        let sparsifier = sparsifier(when, pattern, 40, Arc::new(Magnitude::default()), Masks::new());
        let mut masks = full();
        let mut memory = Memory::default();
        let mut student = masked_student(5, &masks, true);
        let mut most = 0;
        for step in 0..=40 {
            uncalibrated(|calibration| {
                sparsifier.before_step(&mut masks, &mut memory, student.as_mut(), step, calibration)
            })
            .unwrap();
            if sparsifier.calendar.acts_at(step) {
                let p = (step as f64 / 40.0 / 0.75).min(1.0);
                let threshold = 0.1 * (1.0 - (1.0 - p).powi(3));
                for ((path, _, _), units) in LAYERS.iter().zip(units) {
                    let scores = memory.get(Kind::Scores, path).map_or(vec![0.0; units], <[f32]>::to_vec);
                    assert_eq!(scores.len(), units, "{pattern}, {path}");
                    let below =
                        scores.iter().filter(|&&s| 1.0 / (1.0 + f64::from(-s).exp()) <= threshold).count();
                    let expected = below.min((0.8 * units as f64 + 1e-9) as usize);
                    let gone = masks[*path].iter().filter(|&&keep| !keep).count();
                    most = most.max(gone);
                    match pattern.starts_with("unstructured") {
                        true => assert_eq!(gone, expected, "{path} at {step}"),
                        false => {
                            assert!(gone <= expected * 15 && (gone > 0) == (expected > 0), "{path} at {step}")
                        }
                    }
                }
            }
            if step < 40 {
                let mut own = gradients(student.as_ref(), step);
                sparsifier.behind_backward(&mut memory, student.as_ref(), &mut own, step).unwrap();
            }
        }
        assert!(most > 100, "{pattern}: only {most} elements went");
    }
}

#[test]
fn the_layers_that_are_masked_are_all_but_the_last() {
    let paths: Vec<String> = masked(&student(1).entries()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, LAYERS.map(|(path, _, _)| path));
}
