//! Blocks of small floats or integers under a scale of 8 bits: OCP's MX formats and NVIDIA's NVFP4.

use super::codebook::largest;
use super::float::{E2M1FN, E2M3FN, E3M2FN, E4M3FN, E5M2, E8M0FNU, UE4M3, exp2};
use super::numerics::OCP;
use super::parallel::{self, Blocks};
use super::{Float, FloatRounder, IntRounder, NanCode, Overflow, Rounding, Rule, Unsigned, Zeroless, to_odd};

/// A block format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    /// Name.
    pub name: &'static str,
    /// Values that share a scale.
    pub len: usize,
    /// Codes of values.
    pub element: Element,
    /// The scale.
    pub scale: BlockScale,
}

/// What the codes of a block mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// A float.
    Float(&'static Float),
    /// An integer of `bits` bits times 2^−`fraction`, with as many negative codes as positive ones.
    Fixed {
        /// Bits of a code.
        bits: u32,
        /// Digits after the point.
        fraction: u32,
    },
}

/// How a block finds its scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockScale {
    /// e8m0: 2^(floor(log2(amax)) − floor(log2(largest element))). A NaN makes the block NaN.
    PowerOfTwo,
    /// ue4m3: global · amax / largest element, to nearest even; values are code · scale / global.
    Ue4m3 {
        /// Whether global is 448 · 6 / amax of the tensor, else 1.
        global: bool,
    },
}

const fn mx(name: &'static str, element: Element) -> Block {
    Block { name, len: 32, element, scale: BlockScale::PowerOfTwo }
}

/// The block formats.
///
/// Sources: OCP Microscaling Formats (MX) 1.0; NVIDIA's NVFP4 as compressed-tensors stores it.
pub const BLOCKS: &[Block] = &[
    mx("mxfp8_e4m3", Element::Float(&E4M3FN)),
    mx("mxfp8_e5m2", Element::Float(&E5M2)),
    mx("mxfp6_e2m3", Element::Float(&E2M3FN)),
    mx("mxfp6_e3m2", Element::Float(&E3M2FN)),
    mx("mxfp4", Element::Float(&E2M1FN)),
    mx("mxint8", Element::Fixed { bits: 8, fraction: 6 }),
    Block { name: "nvfp4", ..NVFP4_ALONE },
    Block { name: "nvfp4 global=none", scale: BlockScale::Ue4m3 { global: false }, ..NVFP4_ALONE },
];

const NVFP4_ALONE: Block = Block {
    name: "nvfp4",
    len: 16,
    element: Element::Float(&E2M1FN),
    scale: BlockScale::Ue4m3 { global: true },
};

impl Block {
    /// Element, block and scale.
    pub(crate) fn about(&self) -> String {
        let max = self.element.max();
        let element = match self.element {
            Element::Float(float) => float.name.to_owned(),
            Element::Fixed { bits, fraction } => format!("int{bits} times {:?}", self.element.unit(fraction)),
        };
        let scale = match self.scale {
            BlockScale::PowerOfTwo => "an e8m0fnu scale, which may be NaN",
            BlockScale::Ue4m3 { global: true } => "a ue4m3 scale and an f32 scale of the tensor; no NaN",
            BlockScale::Ue4m3 { global: false } => "a ue4m3 scale; no NaN",
        };
        format!("{:?} ..= {max:?} in {element}; {} values share {scale}", -max, self.len)
    }
}

impl Element {
    /// Bits of a code.
    pub const fn bits(&self) -> u32 {
        match self {
            Self::Float(float) => float.bits(),
            Self::Fixed { bits, .. } => *bits,
        }
    }

    /// Largest value.
    pub fn max(&self) -> f32 {
        match self {
            Self::Float(float) => float.max(),
            Self::Fixed { bits, fraction } => (exp2(*bits as i32 - 1) - 1.0) as f32 * self.unit(*fraction),
        }
    }

    fn unit(&self, fraction: u32) -> f32 {
        exp2(-(fraction as i32)) as f32
    }

    /// floor(log2(max)).
    pub const fn largest_exponent(&self) -> i32 {
        match self {
            Self::Float(float) => float.largest_exponent(),
            Self::Fixed { bits, fraction } => *bits as i32 - 2 - *fraction as i32,
        }
    }

    /// Value of every code, as a byte holds it.
    pub fn table(&self) -> Vec<f32> {
        match self {
            Self::Float(float) => float.table(),
            Self::Fixed { fraction, .. } => {
                (0..=255u8).map(|code| f32::from(code as i8) * self.unit(*fraction)).collect()
            }
        }
    }
}

/// Elements and scales of blocks saturate, whatever they are.
pub(crate) const SATURATING: Rule = Rule {
    format: "",
    rounding: Rounding::NearestEven,
    overflow: Overflow::Saturate,
    nan: NanCode::Quiet,
    unsigned: Unsigned::Nan,
    zeroless: Zeroless::Nan,
};

/// Rounds elements to codes, one a byte.
#[derive(Clone, Copy)]
enum ElementRounder {
    Float(FloatRounder),
    Fixed { rounder: IntRounder, one: f32 },
}

