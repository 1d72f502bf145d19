//! One tensor as few distinct values at some places: its values, the gaps between places, and which value stands where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::stream;
use crate::Array;

/// Values that a tensor may have at most to be coded by them.
const MOST_VALUES: usize = 4096;
/// Zeros that one gap can count at most.
const MOST_GAP: usize = 255;

/// How a tensor is written, with what is needed to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Coding {
    /// f32, little-endian.
    Plain {},
    /// Distinct values other than 0 as f32; gaps; values' numbers.
    Shared {
        /// Distinct values.
        values: usize,
        /// Elements that are not 0.
        nonzero: usize,
        /// The longest gap; the number itself means so many zeros and no element. 0 where there are no gaps.
        longest: usize,
        /// Gaps written.
        gaps: usize,
        /// Bytes of the gaps.
        gap_bytes: usize,
    },
}

/// The shorter of the two codings, with its bytes. Every bit of every element survives.
pub(super) fn encode(data: &[f32]) -> (Coding, Vec<u8>) {
    let plain = || (Coding::Plain {}, data.iter().flat_map(|x| x.to_le_bytes()).collect());
    match shared(data) {
        Some((coding, bytes)) if bytes.len() < 4 * data.len() => (coding, bytes),
        _ => plain(),
    }
}

fn shared(data: &[f32]) -> Option<(Coding, Vec<u8>)> {
    let mut numbers: BTreeMap<u32, usize> = BTreeMap::new();
    for bits in data.iter().map(|x| x.to_bits()).filter(|&bits| bits != 0) {
        numbers.insert(bits, 0);
        if numbers.len() > MOST_VALUES {
            return None;
        }
    }
    numbers.values_mut().enumerate().for_each(|(number, slot)| *slot = number);
    let (mut gaps, mut which, mut run) = (Vec::new(), Vec::new(), 0);
    for x in data {
        match numbers.get(&x.to_bits()) {
            None => run += 1,
            Some(&number) => {
                gaps.extend(std::iter::repeat_n(MOST_GAP, run / MOST_GAP));
                gaps.push(run % MOST_GAP);
                which.push(number);
                run = 0;
            }
        }
    }
    let longest = gaps.iter().copied().max().unwrap_or(0);
    let gap_bytes = if longest == 0 { Vec::new() } else { stream::write(&gaps, longest + 1)? };
    let coding = Coding::Shared {
        values: numbers.len(),
        nonzero: which.len(),
        longest,
        gaps: gaps.len(),
        gap_bytes: gap_bytes.len(),
    };
    let mut bytes: Vec<u8> = numbers.keys().flat_map(|bits| bits.to_le_bytes()).collect();
    bytes.extend(gap_bytes);
    bytes.extend(stream::write(&which, numbers.len())?);
    Some((coding, bytes))
}

/// The tensor of this shape; none where the bytes are damaged.
pub(super) fn decode(coding: Coding, shape: &[usize], bytes: &[u8]) -> Option<Array> {
    let len = shape.iter().try_fold(1_usize, |len, &size| len.checked_mul(size))?;
    let f32s = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect()
    };
    let data = match coding {
        Coding::Plain {} if bytes.len() == len.checked_mul(4)? => f32s(bytes),
        Coding::Plain {} => return None,
        Coding::Shared { values, nonzero, longest, gaps, gap_bytes } => {
            // Nothing is allocated for what the tensor cannot hold.
            if values > MOST_VALUES || nonzero > len || gaps > len || longest > MOST_GAP {
                return None;
            }
            let (table, rest) = bytes.split_at_checked(4 * values)?;
            let (coded, which) = rest.split_at_checked(gap_bytes)?;
            let table = f32s(table);
            let which = stream::read(which, nonzero, values)?;
            let gaps = match longest {
                0 => vec![0; nonzero],
                longest => stream::read(coded, gaps, longest + 1)?,
            };
            let mut data = vec![0.0; len];
            let (mut at, mut which) = (0, which.into_iter());
            for gap in gaps {
                at += gap;
                if gap < MOST_GAP {
                    *data.get_mut(at)? = *table.get(which.next()?)?;
                    at += 1;
                }
            }
            which.next().is_none().then_some(data)?
        }
    };
    Array::new(shape, data).ok()
}
