//! The names that recipes may use, as a value that is passed in.
//!
//! `Registry::builtin()` knows what this workspace ships; a program of one's own adds to it and hands it to
//! `kd_cli::main_with`. Nothing registers itself: who knows what is to be read in one line of `main`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

use burn::tensor::Device;
use kd_core::loss::Scheduled;
use kd_core::{DistillLoss, Progress, Schedule, Temperature};
use kd_datasets::{Csv, Dataset, Digits, FashionMnist, Folders, Form, Idx, Mnist, WordnetGlosses};
use quant_core::number::Number;
use quant_core::{OBSERVERS, SEARCHES};
use serde::{Serialize, de::DeserializeOwned};
use toml::Spanned;
use toml::de::DeValue;

use crate::estimator::ESTIMATORS;
use crate::model::{Model, Task};
use crate::models::{ConvNet, DsCnn, Mlp, ResNet, Transformer};
use crate::network::{Built, Network};
use crate::problem::Problem;
use crate::recipe::OptimizerSpec;

/// A model as a recipe configures it; builds networks.
pub trait ModelSpec: Debug + Send + Sync {
    /// Its registered name.
    fn name(&self) -> &'static str;

    /// Builds it on a device; weights are drawn from the device's stream.
    ///
    /// # Errors
    ///
    /// What [`Model::build`] says.
    fn build(&self, task: &Task, device: &Device) -> Result<Box<dyn Network>, String>;

    /// What [`Model::vocabulary`] says.
    fn vocabulary(&self) -> Option<usize>;

    /// Its configuration with every default.
    fn resolved(&self) -> toml::Value;
}

/// A data set as a recipe configures it.
pub trait DataSource: Debug + Send + Sync {
    /// Training examples set aside to choose an epoch.
    fn validation(&self) -> usize;

    /// Its configuration with every default.
    fn resolved(&self) -> toml::Value;

    /// What an example is and how many classes there are, where that is known before anything is read.
    fn form(&self) -> Option<Form>;

    /// Reads, checks and returns the data.
    ///
    /// # Errors
    ///
    /// What is missing or wrong, with the file and what helps.
    fn load(&self, folders: &Folders) -> Result<Dataset, kd_datasets::Error>;
}

/// A name with what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// As recipes write it.
    pub name: String,
    /// One line.
    pub about: String,
    /// Its keys with their defaults.
    pub knobs: String,
}

/// A loss, and its knobs with every default.
type ReadLoss = (Box<dyn DistillLoss>, toml::Value);

type Read<T> = fn(&'static str, Spanned<DeValue<'_>>) -> Result<T, Box<Problem>>;

struct Entry<T> {
    read: Read<T>,
    about: &'static str,
    place: &'static Location<'static>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { read: self.read, about: self.about, place: self.place }
    }
}

/// Models, losses and data sets by name.
#[derive(Clone)]
pub struct Registry {
    models: BTreeMap<&'static str, Entry<Arc<dyn ModelSpec>>>,
    losses: BTreeMap<&'static str, Entry<ReadLoss>>,
    data: BTreeMap<&'static str, Entry<Arc<dyn DataSource>>>,
}

impl Registry {
    /// What this workspace ships.
    pub fn builtin() -> Self {
        let empty = Self { models: BTreeMap::new(), losses: BTreeMap::new(), data: BTreeMap::new() };
        let mut all = empty
            .model::<Mlp>("mlp")
            .model::<ConvNet>("convnet")
            .model::<ResNet>("resnet")
            .model::<DsCnn>("ds-cnn")
            .model::<Transformer>("transformer")
            .data::<Mnist>("mnist", kd_datasets::MNIST.about)
            .data::<FashionMnist>("fashion-mnist", kd_datasets::FASHION_MNIST.about)
            .data::<Digits>("digits", kd_datasets::DIGITS.about)
            .data::<WordnetGlosses>("wordnet-glosses", kd_datasets::WORDNET_GLOSSES.about)
            .data::<Idx>("idx", "your own files in MNIST's format, plain or gzip")
            .data::<Csv>("csv", "your own comma-separated tables, plain or gzip");
        kd_core::loss::register(&mut all);
        all
    }

