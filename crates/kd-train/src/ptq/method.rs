//! What is done to a model, in words: `gptq`, `equalize+adaround+bias`, `awq+lorc=8`.
//!
//! Published methods are of three kinds that go together: some prepare the float model, one rounds, some mend what
//! rounding left. A method is therefore a list joined by `+`, and each paper's name alone means what the paper does,
//! with round-to-nearest where it does not round itself.

use std::fmt;
use std::str::FromStr;

use quant_core::ptq::{AdaRound, Awq, Brecq, Gptq, Hqq, OUTLIER_THRESHOLD, Spqr};

use crate::error::Error;
use crate::problem::nearest;

/// Every word with what it does; in the order in which steps are taken.
pub const METHODS: [(&str, &str); 12] = [
    ("equalize", "layers next to each other share their ranges, through ReLU and pooling; no data"),
    ("smooth", "SmoothQuant: large activations move into weights; smooth=ALPHA [0.5]"),
    ("rtn", "to the nearest code; no data"),
    ("hqq", "a better zero point, not an integer; affine schemes; no data"),
    ("gptq", "codes that make up for each other's errors"),
    ("awq", "finer steps for columns with large inputs, and searched ranges"),
    ("adaround", "up or down, learned from the layer's outputs"),
    (
        "brecq",
        "AdaRound for all layers of a block together, by what the block puts out; brecq=fisher weighs errors by the loss's gradients",
    ),
    ("spqr", "GPTQ that keeps the few weights that it cannot round; spqr=THRESHOLD [0.2]"),
    ("llm-int8", "int8, columns with large inputs kept in floats; llm-int8=THRESHOLD [6]"),
    ("lorc", "a low-rank correction of what is left; lorc=RANK [8]"),
    (
        "bias",
        "biases that restore the mean output; bias=auto (from batch norm where it tells), bias=empirical",
    ),
];

/// Steps before rounding, rounding, steps after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Method {
    /// Cross-layer equalization.
    pub equalize: bool,
    /// SmoothQuant's α.
    pub smooth: Option<f64>,
    /// What finds the codes.
    pub rounding: Rounding,
    /// Rank of the correction.
    pub lorc: Option<usize>,
    /// Where the correction of biases comes from.
    pub bias: Option<BiasSource>,
}

/// What finds the codes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Rounding {
    /// [`quant_core::encode`]; any scheme.
    Rtn,
    /// [`quant_core::ptq::hqq`].
    Hqq(Hqq),
    /// [`quant_core::ptq::gptq`]; rows in which round-to-nearest has the smaller error keep that.
    Gptq(Gptq),
    /// [`quant_core::ptq::awq`]: scales where the layer before takes them, ranges everywhere.
    Awq(Awq),
    /// [`quant_core::ptq::adaround`]; λ here is relative: it is multiplied by round-to-nearest's error per weight.
    AdaRound(AdaRound),
    /// [`quant_core::ptq::brecq`], block by block; λ is relative, as AdaRound's is here.
    Brecq(Brecq, Objective),
    /// [`quant_core::ptq::spqr`].
    Spqr(Spqr),
    /// The integer part of [`quant_core::ptq::Int8Decomposed`], with the columns in floats whose inputs reach this in
    /// the calibration set.
    LlmInt8(f32),
}

/// How errors of a block's outputs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Objective {
    /// Each alike, as in the authors' released commands.
    #[default]
    Squares,
    /// By (1 + |g| / mean |g|)², g the gradient of an example's cross entropy by that output in the float model: the
    /// paper's diagonal Fisher information, with the 1 that its code adds so that examples which the model is sure of
    /// still count, and freed from the loss's unit.
    Fisher,
}

/// Where the correction of a bias comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BiasSource {
    /// Batch norm's shift and weight where the inputs come from one through nothing but ReLU, else the calibration set.
    Auto,
    /// The calibration set.
    Empirical,
}

/// Steps of Adam that `adaround` takes unless told otherwise: a fifth of the paper's, after which layers of small
/// networks change no more.
const ADAROUND_STEPS: usize = 2000;

