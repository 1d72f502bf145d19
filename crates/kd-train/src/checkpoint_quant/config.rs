//! `config.json`: what compressed-tensors reads, and beside it what is ours.
//!
//! `quantization_config` lists the layers that the package can load, by name and not by class, so that a checkpoint whose
//! layers differ needs no other form; all others are in its `ignore`. `kd_quantization` says of every quantized weight
//! which scheme, layout, shape and original type it has, which is all that decoding needs.

use std::collections::BTreeMap;
use std::path::Path;

use quant_core::number::Number;
use quant_core::{Granularity, Scheme, Symmetry};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::form::{Form, Layout};
use super::writer::{Planned, files};
use crate::error::Error;

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Config {
    /// For compressed-tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) quantization_config: Option<Package>,
    /// Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kd_quantization: Option<Own>,
}

/// compressed-tensors' part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Package {
    #[serde(default)]
    quant_method: String,
    #[serde(default)]
    format: String,
    #[serde(default)]
    quantization_status: String,
    pub(super) config_groups: BTreeMap<String, Group>,
    #[serde(default)]
    pub(super) ignore: Option<Vec<String>>,
}

/// Layers that are stored alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) targets: Vec<String>,
    pub(super) weights: Option<Arguments>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<String>,
}

/// How weights are quantized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Arguments {
    #[serde(default = "eight")]
    num_bits: u32,
    #[serde(default = "integer")]
    r#type: String,
    #[serde(default = "yes")]
    symmetric: bool,
    #[serde(default)]
    strategy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group_size: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block_structure: Option<[usize; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scale_dtype: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zp_dtype: Option<String>,
}

/// Our part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Own {
    version: u32,
    pub(super) tensors: BTreeMap<String, Stored>,
}

/// How a weight is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) scheme: Scheme,
    pub(super) layout: Layout,
    pub(super) shape: [usize; 2],
    /// The shape of the weight itself where it is no matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tensor_shape: Option<Vec<usize>>,
    /// The type that it had.
    dtype: Dtype,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) float_zero: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) input_scale: bool,
}

fn eight() -> u32 {
    8
}

fn integer() -> String {
    "int".into()
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The name of a weight's layer.
pub(super) fn module(name: &str) -> Option<&str> {
    if name == "weight" { Some("") } else { name.strip_suffix(".weight") }
}

impl Config {
    /// The file of what was planned.
    pub(super) fn of_plan(plan: &BTreeMap<String, Planned>) -> Self {
        let (mut groups, mut ignore): (Vec<Group>, Vec<String>) = (Vec::new(), Vec::new());
        let mut tensors = BTreeMap::new();
        for (name, planned) in plan {
            let layer = module(name).map(str::to_owned);
            match planned {
                Planned::Coded { form, rows, columns, tensor, dtype } => {
                    let Form { scheme, layout, float_zero, input_scale } = *form;
                    let shape = [*rows, *columns];
                    let (tensor_shape, dtype) = (tensor.clone(), *dtype);
                    let stored =
                        Stored { scheme, layout, shape, tensor_shape, dtype, float_zero, input_scale };
                    tensors.insert(name.clone(), stored);
                    let arguments = Arguments::of(form)
                        .filter(|_| form.unloadable(name, *columns, tensor.as_deref()).is_none());
                    match (arguments, layer) {
                        (Some(arguments), Some(layer)) => {
                            let format = Some(layout.name().to_owned());
                            let alike = |group: &&mut Group| {
                                group.format == format && group.weights.as_ref() == Some(&arguments)
                            };
                            match groups.iter_mut().find(alike) {
                                Some(group) => group.targets.push(layer),
                                None => groups.push(Group {
                                    targets: vec![layer],
                                    weights: Some(arguments),
                                    format,
                                }),
                            }
                        }
                        (_, layer) => ignore.extend(layer),
                    }
                }
                Planned::Kept { shape, .. } if shape.len() == 2 => ignore.extend(layer),
                Planned::Kept { .. } => {}
            }
        }
        let mut formats: Vec<_> = groups.iter().filter_map(|group| group.format.clone()).collect();
        formats.sort();
        formats.dedup();
        let config_groups: BTreeMap<_, _> =
            groups.into_iter().enumerate().map(|(index, group)| (format!("group_{index}"), group)).collect();
        let package = Package {
            quant_method: "compressed-tensors".into(),
            format: match formats.as_slice() {
                [format] => format.clone(),
                _ => "mixed-precision".into(),
            },
            quantization_status: "compressed".into(),
            config_groups,
            ignore: Some(ignore),
        };
        Self {
            quantization_config: Some(package).filter(|package| !package.config_groups.is_empty()),
            kd_quantization: Some(Own { version: 1, tensors }),
        }
    }

    /// The description of a model with ours in the place of what it said of quantization.
    pub(super) fn beside(&self, mut model: Map<String, Value>) -> Map<String, Value> {
        model.remove("quantization_config");
        if let Ok(Value::Object(own)) = serde_json::to_value(self) {
            model.extend(own);
        }
        model
    }

    /// Reads the file of a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(files::CONFIG);
        let broken = |reason: String| Error::QuantizedFolder { path: path.clone(), reason };
        let text = std::fs::read(&path).map_err(|error| broken(error.to_string()))?;
        let config: Self = serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        if config == Self::default() {
            return Err(broken("expected `quantization_config` or `kd_quantization`, found neither".into()));
        }
        Ok(config)
    }
}