    /// Adds a model. A name of one's own carries a dot: `acme.net`.
    ///
    /// # Panics
    ///
    /// If the name is taken; the message names both places.
    #[track_caller]
    #[must_use]
    pub fn model<M: Model>(mut self, name: &'static str) -> Self {
        insert(&mut self.models, "model", name, read_model::<M>, M::ABOUT);
        self
    }

    /// Adds a loss; its knobs are the fields that serde reads.
    ///
    /// # Panics
    ///
    /// If the name is taken; the message names both places.
    #[track_caller]
    #[must_use]
    pub fn loss<L>(mut self, name: &'static str, about: &'static str) -> Self
    where
        L: DistillLoss + DeserializeOwned + Serialize + 'static,
    {
        insert(&mut self.losses, "loss", name, read_loss::<L>, about);
        self
    }

    /// Adds a data set; its knobs are the fields that serde reads. `batch` and `augment` belong to every
    /// data table and are read apart from them.
    ///
    /// # Panics
    ///
    /// If the name is taken; the message names both places.
    #[track_caller]
    #[must_use]
    pub fn data<D>(mut self, name: &'static str, about: &'static str) -> Self
    where
        D: kd_datasets::Source + DeserializeOwned + Serialize + 'static,
    {
        insert(&mut self.data, "data set", name, read_data::<D>, about);
        self
    }

    /// Reads a model's configuration; none if nothing has that name.
    pub(crate) fn read_model(
        &self,
        name: &str,
        value: Spanned<DeValue<'_>>,
    ) -> Option<Result<Arc<dyn ModelSpec>, Box<Problem>>> {
        let (name, entry) = self.models.get_key_value(name)?;
        Some((entry.read)(name, value))
    }

    /// Reads a loss's knobs; none if nothing has that name.
    pub(crate) fn read_loss(
        &self,
        name: &str,
        value: Spanned<DeValue<'_>>,
    ) -> Option<Result<ReadLoss, Box<Problem>>> {
        let (name, entry) = self.losses.get_key_value(name)?;
        Some((entry.read)(name, value))
    }

    /// Reads a data set's knobs; none if nothing has that name.
    pub(crate) fn read_data(
        &self,
        name: &str,
        value: Spanned<DeValue<'_>>,
    ) -> Option<Result<Arc<dyn DataSource>, Box<Problem>>> {
        let (name, entry) = self.data.get_key_value(name)?;
        Some((entry.read)(name, value))
    }

    /// Models, with one line each.
    pub fn models(&self) -> Vec<Listing> {
        self.models.iter().map(|(name, entry)| listing(name, entry.about, String::new())).collect()
    }

    /// Losses, with their knobs.
    pub fn losses(&self) -> Vec<Listing> {
        let knobs = |name: &str| {
            let row = kd_core::loss::TABLE.iter().find(|row| row.name == name);
            row.map(|row| core_knobs(row.knobs)).unwrap_or_default()
        };
        self.losses.iter().map(|(name, entry)| listing(name, entry.about, knobs(name))).collect()
    }

    /// Data sets, with their own knobs and those that every data table has.
    pub fn datasets(&self) -> Vec<Listing> {
        const SHARED: [(&str, Option<&str>); 2] =
            [("batch", Some("128")), ("augment", Some("{ shift = 0 }"))];
        let knobs = |name: &str| {
            let row = kd_datasets::SOURCES.iter().find(|row| row.name == name);
            let own = row.into_iter().flat_map(|row| row.knobs.iter().map(|knob| (knob.name, knob.default)));
            join(own.chain(SHARED))
        };
        self.data.iter().map(|(name, entry)| listing(name, entry.about, knobs(name))).collect()
    }

