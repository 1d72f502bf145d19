//! The command line as types. What clap can refuse never reaches a command.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, RangedU64ValueParser, StringValueParser, TypedValueParser};
use clap::{ArgAction, ArgGroup, Args, ColorChoice, Parser, Subcommand, ValueEnum, ValueHint};

/// Compress a neural network by a recipe, and measure what it cost.
///
/// A recipe names data, a teacher, a student and stages: train, distill, prune, sparsify, quantize, export.
/// `kd init` writes one that runs as it stands.
#[derive(Debug, Parser)]
#[command(
    name = "kd",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// How data is written to standard output.
    #[arg(long, global = true, value_parser = written(), default_value = "text", value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Say nothing but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; twice says everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use color.
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub(crate) color: ColorChoice,
}

/// Form of the data on standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// A number format: under `kd cast` the option means that, and data are for people.
    Number(String),
}

/// Reads the form of data.
fn written() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(["text", "json"])
        .map(|word| if word == "json" { Format::Json } else { Format::Text })
}

/// Reads a number format. It has the type of the global option, whose place it takes.
fn number() -> impl TypedValueParser<Value = Format> {
    StringValueParser::new().map(Format::Number)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a recipe, or go on with a run.
    Train(Train),
    /// Check a recipe and show its plan, or everything that is wrong with it.
    Check(Check),
    /// Show what a recipe's model computes, what it costs, and what could be removed together.
    Graph(Graph),
    /// Measure accuracy and loss on test data.
    Eval(Eval),
    /// Write the artifacts of a stage.
    Export(Export),
    /// Show runs side by side.
    Report(Report),
    /// Write a commented recipe to start from.
    Init(Init),
    /// List the names that recipes and options may use.
    List(List),
    /// Say more about a problem, a loss, a criterion or a schedule.
    Explain(Explain),
    /// Write shell completions.
    Completions(Completions),
    /// List, fetch and verify data sets.
    Data(Data),
    /// Compute a loss on saved tensors.
    Loss(Loss),
    /// Print the values of a schedule.
    Schedule(Schedule),
    /// Compute a criterion of pruning on saved tensors.
    Prune(Prune),
    /// Cast saved tensors to a number format.
    Cast(Cast),
    /// Quantize the weights of a checkpoint.
    Quantize(Quantize),
    /// Turn a quantized checkpoint back into floats.
    Dequantize(Dequantize),
    /// Write a pruned model with shared weights in as few bytes as it needs.
    Pack(Pack),
    /// Turn a packed model back into safetensors.
    Unpack(Unpack),
}

/// `kd train`
#[derive(Debug, Args)]
#[command(
    after_help = "Results are in runs/NAME, or in DIR: report.md, summary.json, export/. Ctrl-C saves and stops.\n\
    Exit codes: 0 done, 1 a gate of [expect] missed, 2 wrong request, 3 failed or interrupted."
)]
pub(crate) struct Train {
    /// The recipe, a TOML file.
    #[arg(required_unless_present = "resume", value_hint = ValueHint::FilePath)]
    pub(crate) recipe: Option<PathBuf>,
    /// Go on with the run in DIR; on a finished one, print its report.
    #[arg(
        long,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        conflicts_with_all = ["recipe", "run_dir", "set", "device", "seeds", "threads"],
    )]
    pub(crate) resume: Option<PathBuf>,
    /// Where results go, a folder that is not there yet [default: runs/NAME].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) run_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// Where to run: see `kd list devices`.
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Repeat with N seeds, counted up from the recipe's, and report mean and spread.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub(crate) seeds: Option<usize>,
    /// Threads of the CPU backend [default: the recipe's, or all].
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(crate) threads: Option<usize>,
}

/// What replaces keys of a recipe.
#[derive(Debug, Clone, Args)]
pub(crate) struct Overrides {
    /// Replace a key of the recipe: `seed=7`, `stage.distill.distill.epochs=2`. The value is TOML, or else a string.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// `kd check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The recipe, a TOML file.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) recipe: PathBuf,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// `kd graph`
#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// The recipe, a TOML file.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) recipe: PathBuf,
    /// Whose model.
    #[arg(long, value_enum, default_value_t = RoleName::Student)]
    pub(crate) of: RoleName,
    /// A picture in place of text.
    #[arg(long, value_enum)]
    pub(crate) draw: Option<Draw>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// One of a recipe's models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// The one that is learned from.
    Teacher,
    /// The one that is compressed.
    Student,
}