impl Package {
    /// The arguments for a layer.
    ///
    /// A target or an exception is a layer's name, `re:` and a regular expression that its name begins with, or a class,
    /// which names alone cannot tell: it counts as everything, after all others.
    pub(super) fn arguments(&self, layer: &str) -> Option<&Arguments> {
        let expression = |target: &str| {
            let expression = target.strip_prefix("re:")?;
            regex::Regex::new(&format!("^(?:{expression})")).ok()
        };
        let named = |target: &String| {
            target == layer || expression(target).is_some_and(|expression| expression.is_match(layer))
        };
        if self.ignore.iter().flatten().any(named) {
            return None;
        }
        let groups = || self.config_groups.values();
        let class = |target: &String| !target.starts_with("re:") && !target.contains('.');
        let group = groups().find(|group| group.targets.iter().any(named));
        group.or_else(|| groups().find(|group| group.targets.iter().any(class)))?.weights.as_ref()
    }
}

impl Arguments {
    /// Those of a form, if the package has its layout.
    fn of(form: &Form) -> Option<Self> {
        let scheme = &form.scheme;
        let (strategy, group, block) = match scheme.granularity() {
            Granularity::Tensor => ("tensor", None, None),
            Granularity::Channel | Granularity::Token => ("channel", None, None),
            Granularity::Group(len) => ("group", Some(len as i64), None),
            Granularity::Block(height, width) => ("block", None, Some([height, width])),
            _ => ("group", None, None),
        };
        let plain = Self {
            num_bits: 8,
            r#type: "float".into(),
            symmetric: scheme.symmetry() != Some(Symmetry::Affine),
            strategy: Some(strategy.into()),
            group_size: group,
            block_structure: block,
            scale_dtype: None,
            zp_dtype: None,
        };
        let scaled = |num_bits, group, dtype: &str| Self {
            num_bits,
            group_size: Some(group),
            scale_dtype: Some(dtype.into()),
            zp_dtype: Some(dtype.into()),
            ..plain.clone()
        };
        Some(match (form.layout, scheme.number()) {
            (Layout::PackQuantized | Layout::NaiveQuantized, Number::Int(int)) => {
                Self { num_bits: int.bits, r#type: integer(), ..plain }
            }
            (Layout::NaiveQuantized, _) => plain,
            (Layout::NvFp4, _) => {
                let strategy = if form.global() { "tensor_group" } else { "group" };
                Self { strategy: Some(strategy.into()), ..scaled(4, 16, "torch.float8_e4m3fn") }
            }
            (Layout::MxFp4, _) => scaled(4, 32, "torch.uint8"),
            (Layout::MxFp6, _) => scaled(6, 32, "torch.uint8"),
            (Layout::MxFp8, _) => scaled(8, 32, "torch.uint8"),
            (Layout::Dense | Layout::Own | Layout::PackQuantized, _) => return None,
        })
    }

    /// The scheme of a weight that someone else stored: what is in `quantization_config` and which types its tensors
    /// have.
    pub(super) fn scheme(&self, global: bool, small_scale: bool) -> Result<Scheme, String> {
        let named = |name: String| name.parse::<Scheme>().map_err(|error| error.to_string());
        let group = self.group_size.filter(|size| *size > 0);
        let strategy = self.strategy.as_deref().unwrap_or(match self.group_size {
            None => "tensor",
            Some(-1) => "channel",
            Some(_) => "group",
        });
        let granularity = match (strategy, group, self.block_structure) {
            ("tensor", ..) => "tensor".into(),
            ("channel", ..) => "channel".into(),
            ("group" | "tensor_group", Some(len), _) => format!("group={len}"),
            ("block", _, Some([height, width])) => format!("block={height}x{width}"),
            _ => return Err(format!("the strategy `{strategy}` with these sizes is not known")),
        };
        match (self.r#type.as_str(), self.num_bits, group) {
            ("int", bits @ (1..=8 | 16), _) => {
                let symmetry = if self.symmetric { "symmetric" } else { "affine" };
                named(format!("int{bits} {granularity} {symmetry}"))
            }
            ("float", 4, Some(16)) => named(if global { "nvfp4" } else { "nvfp4 global=none" }.into()),
            ("float", 4, Some(32)) => named("mxfp4".into()),
            ("float", 6, Some(32)) => named("mxfp6_e2m3".into()),
            ("float", 8, Some(32)) if small_scale => named("mxfp8_e4m3".into()),
            ("float", 8, _) => named(format!("e4m3fn {granularity}")),
            (kind, bits, _) => Err(format!("{bits}-bit {kind} weights in this layout are not known")),
        }
    }
}