    /// Names of data sets.
    pub fn data_names(&self) -> impl Iterator<Item = &'static str> {
        self.data.keys().copied()
    }

    /// Names of models.
    pub fn model_names(&self) -> impl Iterator<Item = &'static str> {
        self.models.keys().copied()
    }

    /// Names of losses.
    pub fn loss_names(&self) -> impl Iterator<Item = &'static str> {
        self.losses.keys().copied()
    }

    /// Observers.
    pub fn observers(&self) -> Vec<Listing> {
        OBSERVERS.iter().chain(SEARCHES).map(|row| listing(row.name, row.about, row.knobs.into())).collect()
    }

    /// Estimators of gradients through rounding.
    pub fn estimators(&self) -> Vec<Listing> {
        ESTIMATORS.iter().map(|row| listing(row.name, row.about, row.takes.into())).collect()
    }

    /// Number formats.
    pub fn formats(&self) -> Vec<Listing> {
        let row = |number: Number| listing(number.name(), &number.to_string(), String::new());
        Number::all().map(row).collect()
    }

    /// Criteria of pruning.
    pub fn criteria(&self) -> Vec<Listing> {
        let rows = prune_core::TABLE.iter();
        rows.map(|row| {
            let knobs = row.knobs.iter().map(|knob| format!("{} = {}", knob.name, knob.values));
            listing(row.name, row.summary, knobs.collect::<Vec<_>>().join(", "))
        })
        .collect()
    }

    /// Patterns of stages that sparsify and of those that prune.
    pub fn patterns(&self) -> Vec<Listing> {
        let rows = crate::patterns::PATTERNS.iter();
        rows.map(|row| {
            let about = format!("{}: {}", row.stage.name(), row.line);
            listing(row.name, &about, core_knobs(row.knobs))
        })
        .collect()
    }

    /// Schedules.
    pub fn schedules(&self) -> Vec<Listing> {
        let rows = Schedule::NAMES.iter().chain(crate::sparsify::WHENS);
        rows.map(|row| listing(row.name, row.line, core_knobs(row.knobs))).collect()
    }

    /// Optimizers.
    pub fn optimizers(&self) -> Vec<Listing> {
        OptimizerSpec::NAMES
            .iter()
            .map(|(name, about, knobs)| listing(name, about, (*knobs).into()))
            .collect()
    }
}

impl Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("models", &self.models.keys())
            .field("losses", &self.losses.keys())
            .field("data", &self.data.keys())
            .finish()
    }
}

#[track_caller]
fn insert<T>(
    map: &mut BTreeMap<&'static str, Entry<T>>,
    what: &str,
    name: &'static str,
    read: Read<T>,
    about: &'static str,
) {
    let place = Location::caller();
    if let Some(before) = map.insert(name, Entry { read, about, place }) {
        panic!("two {what}s are named `{name}`: one registered at {}, one at {place}", before.place);
    }
}

fn listing(name: &str, about: &str, knobs: String) -> Listing {
    Listing { name: name.into(), about: about.into(), knobs }
}

fn core_knobs(knobs: &[kd_core::Knob]) -> String {
    join(knobs.iter().map(|knob| (knob.name, knob.default)))
}

fn join<'a>(knobs: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let knobs = knobs.map(|(name, default)| match default {
        Some(default) => format!("{name} = {default}"),
        None => name.to_owned(),
    });
    knobs.collect::<Vec<_>>().join(", ")
}

fn read<T: DeserializeOwned + Serialize>(
    value: Spanned<DeValue<'_>>,
) -> Result<(T, toml::Value), Box<Problem>> {
    let value: T = crate::recipe::read_value(value)?;
    let resolved = toml::Value::try_from(&value).expect("what was read from TOML can be written to it");
    Ok((value, resolved))
}

fn read_model<M: Model>(
    name: &'static str,
    value: Spanned<DeValue<'_>>,
) -> Result<Arc<dyn ModelSpec>, Box<Problem>> {
    let (config, resolved) = read::<M::Config>(value)?;
    Ok(Arc::new(Configured::<M> { name, config, resolved, model: PhantomData }))
}

