//! A list of small whole numbers, entropy coded: how often each occurs, and an ANS stream of log₂ of that.

use constriction::stream::Decode;
use constriction::stream::model::DefaultContiguousCategoricalEntropyModel as Model;
use constriction::stream::stack::DefaultAnsCoder;

/// Probabilities are in units of 2⁻¹⁶: what a table entry of two bytes can say.
const BITS: u32 = 16;
/// The coder's own precision.
const PRECISION: u32 = 24;

/// Writes `symbols`, each below `alphabet`: the table of probabilities, then the stream.
///
/// An entry is a little-endian u16 for each number below `alphabet`, its probability in 2⁻¹⁶, 0 where it never occurs;
/// where one number is all there is, its entry is 65535 and no stream follows. Returns the bytes of table and stream.
pub(super) fn write(symbols: &[usize], alphabet: usize) -> Option<Vec<u8>> {
    let mut counts = vec![0_u64; alphabet];
    for &symbol in symbols {
        *counts.get_mut(symbol)? += 1;
    }
    let table = table(&counts)?;
    let mut bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    if symbols.is_empty() {
        return Some(bytes);
    }
    let (model, ranks) = match model(&table)? {
        Coding::Constant(_) => return Some(bytes),
        Coding::Stream(model, present) => {
            let mut ranks = vec![0; alphabet];
            present.iter().enumerate().for_each(|(rank, &symbol)| ranks[symbol] = rank);
            (model, ranks)
        }
    };
    let mut coder = DefaultAnsCoder::new();
    coder.encode_iid_symbols_reverse(symbols.iter().map(|&symbol| ranks[symbol]), &model).ok()?;
    bytes.extend(coder.into_compressed().ok()?.iter().flat_map(|word| word.to_le_bytes()));
    Some(bytes)
}

/// Reads `count` numbers that [`write`] wrote with the same `alphabet`; none where table and stream cannot be those of
/// so many numbers. Not every damage shows here.
pub(super) fn read(bytes: &[u8], count: usize, alphabet: usize) -> Option<Vec<usize>> {
    let (table, stream) = bytes.split_at_checked(alphabet.checked_mul(2)?)?;
    let table: Vec<u16> =
        table.chunks_exact(2).map(|entry| u16::from_le_bytes([entry[0], entry[1]])).collect();
    if count == 0 {
        return stream.is_empty().then(Vec::new);
    }
    let (model, present) = match model(&table)? {
        Coding::Constant(symbol) => return stream.is_empty().then(|| vec![symbol; count]),
        Coding::Stream(model, present) => (model, present),
    };
    let words: Vec<u32> =
        stream.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    if words.len() * 4 != stream.len() {
        return None;
    }
    let mut coder = DefaultAnsCoder::from_compressed(words).ok()?;
    let ranks = coder.decode_iid_symbols(count, &model);
    let symbols = ranks.map(|rank| Some(*present.get(rank.ok()?)?)).collect::<Option<Vec<_>>>()?;
    coder.is_empty().then_some(symbols)
}

enum Coding {
    /// One symbol is all there is.
    Constant(usize),
    /// A model of the symbols that occur, and which they are.
    Stream(Model, Vec<usize>),
}

fn model(table: &[u16]) -> Option<Coding> {
    let present: Vec<usize> = (0..table.len()).filter(|&symbol| table[symbol] > 0).collect();
    if let [symbol] = present[..] {
        return Some(Coding::Constant(symbol));
    }
    let shares = present.iter().map(|&symbol| u32::from(table[symbol]) << (PRECISION - BITS));
    let sum: u64 = shares.clone().map(u64::from).sum();
    if present.is_empty() || sum != 1 << PRECISION {
        return None;
    }
    let shares: Vec<u32> = shares.collect();
    Some(Coding::Stream(Model::from_nonzero_fixed_point_probabilities(&shares, false).ok()?, present))
}

/// Counts as shares of 2¹⁶ that add up to it, each at least 1 where the count is; all 0 for no counts.
fn table(counts: &[u64]) -> Option<Vec<u16>> {
    let total: u64 = counts.iter().sum();
    let present = counts.iter().filter(|&&count| count > 0).count();
    if total == 0 {
        return Some(vec![0; counts.len()]);
    }
    if present == 1 {
        return Some(counts.iter().map(|&count| if count > 0 { u16::MAX } else { 0 }).collect());
    }
    let whole = 1_u64 << BITS;
    if present as u64 > whole {
        return None;
    }
    let share = |count: u64| (u128::from(count) * u128::from(whole) / u128::from(total)) as u64;
    let mut shares: Vec<u64> =
        counts.iter().map(|&count| if count > 0 { share(count).max(1) } else { 0 }).collect();
    // What rounding left over goes to, or comes from, the most frequent: there it costs least.
    while shares.iter().sum::<u64>() != whole {
        let sum: u64 = shares.iter().sum();
        let largest = shares.iter_mut().max()?;
        match sum < whole {
            true => *largest += whole - sum,
            false => *largest -= (sum - whole).min(*largest / 2),
        }
    }
    shares.into_iter().map(|share| u16::try_from(share).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(symbols: &[usize], alphabet: usize) -> usize {
        let bytes = write(symbols, alphabet).unwrap_or_else(|| panic!("{symbols:?}"));
        assert_eq!(read(&bytes, symbols.len(), alphabet).as_deref(), Some(symbols));
        bytes.len()
    }

    #[test]
    fn what_was_written_is_read() {
        round_trip(&[], 4);
        round_trip(&[3; 100], 4);
        round_trip(&[0], 1);
        round_trip(&[0, 1], 2);
        round_trip(&(0..5000).map(|i| i * i % 251).collect::<Vec<_>>(), 256);
        let rare: Vec<usize> = (0..100_000).map(|i| usize::from(i == 777)).collect();
        round_trip(&rare, 2);
        // More than u16 entries can hold, before the rarest are given their unit.
        round_trip(&(0..60_000).chain(std::iter::repeat_n(0, 540_000)).collect::<Vec<_>>(), 60_000);
    }

    #[test]
    fn size_is_the_entropy_and_the_table() {
        let symbols: Vec<usize> = (0..65_536).map(|i| if i % 8 == 0 { 1 + i / 8 % 3 } else { 0 }).collect();
        // 7/8 of one symbol, three of 1/24: 0.5436 + 3/24 · log₂ 3 bits each.
        let entropy = (0.543_564_4 + 0.125 * 3.0_f64.log2()) * 65_536.0 / 8.0;
        let size = round_trip(&symbols, 4) as f64;
        assert!(size >= entropy && size < 1.001 * entropy + 16.0, "{size} for {entropy}");
    }

    #[test]
    fn damage_is_noticed() {
        let symbols: Vec<usize> = (0..500).map(|i| i % 7).collect();
        let bytes = write(&symbols, 7).unwrap_or_default();
        assert_eq!(read(&bytes[..bytes.len() - 4], 500, 7), None);
        assert_eq!(read(&bytes[..13], 500, 7), None);
        assert_eq!(read(&bytes, 499, 7), None);
        let mut table = bytes;
        table[0] ^= 1;
        assert_eq!(read(&table, 500, 7), None);
    }
}