impl ElementRounder {
    fn new(element: Element) -> Self {
        match element {
            Element::Float(float) => {
                let rule = OCP.rule(float.name).unwrap_or(&SATURATING);
                Self::Float(FloatRounder::new(float, rule))
            }
            Element::Fixed { bits, fraction } => {
                let most = (1 << (bits - 1)) - 1;
                let rounder = IntRounder::between(-most, most, Rounding::NearestEven);
                Self::Fixed { rounder, one: exp2(fraction as i32) as f32 }
            }
        }
    }

    /// Codes of `f(x)`.
    fn fill(self, values: &[f32], codes: &mut [u8], f: impl Fn(f32) -> f32) {
        match self {
            Self::Float(rounder) => {
                let rounder = rounder.with_rounding(Rounding::NearestEven);
                codes.iter_mut().zip(values).for_each(|(code, &x)| *code = rounder.code(f(x), 0) as u8);
            }
            Self::Fixed { rounder, one } => {
                codes.iter_mut().zip(values).for_each(|(code, &x)| *code = rounder.code(f(x) * one, 0) as u8);
            }
        }
    }
}

/// Codes, codes of scales, values and the global scale of a tensor with rows of `columns` values.
pub(crate) struct Blocked {
    pub(crate) codes: Vec<u8>,
    pub(crate) scales: Vec<u8>,
    pub(crate) decoded: Vec<f32>,
    pub(crate) global: Option<f32>,
}

impl Block {
    /// Quantizes. Values are not NaN, and with a global scale not infinite, unless the scale is a power of two.
    pub(crate) fn quantize(&self, values: &[f32], columns: usize) -> Blocked {
        let blocks = Blocks { columns, len: self.len };
        let mut codes = vec![0u8; values.len()];
        let mut scales = vec![0u8; values.len().checked_div(columns).unwrap_or(0) * blocks.per_row()];
        let rounder = ElementRounder::new(self.element);
        let global = match self.scale {
            BlockScale::PowerOfTwo => {
                let nan = match self.element {
                    Element::Float(float) => float.nan_code().unwrap_or(0) as u8,
                    Element::Fixed { .. } => 0,
                };
                blocks.each(values, (&mut codes, 0), &mut scales, |values, codes, scale| {
                    *scale = self.power(values);
                    match inverse_power(*scale) {
                        Some(inverse) => rounder.fill(values, codes, |x| x * inverse),
                        None => codes.fill(nan),
                    }
                });
                None
            }
            BlockScale::Ue4m3 { global } => {
                let factor = if global { self.global(values) } else { 1.0 };
                let of_scale = FloatRounder::new(&UE4M3, &SATURATING);
                let most = self.element.max();
                blocks.each(values, (&mut codes, 0), &mut scales, |values, codes, scale| {
                    let code = of_scale.code(factor * largest(values) / most, 0);
                    *scale = code as u8;
                    let stored = f64::from(UE4M3.decode(code));
                    if stored > 0.0 {
                        // The product is exact and the quotient's f64 rounding crosses no tie, so that the code is the
                        // nearest one for the stored scales, not for a product of them that was rounded before.
                        let steps = |x: f32| to_odd(f64::from(x) * f64::from(factor) / stored);
                        rounder.fill(values, codes, steps);
                    }
                });
                global.then_some(factor)
            }
        };
        let decoded = self.dequantize(&codes, &scales, columns, global);
        Blocked { codes, scales, decoded, global }
    }

    /// Values of codes: element · 2^scale, or element · scale / global.
    pub(crate) fn dequantize(
        &self,
        codes: &[u8],
        scales: &[u8],
        columns: usize,
        global: Option<f32>,
    ) -> Vec<f32> {
        let table = self.element.table();
        let scale_format = match self.scale {
            BlockScale::PowerOfTwo => &E8M0FNU,
            BlockScale::Ue4m3 { .. } => &UE4M3,
        };
        let scale_table = scale_format.table();
        let per_row = columns.div_ceil(self.len);
        let global = global.unwrap_or(1.0);
        let value = |index: usize, code: u8| {
            let block = index / columns * per_row + index % columns / self.len;
            let product =
                table[usize::from(code) & (table.len() - 1)] * scale_table[usize::from(scales[block])];
            if global == 1.0 { product } else { product / global }
        };
        parallel::map_bytes(codes, value)
    }

    /// Code of the power of two of a block.
    fn power(&self, values: &[f32]) -> u8 {
        if values.iter().fold(false, |found, x| found | x.is_nan()) {
            return u8::MAX;
        }
        // Below the normal numbers the exponent is smaller still, and the scale the smallest either way.
        let exponent = (largest(values).to_bits() >> 23) as i32 - 127;
        ((exponent - self.element.largest_exponent()).clamp(-127, 127) + 127) as u8
    }

    /// 448 · 6 / amax, a finite number; 1 for zeros.
    fn global(&self, values: &[f32]) -> f32 {
        let most = parallel::largest(values);
        let wanted = UE4M3.max() * self.element.max();
        if most == 0.0 { 1.0 } else { (wanted / most).min(f32::MAX) }
    }
}

/// 2^−e of the power's code, none for NaN. Multiplying by it is as exact as dividing by the power.
fn inverse_power(code: u8) -> Option<f32> {
    (code != u8::MAX).then(|| exp2(127 - i32::from(code)) as f32)
}