fn read_loss<L: DistillLoss + DeserializeOwned + Serialize + 'static>(
    _: &'static str,
    value: Spanned<DeValue<'_>>,
) -> Result<ReadLoss, Box<Problem>> {
    if let Some(schedule) = scheduled_temperature(&value) {
        return read_scheduled::<L>(value, schedule);
    }
    let (loss, resolved) = read::<L>(value)?;
    Ok((Box::new(loss), resolved))
}

/// The value of `temperature` where it is a schedule: a table.
fn scheduled_temperature<'a>(value: &Spanned<DeValue<'a>>) -> Option<Spanned<DeValue<'a>>> {
    let temperature = value.get_ref().as_table()?.get("temperature")?;
    temperature.get_ref().is_table().then(|| temperature.clone())
}

/// A loss whose temperature follows a schedule: `kl = { temperature.linear = { from = 8.0, to = 1.0 } }`.
fn read_scheduled<L: DistillLoss + DeserializeOwned + Serialize + 'static>(
    value: Spanned<DeValue<'_>>,
    temperature: Spanned<DeValue<'_>>,
) -> Result<ReadLoss, Box<Problem>> {
    let span = temperature.span();
    let schedule: Schedule = crate::recipe::read_value(temperature)?;
    // The knobs with the first temperature in its place, to be read as any others.
    let first = format!("{:?}", schedule.at(Progress::START));
    let mut value = value;
    if let (DeValue::Table(table), Ok(first)) = (value.get_mut(), DeValue::parse(&first))
        && let Some(place) = table.get_mut("temperature")
    {
        *place = first;
    }
    let (_, mut resolved) = read::<L>(value)?;
    let knobs = resolved.clone();
    let make = move |temperature: Temperature| {
        let mut knobs = knobs.clone();
        knobs
            .as_table_mut()
            .expect("knobs are a table")
            .insert("temperature".into(), temperature.get().into());
        L::deserialize(knobs).expect("knobs that were read, at another temperature")
    };
    let written = toml::Value::try_from(&schedule).expect("a schedule is a table");
    let table = resolved.as_table_mut().expect("knobs are a table");
    table.insert("temperature".into(), written);
    let loss = Scheduled::new(schedule, make).map_err(|error| {
        Box::new(Problem::new("recipe::bad-value", error.to_string(), span, "not above 0 everywhere"))
    })?;
    Ok((Box::new(loss), resolved))
}

fn read_data<D: kd_datasets::Source + DeserializeOwned + Serialize + 'static>(
    _: &'static str,
    value: Spanned<DeValue<'_>>,
) -> Result<Arc<dyn DataSource>, Box<Problem>> {
    let (source, resolved) = read::<D>(value)?;
    Ok(Arc::new(Loads { source, resolved }))
}

impl kd_core::loss::Register for Registry {
    fn loss<L: DistillLoss + Serialize + DeserializeOwned + 'static>(
        &mut self,
        name: &'static kd_core::loss::LossName,
    ) {
        insert(&mut self.losses, "loss", name.name, read_loss::<L>, name.line);
    }
}

/// A model's configuration; its type is known here only.
#[derive(Debug)]
struct Configured<M: Model> {
    name: &'static str,
    config: M::Config,
    resolved: toml::Value,
    model: PhantomData<fn() -> M>,
}

impl<M: Model> ModelSpec for Configured<M> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn build(&self, task: &Task, device: &Device) -> Result<Box<dyn Network>, String> {
        Built::<M>::build(self.name, &self.config, task, device)
    }

    fn vocabulary(&self) -> Option<usize> {
        M::vocabulary(&self.config)
    }

    fn resolved(&self) -> toml::Value {
        self.resolved.clone()
    }
}

/// A source of data with its configuration.
#[derive(Debug)]
struct Loads<D> {
    source: D,
    resolved: toml::Value,
}

impl<D: kd_datasets::Source> DataSource for Loads<D> {
    fn validation(&self) -> usize {
        self.source.validation()
    }

    fn form(&self) -> Option<Form> {
        self.source.form()
    }

    fn load(&self, folders: &Folders) -> Result<Dataset, kd_datasets::Error> {
        self.source.load(folders)
    }

    fn resolved(&self) -> toml::Value {
        self.resolved.clone()
    }
}
