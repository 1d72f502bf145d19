//! Where runs of codes begin and end, and how they are shared among threads.

use rayon::prelude::*;

use super::bits::{self, Signs};
use super::{Code, Field, Packing, Run, code, trits};

/// Codes that a task takes: whole groups of eight and of five, small enough that a task reads them from the cache the
/// second time, large enough that its start does not matter.
const TASK: usize = 1 << 16;

/// Runs of equal length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runs {
    field: Field,
    bits: u32,
    /// How many.
    pub(super) count: usize,
    /// Codes of each.
    pub(super) len: usize,
    /// Bytes of each, padding included.
    pub(super) bytes: usize,
}

impl Runs {
    pub(super) fn new(packing: &Packing, rows: usize, columns: usize, bits: u32) -> Self {
        let (count, len) = match packing.run {
            Run::Tensor => (1, rows.saturating_mul(columns)),
            Run::Row => (rows, columns),
            Run::Column => (columns, rows),
        };
        let field = packing.field;
        let bytes = Self::fill(field, len, bits).div_ceil(packing.unit).saturating_mul(packing.unit);
        Self { field, bits, count, len, bytes }
    }

    /// Bytes that codes take without padding to units.
    const fn fill(field: Field, len: usize, bits: u32) -> usize {
        match field {
            Field::Trit => trits::bytes(len),
            Field::TwosComplement | Field::Offset => bits::bytes(len, bits),
        }
    }

    /// Whether a run is full to its last bit.
    pub(super) fn whole(self) -> bool {
        match self.field {
            Field::Trit => self.bytes.checked_mul(5) == Some(self.len),
            _ => (self.bytes as u128) * 8 == (self.len as u128) * u128::from(self.bits),
        }
    }

    /// Whether nothing lies between one run and the next, so that all are one and may be cut anywhere.
    fn seamless(self) -> bool {
        self.whole() || (self.count == 1 && self.bytes == Self::fill(self.field, self.len, self.bits))
    }

    /// Codes and bytes of a run, and of a task.
    fn cut(self) -> [(usize, usize); 2] {
        if self.seamless() {
            let task = if self.field == Field::Trit { TASK / 8 * 5 } else { TASK };
            return [(task, Self::fill(self.field, task, self.bits)); 2];
        }
        let runs = (TASK / self.len.max(1)).max(1);
        [(self.len, self.bytes), (self.len * runs, self.bytes * runs)]
    }

    fn signs(self, signed: bool) -> Signs {
        let half = 1 << (self.bits - 1);
        match (self.field, signed) {
            (Field::Offset, true) => Signs { flip: half, turn: 0, less: half },
            (_, true) => Signs { flip: 0, turn: half, less: half },
            (_, false) => Signs { flip: 0, turn: 0, less: 0 },
        }
    }

    /// Packs; `false` if a code lies outside the limits.
    pub(super) fn pack<C: Code>(self, codes: &[C], (qmin, qmax): (i32, i32), bytes: &mut [u8]) -> bool {
        let (qmin, qmax) = (C::from_i32(qmin), C::from_i32(qmax));
        let signs = self.signs(C::SIGNED);
        // Every number of the type is a code.
        let all = self.field != Field::Trit && self.bits == C::WIDTH;
        let [run, task] = self.cut();
        each((codes, run.0, task.0), (bytes, run.1, task.1), |codes, bytes| {
            match self.field {
                Field::Trit => trits::pack(codes, bytes),
                _ => bits::pack(codes, self.bits, signs, bytes),
            }
            all || code::inside(codes, qmin, qmax)
        })
    }

    /// Unpacks; `false` if a byte is no trits.
    pub(super) fn unpack<C: Code>(self, bytes: &[u8], codes: &mut [C]) -> bool {
        let signs = self.signs(C::SIGNED);
        let [run, task] = self.cut();
        each((bytes, run.1, task.1), (codes, run.0, task.0), |bytes, codes| match self.field {
            Field::Trit => trits::unpack(bytes, codes),
            _ => {
                bits::unpack(bytes, self.bits, signs, codes);
                true
            }
        })
    }

    /// The same for runs that are columns: turned, packed as rows, and turned back a word at a time. Zero points are a
    /// small part of a weight.
    pub(super) fn pack_columns<C: Code>(self, codes: &[C], limits: (i32, i32), bytes: &mut [u8]) -> bool {
        let mut turned = vec![C::default(); codes.len()];
        turn(codes, self.count, &mut turned);
        let mut rows = vec![0u8; bytes.len()];
        let inside = self.pack(&turned, limits, &mut rows);
        turn(rows.as_chunks::<4>().0, self.bytes / 4, bytes.as_chunks_mut::<4>().0);
        inside
    }

    /// Its inverse.
    pub(super) fn unpack_columns<C: Code>(self, bytes: &[u8], codes: &mut [C]) -> bool {
        let mut rows = vec![0u8; bytes.len()];
        turn(bytes.as_chunks::<4>().0, self.count, rows.as_chunks_mut::<4>().0);
        let mut turned = vec![C::default(); codes.len()];
        let right = self.unpack(&rows, &mut turned);
        turn(&turned, self.len, codes);
        right
    }
}

/// Transposes rows of `columns` elements.
fn turn<T: Copy>(from: &[T], columns: usize, to: &mut [T]) {
    let rows = from.len().checked_div(columns).unwrap_or(0);
    for (row, from) in from.chunks_exact(columns.max(1)).enumerate() {
        for (column, &x) in from.iter().enumerate() {
            to[column * rows + row] = x;
        }
    }
}

/// `f` of every run's input and output, on all threads if there is more than one task; whether it was true of all.
fn each<A: Sync, B: Send>(
    (from, from_run, from_task): (&[A], usize, usize),
    (to, to_run, to_task): (&mut [B], usize, usize),
    f: impl Fn(&[A], &mut [B]) -> bool + Sync,
) -> bool {
    if from.is_empty() || to.is_empty() {
        return true;
    }
    let task = |(from, to): (&[A], &mut [B])| {
        from.chunks(from_run).zip(to.chunks_mut(to_run)).fold(true, |all, (from, to)| all & f(from, to))
    };
    if from.len() <= from_task {
        return task((from, to));
    }
    from.par_chunks(from_task).zip(to.par_chunks_mut(to_task)).all(task)
}
