//! Packing and unpacking against the definition, bit by bit, for all codes, widths, types and random shapes.
use proptest::prelude::*;
use quant_core::pack::*;

/// The definition: field i of a run occupies the bits from i · bits on, counted from the lowest of the first byte.
fn dense(fields: &[u32], bits: u32, unit: usize) -> Vec<u8> {
    let len = (fields.len() * bits as usize).div_ceil(8 * unit) * unit;
    let mut bytes = vec![0u8; len];
    for (i, field) in fields.iter().enumerate() {
        for bit in 0..bits as usize {
            let at = i * bits as usize + bit;
            bytes[at / 8] |= ((field >> bit & 1) as u8) << (at % 8);
        }
    }
    bytes
}

/// Five digits of base 3 a byte.
fn trits(digits: &[u32]) -> Vec<u8> {
    digits.chunks(5).map(|five| five.iter().rev().fold(0, |byte, digit| 3 * byte + digit) as u8).collect()
}

fn reference(packing: &Packing, fields: &[u32], rows: usize, columns: usize, bits: u32) -> Vec<u8> {
    match (packing.field, packing.run) {
        (Field::Trit, _) => trits(fields),
        (_, Run::Tensor) => dense(fields, bits, packing.unit),
        (_, Run::Row) => {
            (0..rows).flat_map(|r| dense(&fields[r * columns..][..columns], bits, packing.unit)).collect()
        }
        (_, Run::Column) => {
            let column = |c: usize| -> Vec<u32> { (0..rows).map(|r| fields[r * columns + c]).collect() };
            let packed: Vec<Vec<u8>> = (0..columns).map(|c| dense(&column(c), bits, packing.unit)).collect();
            let units = packed.first().map_or(0, |column| column.len() / packing.unit);
            let unit = |i: usize| packed.iter().flat_map(move |column| column[i * 4..][..4].to_vec());
            (0..units).flat_map(unit).collect()
        }
    }
}

/// `count` codes of the layout that go through all there are, from a random one on, or are random.
fn codes(packing: &Packing, bits: u32, signed: bool, count: usize, seed: u64) -> Vec<i32> {
    let (min, max) = packing.limits(bits, signed);
    let span = (max - min + 1) as u64;
    let draw = |i: usize| match seed % 2 {
        0 => (seed / 2 + i as u64) % span,
        _ => (seed.wrapping_add(i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % span,
    };
    (0..count).map(|i| min + draw(i) as i32).collect()
}

fn field(packing: &Packing, code: i32, bits: u32, signed: bool) -> u32 {
    match (packing.field, signed) {
        (Field::Trit, true) => (code + 1) as u32,
        (Field::Offset, true) => (code + (1 << (bits - 1))) as u32,
        _ => code as u32 & ((1u32 << bits) - 1),
    }
}

#[track_caller]
fn check<C: Code + std::fmt::Debug>(packing: &Packing, rows: usize, columns: usize, bits: u32, seed: u64) {
    let numbers = codes(packing, bits, C::SIGNED, rows * columns, seed);
    let codes: Vec<C> = numbers.iter().map(|&code| C::from_i32(code)).collect();
    let what = format!("{} {bits} {} [{rows}, {columns}] {seed}", packing.name, std::any::type_name::<C>());
    let fields: Vec<u32> = numbers.iter().map(|&code| field(packing, code, bits, C::SIGNED)).collect();
    let packed = packing.pack(&codes, rows, columns, bits).unwrap();
    assert_eq!(packed.len(), packing.bytes(rows, columns, bits), "{what}");
    assert_eq!(packed.len(), packing.shape(rows, columns, bits).iter().product::<usize>() * packing.unit);
    assert!(packed == reference(packing, &fields, rows, columns, bits), "{what}");
    assert!(packing.unpack::<C>(&packed, rows, columns, bits).unwrap() == codes, "{what}");
    // Nothing depends on what was there before.
    let mut used = vec![0xa5; packed.len()];
    packing.pack_into(&codes, rows, columns, bits, &mut used).unwrap();
    assert!(used == packed, "{what}");
}

fn all_types(packing: &Packing, rows: usize, columns: usize, bits: u32, seed: u64) {
    check::<i32>(packing, rows, columns, bits, seed);
    check::<i16>(packing, rows, columns, bits, seed);
    check::<u16>(packing, rows, columns, bits, seed);
    if bits <= 8 {
        check::<i8>(packing, rows, columns, bits, seed);
        check::<u8>(packing, rows, columns, bits, seed);
    }
}

/// Columns that the layout takes.
fn legal(packing: &Packing, columns: usize) -> usize {
    if packing.filled { columns } else { columns.next_multiple_of(4) }
}

#[test]
fn every_code_of_every_width_survives() {
    for packing in PACKINGS {
        for &bits in packing.widths {
            // Each row begins at another place of a group of eight.
            let count = (1usize << bits) + 1;
            match bits <= 8 {
                true => all_types(packing, 8, legal(packing, count), bits, 0),
                false => all_types(packing, 1, count, bits, 0),
            }
        }
    }
}

#[test]
fn every_length_survives() {
    for packing in PACKINGS {
        for &bits in packing.widths {
            for columns in 0..20 {
                all_types(packing, 1, legal(packing, columns), bits, 1);
                all_types(packing, 3, legal(packing, columns), bits, 2);
            }
        }
    }
}

/// Several tasks, whole and cut: one long row, many short ones, with and without padding between them.
#[test]
fn large_tensors_are_packed_in_parts() {
    for packing in PACKINGS {
        for &bits in packing.widths.iter().filter(|bits| [2, 3, 8, 11].contains(*bits)) {
            for (rows, columns) in [(1, 140_004), (70_000, 1), (70, 1000), (256, 512)] {
                check::<i16>(packing, rows, legal(packing, columns), bits, 3);
            }
        }
    }
}

#[test]
fn names_are_found() {
    for packing in PACKINGS {
        assert_eq!(Packing::named(packing.name), Some(packing));
    }
    assert_eq!(Packing::named("onxn"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn random_codes_survive(
        which in 0..PACKINGS.len(),
        width in any::<prop::sample::Index>(),
        rows in 0usize..40,
        columns in 0usize..100,
        seed in any::<u64>(),
    ) {
        let packing = &PACKINGS[which];
        let bits = packing.widths[width.index(packing.widths.len())];
        all_types(packing, rows, legal(packing, columns), bits, seed);
    }

    #[test]
    fn any_bytes_are_codes_of_their_width(bytes in prop::collection::vec(any::<u8>(), 0..200), bits in 1u32..=16) {
        let columns = bytes.len() * 8 / bits as usize;
        if CANONICAL.bytes(1, columns, bits) == bytes.len() {
            let codes: Vec<i16> = CANONICAL.unpack(&bytes, 1, columns, bits).unwrap();
            let (min, max) = CANONICAL.limits(bits, true);
            prop_assert!(codes.iter().all(|&code| (min..=max).contains(&code.into())));
            let again = CANONICAL.pack(&codes, 1, columns, bits).unwrap();
            // But for the bits behind the last code.
            let whole = columns * bits as usize / 8;
            prop_assert_eq!(&again[..whole], &bytes[..whole]);
        }
    }
}
