//! The exact knapsack against brute force over all assignments.
use proptest::prelude::*;
use quant_core::Error;
use quant_core::budget::*;

/// All assignments, then the definition of a front.
fn brute(items: &[Vec<Choice>]) -> Vec<(u64, f64)> {
    let mut all = vec![(0, 0.0)];
    for choices in items {
        all = all
            .iter()
            .flat_map(|(cost, loss)| choices.iter().map(move |c| (cost + c.cost, loss + c.loss)))
            .collect();
    }
    let dominated =
        |(cost, loss): &(u64, f64)| all.iter().any(|(c, l)| c <= cost && l <= loss && (c < cost || l < loss));
    let mut front: Vec<(u64, f64)> = all.iter().filter(|point| !dominated(point)).copied().collect();
    front.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    front.dedup();
    front
}

fn pairs(front: &Front) -> Vec<(u64, f64)> {
    front.iter().map(|point| (point.cost, point.loss)).collect()
}

fn items() -> impl Strategy<Value = Vec<Vec<Choice>>> {
    let choice =
        (0_u64..12, -4_i32..12).prop_map(|(cost, loss)| Choice { cost, loss: f64::from(loss) * 0.3 });
    prop::collection::vec(prop::collection::vec(choice, 1..4), 0..7)
}

proptest! {
    #[test]
    fn the_front_is_that_of_all_assignments(items in items()) {
        let front = Front::new(&items, None).unwrap();
        let expected = brute(&items);
        prop_assert_eq!(pairs(&front), expected.clone());
        for point in front.iter() {
            let chosen = || items.iter().zip(&point.choices).map(|(choices, &k)| choices[k]);
            prop_assert_eq!(chosen().map(|c| c.cost).sum::<u64>(), point.cost);
            prop_assert_eq!(chosen().map(|c| c.loss).fold(0.0, |a, b| a + b), point.loss);
        }
        for budget in 0..80 {
            let best = expected.iter().rfind(|(cost, _)| *cost <= budget).copied();
            let found = front.within(budget).ok().map(|point| (point.cost, point.loss));
            prop_assert_eq!(found, best);
            match Front::new(&items, Some(budget)) {
                Ok(limited) => {
                    let within: Vec<_> = expected.iter().filter(|(c, _)| *c <= budget).copied().collect();
                    prop_assert_eq!(pairs(&limited), within);
                    prop_assert_eq!(limited.within(budget), front.within(budget));
                }
                Err(error) => prop_assert_eq!(Err(error), front.within(budget)),
            }
        }
        prop_assert_eq!(Front::new(&items, None).unwrap(), front);
    }
}

#[test]
fn ties_go_to_the_lower_choice_and_budgets_are_looked_up() {
    let choice = |cost, loss| Choice { cost, loss };
    let same = vec![choice(2, 1.0), choice(2, 1.0), choice(3, 1.0)];
    let front = Front::new(&[same.clone(), same], None).unwrap();
    assert_eq!(front.len(), 1);
    assert_eq!(front.within(4).unwrap(), Point { cost: 4, loss: 2.0, choices: vec![0, 0] });
    assert_eq!(front.within(3), Err(Error::Budget { budget: 3, least: 4 }));
    let nothing = Front::new(&[], None).unwrap();
    assert_eq!(nothing.within(0).unwrap(), Point { cost: 0, loss: 0.0, choices: vec![] });
}

#[test]
fn greedy_by_ratio_would_be_wrong() {
    let choice = |cost, loss| Choice { cost, loss };
    let items = vec![vec![choice(0, 10.0), choice(5, 4.0)], vec![choice(0, 10.0), choice(6, 3.0)]];
    let front = Front::new(&items, None).unwrap();
    assert_eq!(front.within(6).unwrap().choices, [0, 1]);
    assert_eq!(front.within(10).unwrap().choices, [0, 1]);
    assert_eq!(front.within(11).unwrap().choices, [1, 1]);
    assert_eq!(front.within(5).unwrap().choices, [1, 0]);
}

#[test]
fn a_model_of_many_layers_is_no_problem() {
    // 60 layers of different sizes in 2 … 8 bits.
    let items: Vec<Vec<Choice>> = (0..60_u64)
        .map(|layer| {
            let size = 64 * (1 + layer % 7);
            [2, 3, 4, 8]
                .map(|bits| Choice {
                    cost: size * bits / 8,
                    loss: (layer + 1) as f64 * 4_f64.powi(-(bits as i32)),
                })
                .to_vec()
        })
        .collect();
    let front = Front::new(&items, None).unwrap();
    assert!(front.len() > 500, "{}", front.len());
    let points: Vec<Point> = front.iter().collect();
    assert!(points.is_sorted_by(|a, b| a.cost < b.cost && a.loss > b.loss));
    assert_eq!(points[0].choices, [0; 60]);
    assert_eq!(points[points.len() - 1].choices, [3; 60]);
}

#[test]
fn items_without_a_legal_choice_are_named() {
    let fine = vec![Choice { cost: 1, loss: 0.0 }];
    let error = |second: Vec<Choice>| Front::new(&[fine.clone(), second], None).unwrap_err();
    assert_eq!(error(vec![]), Error::Item { item: 1, expected: "at least one choice" });
    for loss in [f64::NAN, f64::INFINITY] {
        assert_eq!(error(vec![Choice { cost: 1, loss }]), Error::Item { item: 1, expected: "finite losses" });
    }
    let huge = error(vec![Choice { cost: u64::MAX, loss: 0.0 }]);
    assert_eq!(huge, Error::Item { item: 0, expected: "costs that add up in 64 bits" });
    assert_eq!(Front::new(&[fine], Some(0)), Err(Error::Budget { budget: 0, least: 1 }));
    assert_eq!(bit_operations(1000, 4, 8), 32_000);
    assert_eq!(bit_operations(u64::MAX, 4, 8), u64::MAX);
}