/// What `brecq` does unless told otherwise: a twentieth of the paper's steps at thirty times its rate. With a relative λ
/// of 1 and a rate of 1e-2, as AdaRound has, bits of small networks are undecided after so few steps, and rounding them
/// then loses what was learned: at 2 bits, λ = 30 leaves 0.5 (MLP), 0.6 (convolutions) and 0.3 (residual) of its error
/// on unseen data.
fn usual_brecq() -> Brecq {
    Brecq { iterations: 1000, learning_rate: 0.03, lambda: 30.0, ..Brecq::default() }
}

impl Method {
    /// Rounding alone.
    pub fn new(rounding: Rounding) -> Self {
        Self { equalize: false, smooth: None, rounding, lorc: None, bias: None }
    }

    /// Whether inputs of layers decide about codes or biases.
    pub fn needs_inputs(&self) -> bool {
        let rounding = !matches!(self.rounding, Rounding::Rtn | Rounding::Hqq(_));
        rounding || self.smooth.is_some() || self.bias.is_some()
    }
}

impl Rounding {
    /// Its word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rtn => "rtn",
            Self::Hqq(_) => "hqq",
            Self::Gptq(_) => "gptq",
            Self::Awq(_) => "awq",
            Self::AdaRound(_) => "adaround",
            Self::Brecq(..) => "brecq",
            Self::Spqr(_) => "spqr",
            Self::LlmInt8(_) => "llm-int8",
        }
    }

    /// The method of this word with its usual knobs.
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "rtn" => Self::Rtn,
            "hqq" => Self::Hqq(Hqq::default()),
            "gptq" => Self::Gptq(Gptq::default()),
            "awq" => Self::Awq(Awq::default()),
            "adaround" => {
                Self::AdaRound(AdaRound { iterations: ADAROUND_STEPS, lambda: 1.0, ..AdaRound::default() })
            }
            "brecq" => Self::Brecq(usual_brecq(), Objective::Squares),
            "spqr" => Self::Spqr(Spqr::default()),
            "llm-int8" => Self::LlmInt8(OUTLIER_THRESHOLD),
            _ => return None,
        })
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |expected: String| Error::QuantizeOption {
            option: "--method".into(),
            expected,
            found: format!("`{text}`"),
        };
        let mut method = Self::new(Rounding::Rtn);
        let (mut seen, mut rounds) = (Vec::new(), None);
        for step in text.split('+').map(str::trim) {
            let (word, value) =
                step.split_once('=').map_or((step, None), |(word, value)| (word, Some(value)));
            if seen.contains(&word) {
                return Err(wrong(format!("`{word}` once")));
            }
            seen.push(word);
            let number = |usual: f64, least: f64, most: f64, expected: &str| -> Result<f64, Error> {
                let Some(value) = value else { return Ok(usual) };
                let number = value.parse::<f64>().ok().filter(|x| *x >= least && *x <= most);
                number.ok_or_else(|| wrong(format!("`{word}={expected}`")))
            };
            match word {
                "equalize" if value.is_none() => method.equalize = true,
                "smooth" => {
                    method.smooth =
                        Some(number(0.5, 0.0, 1.0, "ALPHA` with a number from 0 to 1, as in `smooth=0.5")?)
                }
                "lorc" => {
                    let rank = value.map_or(Ok(8), str::parse::<usize>).ok().filter(|rank| *rank > 0);
                    method.lorc =
                        Some(rank.ok_or_else(|| wrong("`lorc=RANK` with a rank of at least 1".into()))?);
                }
                "bias" => {
                    method.bias = Some(match value {
                        None | Some("auto") => BiasSource::Auto,
                        Some("empirical") => BiasSource::Empirical,
                        Some(_) => return Err(wrong("`bias`, `bias=auto` or `bias=empirical`".into())),
                    });
                }
                _ => {
                    let Some(mut rounding) = Rounding::named(word) else {
                        let words = METHODS.iter().map(|(word, _)| *word);
                        let found = match nearest(word, words.clone()) {
                            Some(nearest) => format!("`{word}`; did you mean `{nearest}`?"),
                            None => format!("`{word}`"),
                        };
                        let words = words.collect::<Vec<_>>().join("`, `");
                        let expected = format!("one of `{words}`, or several joined by `+`");
                        return Err(Error::QuantizeOption { option: "--method".into(), expected, found });
                    };
                    if let Some(other) = rounds.replace(word) {
                        return Err(wrong(format!(
                            "one method that rounds, not both `{other}` and `{word}`"
                        )));
                    }
                    let above = f64::from(f32::MIN_POSITIVE);
                    match &mut rounding {
                        Rounding::Spqr(knobs) => {
                            knobs.threshold = number(
                                knobs.threshold,
                                above,
                                f64::MAX,
                                "THRESHOLD` above 0, as in `spqr=0.2",
                            )?
                        }
                        Rounding::LlmInt8(threshold) => {
                            *threshold = number(
                                f64::from(*threshold),
                                above,
                                f64::from(f32::MAX),
                                "THRESHOLD` above 0, as in `llm-int8=6",
                            )? as f32;
                        }
                        Rounding::Brecq(_, objective) => match value {
                            None => {}
                            Some("fisher") => *objective = Objective::Fisher,
                            Some(_) => return Err(wrong("`brecq` or `brecq=fisher`".into())),
                        },
                        _ if value.is_some() => return Err(wrong(format!("`{word}` without a value"))),
                        _ => {}
                    }
                    method.rounding = rounding;
                }
            }
        }
        Ok(method)
    }
}