/// A picture's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Draw {
    /// For Graphviz.
    Dot,
    /// For a browser.
    Svg,
}

/// `kd eval`
#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// A run, a stage's folder in it, or an ONNX file.
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) target: PathBuf,
    /// Data to measure on [default: the run's].
    #[arg(long, value_name = "NAME")]
    pub(crate) data: Option<String>,
    /// What runs the model [default: burn for a run or a stage, tract for an ONNX file].
    #[arg(long, value_enum)]
    pub(crate) engine: Option<EngineName>,
}

/// What can run a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// The framework that trained it.
    Burn,
    /// Built in.
    Tract,
    /// Found on this machine, if it is there.
    Onnxruntime,
}

/// `kd export`
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A run.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run: PathBuf,
    /// Which stage [default: the last].
    #[arg(long, value_name = "NAME")]
    pub(crate) stage: Option<String>,
    /// Folder to write to; nothing in it is overwritten.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
    /// What codes of weights are stored in: 8-bit integers, which engines compute with, or ONNX's narrowest types.
    #[arg(long, value_enum, default_value_t = ContainerName::Int8)]
    pub(crate) weights_container: ContainerName,
}

/// What an ONNX file stores codes of weights in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ContainerName {
    /// Integers of 8 bits; weights under other schemes are floats.
    Int8,
    /// The narrowest of (u)int2, (u)int4, (u)int8 and 8-bit floats; smaller files, computed in floats.
    Packed,
}

/// `kd report`
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Finished runs.
    #[arg(required = true, value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub(crate) runs: Vec<PathBuf>,
}

/// `kd init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Name of the recipe; NAME.toml is written.
    #[arg(default_value = "recipe")]
    pub(crate) name: String,
}

/// `kd list`
#[derive(Debug, Args)]
pub(crate) struct List {
    /// What to list.
    #[arg(value_enum)]
    pub(crate) kind: ListKind,
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListKind {
    /// What a teacher or student can be.
    Models,
    /// Terms of an objective.
    Losses,
    /// What finds the ranges of activations.
    Observers,
    /// What trains through rounding.
    Estimators,
    /// Number formats.
    Formats,
    /// What decides which weights stay.
    Criteria,
    /// What a stage that sparsifies or prunes removes.
    Patterns,
    /// What a recipe can learn from.
    Datasets,
    /// Where to run.
    Devices,
    /// What runs exported models.
    Engines,
    /// Values over a stage.
    Schedules,
    /// What turns gradients into steps.
    Optimizers,
    /// Problems that `kd explain` knows.
    Codes,
}

/// `kd explain`
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Code of a problem, as its message begins: `recipe::unknown-loss`; a loss: `loss.kl`; a criterion:
    /// `criterion.wanda`; a schedule: `schedule.cubic`; or a pattern: `pattern.n-m`.
    pub(crate) code: String,
}

/// `kd completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `kd loss`
#[derive(Debug, Args)]
pub(crate) struct Loss {
    #[command(subcommand)]
    pub(crate) command: LossCommand,
}

/// What to do with a loss.
#[derive(Debug, Subcommand)]
pub(crate) enum LossCommand {
    /// Value and gradients of one loss on tensors of a safetensors file.
    #[command(after_help = "\
        Reads student.logits, teacher.logits, targets, mask, student.SITE, teacher.SITE, teacher.K.logits and \
        connector.NAME; `kd explain loss.NAME` says which. Writes value, and grad.NAME for each student.NAME and \
        connector.NAME, in that input's precision.")]
    Eval(LossEval),
}

/// `kd loss eval`
#[derive(Debug, Args)]
pub(crate) struct LossEval {
    /// The loss as a recipe writes it: `kl = { temperature = 4.0 }`, or its name alone.
    #[arg(long, value_name = "LOSS")]
    pub(crate) loss: String,
    /// The tensors, a safetensors file.
    #[arg(long = "in", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    /// Where value and gradients go; an older file is replaced.
    #[arg(long = "out", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// What joins the student's features to the teacher's: `identity`, or a safetensors file with `connector.weight`
    /// and `connector.bias` of a linear layer or a convolution as PyTorch lays them out.
    #[arg(long, value_name = "identity|FILE", default_value = "identity")]
    pub(crate) connector: String,
}

/// `kd schedule`
#[derive(Debug, Args)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    pub(crate) command: ScheduleCommand,
}

/// What to do with a schedule.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// One value a line, at t = i/(N - 1) for the i-th of N steps; each the shortest text that reads back exactly.
    Eval(ScheduleEval),
}

