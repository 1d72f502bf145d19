//! Mixed precision under a budget, exactly: which choice for each site gives the least loss for what it costs?
//!
//! Sensitivities of sites are taken to add up, as every published method does; then it is a knapsack with one choice an
//! item. Costs are integers, bytes or [`bit_operations`], so that they add exactly, and all best trades of cost
//! against loss come out at once: a budget is then a look-up, and the front is a plot.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Error;

/// One way to store an item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Bytes, or bit operations.
    pub cost: u64,
    /// What it does to the model, finite; may be negative.
    pub loss: f64,
}

/// A best trade: nothing cheaper has as little loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Sum of costs.
    pub cost: u64,
    /// Sum of losses, added in the order of items.
    pub loss: f64,
    /// The choice of each item.
    pub choices: Vec<usize>,
}

/// All best trades, by ascending cost and strictly descending loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Front {
    /// Of the trades of no item, the first one, the first two, and so on, where each came from: 8 bytes a trade.
    stages: Vec<Vec<Step>>,
    /// The trades of all items.
    trades: Vec<Partial>,
    least: u64,
}

/// The trade of one item less, and the choice that was added.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    from: u32,
    choice: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Partial {
    cost: u64,
    loss: f64,
    step: Step,
}

impl Front {
    /// The front of `items`, each a list of choices.
    ///
    /// Item by item, every trade so far is combined with every choice, and what is dominated (no cheaper, and no less
    /// loss) is dropped. That is exact: adding the same further choices keeps both orders, in floats too, as rounding
    /// is monotone. Of trades equal in cost and loss, the first remains, that with the lower choices in the later items
    /// that distinguish them. `most` drops whatever cannot end within that cost: the rest of the front is the same.
    ///
    /// Time and memory grow with the number of different sums of costs, at most Σ costs / their greatest common
    /// divisor for each item.
    ///
    /// # Errors
    ///
    /// [`Error::Item`] for an item without choices, a loss that is not finite, or costs beyond 64 bits;
    /// [`Error::Budget`] where `most` is below the cheapest choices.
    pub fn new(items: &[Vec<Choice>], most: Option<u64>) -> Result<Self, Error> {
        let mut after = vec![0_u64; items.len() + 1];
        let mut largest = 0_u64;
        for (item, choices) in items.iter().enumerate().rev() {
            let wrong = |expected| Error::Item { item, expected };
            let cheapest = choices.iter().map(|c| c.cost).min().ok_or(wrong("at least one choice"))?;
            let dearest = choices.iter().map(|c| c.cost).max().unwrap_or(cheapest);
            if choices.iter().any(|choice| !choice.loss.is_finite()) {
                return Err(wrong("finite losses"));
            }
            largest = largest.checked_add(dearest).ok_or(wrong("costs that add up in 64 bits"))?;
            after[item] = after[item + 1] + cheapest;
        }
        let least = after[0];
        if let Some(budget) = most.filter(|most| *most < least) {
            return Err(Error::Budget { budget, least });
        }
        let step = |from: usize, choice: usize| Step { from: from as u32, choice: choice as u32 };
        let mut before = vec![Partial { cost: 0, loss: 0.0, step: step(0, 0) }];
        let mut stages = Vec::with_capacity(items.len());
        for (item, choices) in items.iter().enumerate() {
            let limit = most.unwrap_or(u64::MAX) - after[item + 1];
            // Under each choice the trades so far are in the order of costs, so that all are merged without being held at
            // once. The order is of cost, then loss, then choice.
            let extend = |choice: usize, from: usize| {
                let Choice { cost, loss } = choices[choice];
                let point: &Partial = before.get(from)?;
                let cost = point.cost.checked_add(cost).filter(|cost| *cost <= limit)?;
                Some(Reverse((cost, ordered(point.loss + loss), choice, from)))
            };
            let mut heads: BinaryHeap<_> =
                (0..choices.len()).filter_map(|choice| extend(choice, 0)).collect();
            let mut next: Vec<Partial> = Vec::with_capacity(before.len());
            let mut best = f64::INFINITY;
            while let Some(Reverse((cost, _, choice, from))) = heads.pop() {
                heads.extend(extend(choice, from + 1));
                let loss = before[from].loss + choices[choice].loss;
                if loss < best {
                    best = loss;
                    next.push(Partial { cost, loss, step: step(from, choice) });
                }
            }
            next.shrink_to_fit();
            stages.push(next.iter().map(|point| point.step).collect());
            before = next;
        }
        Ok(Self { stages, trades: before, least })
    }

    /// Number of trades; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a front is never empty")]
    pub fn len(&self) -> usize {
        self.last().len()
    }

    /// The trades, by ascending cost and strictly descending loss.
    pub fn iter(&self) -> impl Iterator<Item = Point> {
        (0..self.len()).map(|index| self.point(index))
    }

    /// The trade with the least loss whose cost is within `budget`.
    ///
    /// # Errors
    ///
    /// [`Error::Budget`] where even the cheapest is not.
    pub fn within(&self, budget: u64) -> Result<Point, Error> {
        match self.last().partition_point(|point| point.cost <= budget) {
            0 => Err(Error::Budget { budget, least: self.least }),
            count => Ok(self.point(count - 1)),
        }
    }

    fn last(&self) -> &[Partial] {
        &self.trades
    }

    fn point(&self, index: usize) -> Point {
        let Partial { cost, loss, .. } = self.last()[index];
        let (mut choices, mut at) = (Vec::new(), index);
        for stage in self.stages.iter().rev() {
            choices.push(stage[at].choice as usize);
            at = stage[at].from as usize;
        }
        choices.reverse();
        Point { cost, loss, choices }
    }
}

/// Bits in the order of numbers.
fn ordered(x: f64) -> u64 {
    let bits = x.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// Cost of a layer in bit operations: multiplications · bits of a weight · bits of an activation, as HAWQ-V3 counts.
/// Saturates at 2⁶⁴ − 1.
pub fn bit_operations(multiplications: u64, weight_bits: u32, activation_bits: u32) -> u64 {
    multiplications.saturating_mul(u64::from(weight_bits) * u64::from(activation_bits))
}