impl fmt::Display for Method {
    /// The words, in the order in which steps are taken; knobs that are as usual are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.equalize {
            f.write_str("equalize+")?;
        }
        if let Some(alpha) = self.smooth {
            write!(f, "smooth={alpha}+")?;
        }
        f.write_str(self.rounding.name())?;
        match self.rounding {
            Rounding::Brecq(_, Objective::Fisher) => f.write_str("=fisher")?,
            Rounding::Spqr(knobs) if knobs != Spqr::default() => write!(f, "={}", knobs.threshold)?,
            Rounding::LlmInt8(threshold) if threshold != OUTLIER_THRESHOLD => write!(f, "={threshold}")?,
            _ => {}
        }
        if let Some(rank) = self.lorc {
            write!(f, "+lorc={rank}")?;
        }
        match self.bias {
            None => Ok(()),
            Some(BiasSource::Auto) => f.write_str("+bias"),
            Some(BiasSource::Empirical) => f.write_str("+bias=empirical"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn words_and_methods_are_one_to_one() {
        for (text, again) in [
            ("rtn", "rtn"),
            ("gptq", "gptq"),
            ("bias", "rtn+bias"),
            ("equalize+adaround+bias", "equalize+adaround+bias"),
            ("lorc=4 + awq", "awq+lorc=4"),
            ("smooth", "smooth=0.5+rtn"),
            ("llm-int8=5.5", "llm-int8=5.5"),
            ("spqr", "spqr"),
            ("brecq", "brecq"),
            ("equalize+brecq=fisher", "equalize+brecq=fisher"),
        ] {
            let method: Method = text.parse().unwrap();
            assert_eq!(method.to_string(), again);
            assert_eq!(again.parse::<Method>().unwrap(), method);
        }
        for (word, _) in METHODS {
            word.parse::<Method>().unwrap();
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let refused = |text: &str| text.parse::<Method>().unwrap_err().to_string();
        assert!(refused("gpq").contains("did you mean `gptq`?"), "{}", refused("gpq"));
        assert!(refused("gptq+awq").contains("not both `gptq` and `awq`"));
        assert!(refused("gptq+gptq").contains("once"));
        assert!(refused("smooth=2").contains("from 0 to 1"));
        assert!(refused("lorc=0").contains("rank"));
        assert!(refused("gptq=3").contains("without a value"));
        assert!(refused("brecq=mse").contains("`brecq=fisher`"));
        assert!(refused("equalize=1").contains("one of"));
    }
}