/// `kd schedule eval`
#[derive(Debug, Args)]
pub(crate) struct ScheduleEval {
    /// The schedule as a recipe writes it: `cubic = { from = 0.0, to = 0.9 }`; see `kd list schedules`.
    #[arg(value_name = "SCHEDULE", allow_negative_numbers = true)]
    pub(crate) schedule: String,
    /// How many values to print.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000_000))]
    pub(crate) steps: usize,
}

/// `kd prune`
#[derive(Debug, Args)]
pub(crate) struct Prune {
    #[command(subcommand)]
    pub(crate) command: PruneCommand,
}

/// What to do with a criterion.
#[derive(Debug, Subcommand)]
pub(crate) enum PruneCommand {
    /// Scores, mask and weight of one criterion on tensors of a safetensors file.
    #[command(after_help = "\
        Reads weight, grad, activations and others, those of several layers as layers.K.NAME with K from 0; `kd explain \
        criterion.NAME` says which. Weights are [out, in] or [out, in, kh, kw]. Writes scores, mask (1 is kept) and weight \
        (0 where removed), or layers.K.scores and so on; owl writes sparsity alone, a number for each layer. Numbers are in \
        the inputs' precision, f64 where any is.\n\
        A PATTERN is one of: unstructured sparsity=S [scope=global], keep=K of=M, block RxC sparsity=S, rows sparsity=S, \
        columns sparsity=S, random sparsity=S [seed=N], channels sparsity=S.")]
    Eval(PruneEval),
}

/// `kd prune eval`
#[derive(Debug, Args)]
pub(crate) struct PruneEval {
    /// The criterion as a recipe writes it: `wanda = { group = "row" }`, or its name alone.
    #[arg(long, value_name = "CRITERION")]
    pub(crate) criterion: String,
    /// What is removed [default: nothing; scores alone].
    #[arg(long, value_name = "PATTERN")]
    pub(crate) pattern: Option<String>,
    /// The tensors, a safetensors file.
    #[arg(long = "in", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    /// Where scores, masks and weights go; an older file is replaced.
    #[arg(long = "out", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
}

/// `kd cast`
#[derive(Debug, Args)]
#[command(after_help = "\
    For a tensor T it writes T.codes, T.decoded and, for formats with scales, T.scales and T.global_scale. Codes stand one \
    a byte in u8, or i8 for signed integers; 16-bit formats in i16, tf32 in i32; GGUF blocks as they stand in a file.")]
pub(crate) struct Cast {
    /// The number format: see `kd list formats`.
    #[arg(long, value_name = "NAME", value_parser = number())]
    pub(crate) format: Format,
    /// Whose rounding, overflow and NaN: `onnx`, `torch`, `gguf`, `ocp` or `ml-dtypes` [default: the format's home].
    #[arg(long, value_name = "PROFILE")]
    pub(crate) numerics: Option<String>,
    /// The tensors, a safetensors file.
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    /// Where codes and values go; an older file is replaced.
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
}

/// `kd pack`
#[derive(Debug, Args)]
#[command(after_help = "\
    Tensors of at most 4096 distinct values are written as places and values, entropy coded; all others as they are. Nothing \
    is lost. Wherever a recipe or an option takes a checkpoint, it takes the file too.")]
pub(crate) struct Pack {
    /// The weights: a safetensors file, a stage's folder, or a run.
    #[arg(value_name = "IN", value_hint = ValueHint::AnyPath)]
    pub(crate) input: PathBuf,
    /// The file to write (NAME.kdz); it must not be there yet.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
}

/// `kd unpack`
#[derive(Debug, Args)]
pub(crate) struct Unpack {
    /// The packed model.
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,
    /// The safetensors file to write; it must not be there yet.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
}

