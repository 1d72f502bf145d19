//! Blocks of small floats or integers under a scale of 8 bits: OCP's MX formats and NVIDIA's NVFP4.

use super::blocked::Blocks;
use super::element::{Fixed, FixedDecoder, MX, Powers, ScaleTable, Scaled, ScaledTwice};
use super::float::{E2M1FN, E2M3FN, E3M2FN, E4M3FN, E5M2, E8M0FNU, UE4M3, exp2};
use super::limits::{Limits, NV, SmallFloats};
use super::near::Near;
use super::numerics::OCP;
use super::parallel::{self, Watch, Wrong};
use super::{Float, FloatRounder, IntRounder, NanCode, Overflow, Rounding, Rule, Unsigned, Zeroless};

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
    Block { name, len: MX, element, scale: BlockScale::PowerOfTwo }
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
    len: NV,
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

/// Codes, codes of scales, and the global scale of a tensor with rows of `columns` values.
pub(crate) struct Blocked {
    pub(crate) codes: Vec<u8>,
    pub(crate) scales: Vec<u8>,
    pub(crate) global: Option<f32>,
}

impl Block {
    /// Quantizes, unless a value is NaN, or with a global scale infinite; both do no harm if the scale is a power of two.
    pub(crate) fn quantize(&self, values: &[f32], columns: usize) -> Result<Blocked, Wrong> {
        let blocks = Blocks { columns, len: self.len };
        match self.scale {
            BlockScale::PowerOfTwo => {
                let (codes, scales) = self.powers(values, blocks);
                Ok(Blocked { codes, scales, global: None })
            }
            BlockScale::Ue4m3 { global } => {
                let most = parallel::largest(values);
                let factor = if global { self.global(most?) } else { 1.0 };
                let (codes, scales) = self.small_floats(values, blocks, factor)?;
                Ok(Blocked { codes, scales, global: global.then_some(factor) })
            }
        }
    }

    /// Codes and scales of [`BlockScale::PowerOfTwo`].
    fn powers(&self, values: &[f32], blocks: Blocks) -> (Vec<u8>, Vec<u8>) {
        match self.element {
            Element::Float(float) => {
                let rule = OCP.rule(float.name).unwrap_or(&SATURATING);
                let (rounder, nan) = (FloatRounder::new(float, rule), float.nan_code().unwrap_or(0) as u8);
                let largest = self.element.largest_exponent();
                match rounder.near() {
                    Some(rounder) => blocks.encode(values, &Powers { largest, nan, rounder }),
                    None => blocks.encode(values, &Powers { largest, nan, rounder }),
                }
            }
            Element::Fixed { bits, fraction } => {
                let most = (1 << (bits - 1)) - 1;
                let rounder = IntRounder::between(-most, most, Rounding::NearestEven);
                let rounder = Fixed { rounder, one: exp2(fraction as i32) as f32 };
                blocks.encode(values, &Powers { largest: self.element.largest_exponent(), nan: 0, rounder })
            }
        }
    }

    /// Codes and scales of [`BlockScale::Ue4m3`] with a global scale of `factor`.
    fn small_floats(&self, values: &[f32], blocks: Blocks, factor: f32) -> Result<(Vec<u8>, Vec<u8>), Wrong> {
        let coder = SmallFloats {
            rounder: Near::new(&UE4M3, UE4M3.largest_code()),
            factor,
            most: self.element.max(),
            limits: Limits::new(factor),
            watch: Watch::default(),
        };
        let done = blocks.encode(values, &coder);
        coder.watch.finish(done)
    }

    /// Values of codes: element · 2^scale, or element · scale / global.
    pub(crate) fn dequantize(
        &self,
        codes: &[u8],
        scales: &[u8],
        columns: usize,
        global: Option<f32>,
    ) -> Vec<f32> {
        let scale_format = match self.scale {
            BlockScale::PowerOfTwo => &E8M0FNU,
            BlockScale::Ue4m3 { .. } => &UE4M3,
        };
        let (table, blocks) = (scale_format.table(), Blocks { columns, len: self.len });
        let scales = ScaleTable { codes: scales, table: &table };
        match (self.element, global) {
            (Element::Float(float), None) => {
                let element = float.decoder();
                blocks.decode(codes, &Scaled { scales, element })
            }
            (Element::Float(float), Some(global)) => {
                let element = float.decoder();
                blocks.decode(codes, &ScaledTwice { scaled: Scaled { scales, element }, global })
            }
            (Element::Fixed { fraction, .. }, _) => {
                let element = FixedDecoder { unit: self.element.unit(fraction) };
                blocks.decode(codes, &Scaled { scales, element })
            }
        }
    }

    /// 448 · 6 / amax, a finite number; 1 for zeros.
    fn global(&self, most: f32) -> f32 {
        let wanted = UE4M3.max() * self.element.max();
        if most == 0.0 { 1.0 } else { (wanted / most).min(f32::MAX) }
    }
}