/// `kd quantize`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").required(true).args(["weights", "budget"]),
    after_help = "\
    Every matrix of floats is quantized, all other tensors stay as they are. A SPEC is a number format (`kd list formats`), \
    what shares a scale (tensor, channel, group=N, block=RxC), for integers where zero is (affine, symmetric, narrow, \
    no-clip), and scale=FORMAT: 'int4 group=32 affine', 'int8 channel symmetric', 'nf4 group=64', 'e4m3fn tensor', mxfp4.\n\
    DIR gets config.json and model.safetensors, which compressed-tensors loads where it has a layout, and quantize.json; \
    what a config.json beside CKPT says of the model is kept. \
    Memory stays below twice the largest tensor, but for gptq and awq, which hold a whole weight and what its inputs are."
)]
pub(crate) struct Quantize {
    /// A checkpoint, a safetensors file; or a run, or a stage's folder in it, whose layers are given its data.
    #[arg(value_name = "CKPT|RUN", value_hint = ValueHint::AnyPath)]
    pub(crate) checkpoint: PathBuf,
    /// Of a run: data to calibrate with and to score on [default: the run's].
    #[arg(long, value_name = "NAME")]
    pub(crate) data: Option<String>,
    /// Of a run: training batches to calibrate with [default: 8].
    #[arg(long, value_name = "BATCHES")]
    pub(crate) calibration: Option<usize>,
    /// Of a run: whose inputs layers are rounded on [default: quantized].
    #[arg(long, value_enum)]
    pub(crate) layer_inputs: Option<LayerInputs>,
    /// Of a run with a budget: what a layer's rounding costs the model: sqnr, kl or fisher [default: kl].
    #[arg(long, value_name = "NAME", requires = "budget")]
    pub(crate) sensitivity: Option<String>,
    /// Of a run with a budget: print all best trades of bytes against loss.
    #[arg(long, requires = "budget")]
    pub(crate) front: bool,
    /// One scheme for all weights.
    #[arg(long, value_name = "SPEC")]
    pub(crate) weights: Option<String>,
    /// The best scheme for each weight within so many bits for each number on disk: '4.2 bpw'.
    #[arg(long, value_name = "BPW")]
    pub(crate) budget: Option<String>,
    /// What finds codes: rtn (round to nearest), hqq, gptq or awq; the last two need `--inputs` or a run. Of a run also
    /// adaround, brecq, spqr, llm-int8, and joined by `+`: equalize, smooth, lorc, bias, as in equalize+gptq+bias.
    #[arg(long, value_name = "NAME", default_value = "rtn")]
    pub(crate) method: String,
    /// What layers are given, a safetensors file: for a weight N, N.inputs [tokens, K] or N.hessian [K, K].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) inputs: Option<PathBuf>,
    /// Leave tensors as they are whose names match, anywhere.
    #[arg(long, value_name = "REGEX")]
    pub(crate) ignore: Option<String>,
    /// Where weights go: `compressed-tensors` where it has a layout, or `own`, which also holds HQQ's float zero points
    /// and AWQ's scales of inputs.
    #[arg(long, value_enum, default_value_t = LayoutName::CompressedTensors)]
    pub(crate) layout: LayoutName,
    /// Folder to write to; nothing in it is overwritten.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
}

/// Which model a layer's inputs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayerInputs {
    /// The one whose layers before are rounded already.
    Quantized,
    /// The one in floats.
    Float,
}

/// Families of layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// That of the Python package, and ours for what it does not have.
    CompressedTensors,
    /// Ours for all.
    Own,
}

/// `kd dequantize`
#[derive(Debug, Args)]
pub(crate) struct Dequantize {
    /// The folder, as `kd quantize` or compressed-tensors writes it.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
    /// Where floats go, a safetensors file with the original names; an older file is replaced.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
}

/// `kd data`
#[derive(Debug, Args)]
pub(crate) struct Data {
    #[command(subcommand)]
    pub(crate) command: DataCommand,
}

/// What to do with data sets.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// List the published sets and where they are.
    List,
    /// Bring a set into the cache, from its addresses or from a folder.
    Fetch {
        /// The set.
        name: String,
        /// Copy from DIR/NAME or DIR instead of downloading.
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        from: Option<PathBuf>,
    },
    /// Check sets against their published checksums.
    Verify {
        /// The sets [default: all that are there].
        names: Vec<String>,
    },
}

/// What `--color` says, for messages about a command line that cannot be read as a whole.
pub(crate) fn color(args: &[OsString]) -> ColorChoice {
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let joined = args.iter().filter_map(|arg| arg.strip_prefix("--color="));
    let apart = args.windows(2).filter(|pair| pair[0] == "--color").map(|pair| &*pair[1]);
    let given = joined.chain(apart).next();
    given.and_then(|given| ColorChoice::from_str(given, false).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn color_is_found_in_a_command_line_with_mistakes() {
        let of = |args: &[&str]| color(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&["kd", "trian", "--color", "never"]), ColorChoice::Never);
        assert_eq!(of(&["kd", "--color=always", "--nonsense"]), ColorChoice::Always);
        assert_eq!(of(&["kd", "--color"]), ColorChoice::Auto);
        assert_eq!(of(&["kd", "--color=red"]), ColorChoice::Auto);
    }
}
