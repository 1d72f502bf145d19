//! Starting runs and going on with them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::{Options, Outcome, check, seeds};
use crate::error::{CheckpointReason, Error};
use crate::event::Sink;
use crate::log::Log;
use crate::pipeline;
use crate::recipe::{Recipe, Source};
use crate::registry::Registry;
use crate::report;
use crate::run::Env;
use crate::run_dir::{Manifest, RunDir, Status, files, io, json, manifest, read_json};
use crate::summary::Summary;

/// Runs a recipe in a new directory.
///
/// # Errors
///
/// Problems of the recipe, a directory that exists, and whatever stops a run.
pub fn start(
    source: &Source,
    overrides: &[String],
    options: &Options,
    env: &Env,
    registry: &Registry,
    sink: &mut dyn Sink,
) -> Result<Outcome, Error> {
    let mut overrides = overrides.to_vec();
    overrides.extend(options.device.iter().map(|name| format!("device.name={name:?}")));
    overrides.extend(options.threads.map(|threads| format!("device.threads={threads}")));
    let recipe = Recipe::parse(source, &overrides, registry).map_err(Error::Problems)?;
    let threads = set_threads(recipe.device.threads, env.caller_works)?;
    let path = directory(options, &recipe.name)?;
    let seeds = match options.seeds {
        Some(0) => return Err(Error::NoSeeds),
        Some(count) => (0..count as u64).map(|i| recipe.seed + i).collect(),
        None => Vec::new(),
    };
    let manifest = Manifest {
        schema: 1,
        name: recipe.name.clone(),
        status: Status::Unfinished,
        version: env!("CARGO_PKG_VERSION").into(),
        burn: "0.22.1".into(),
        recipe_sha256: sha256(&source.text),
        overrides,
        base: std::path::absolute(&source.folder).unwrap_or_else(|_| source.folder.clone()),
        seed: recipe.seed,
        split_seed: recipe.seed,
        device: recipe.device.name.clone(),
        threads,
        seeds,
    };
    // Nothing is made on disk for a recipe that cannot begin.
    check::fits(&recipe, env, &source.folder)?;
    let dir = RunDir::create(&path, |dir| {
        dir.write(files::RECIPE, source.text.as_bytes())?;
        dir.write(files::RESOLVED, recipe.resolved().as_bytes())?;
        dir.write_json(files::MANIFEST, &manifest)
    })?;
    go(&dir, &manifest, env, registry, sink)
}

/// Goes on with a run, or prints again what a finished one reached.
///
/// # Errors
///
/// A path that holds no run, a run that another process works on, a recipe that was changed, and whatever stops a run.
pub fn resume(path: &Path, env: &Env, registry: &Registry, sink: &mut dyn Sink) -> Result<Outcome, Error> {
    let manifest = manifest(path)?;
    if manifest.status == Status::Finished {
        return finished(path, &manifest);
    }
    let dir = RunDir::open(path)?;
    set_threads(Some(manifest.threads), env.caller_works)?;
    go(&dir, &manifest, env, registry, sink)
}

fn go(
    dir: &RunDir,
    manifest: &Manifest,
    env: &Env,
    registry: &Registry,
    sink: &mut dyn Sink,
) -> Result<Outcome, Error> {
    match manifest.seeds.is_empty() {
        true => {
            run(dir, manifest, env, registry, sink)?;
        }
        false => seeds::run(dir, manifest, env, registry, sink)?,
    }
    let done = Manifest { status: Status::Finished, ..manifest.clone() };
    dir.write_json(files::MANIFEST, &done)?;
    finished(dir.path(), &done)
}

/// One run, from its own directory's files alone.
pub(super) fn run(
    dir: &RunDir,
    manifest: &Manifest,
    env: &Env,
    registry: &Registry,
    sink: &mut dyn Sink,
) -> Result<Summary, Error> {
    let (recipe, folder) = recipe(dir.path(), manifest, registry)?;
    let _kernels = recipe.device.kernels.scope();
    let mut log = Log::open(dir.path(), sink)?;
    let result = pipeline::run(&recipe, manifest.split_seed, dir, env, &folder, &mut log);
    if let Err(error) = &result {
        log.line(&format!("ended: {error}"));
    }
    result
}

/// The recipe of a run directory, and the folder that its relative paths start from.
pub(super) fn recipe(
    path: &Path,
    manifest: &Manifest,
    registry: &Registry,
) -> Result<(Recipe, PathBuf), Error> {
    let file = path.join(files::RECIPE);
    let text = std::fs::read_to_string(&file).map_err(|source| io("read", &file, source))?;
    if sha256(&text) != manifest.recipe_sha256 {
        let reason = CheckpointReason::State("it is not the recipe that the run began with".into());
        return Err(Error::Checkpoint { path: file, reason });
    }
    let source = Source { name: file.display().to_string(), text, folder: manifest.base.clone() };
    let mut recipe = Recipe::parse(&source, &manifest.overrides, registry).map_err(Error::Problems)?;
    recipe.seed = manifest.seed;
    Ok((recipe, manifest.base.clone()))
}

/// What a finished run reached.
pub(super) fn finished(path: &Path, manifest: &Manifest) -> Result<Outcome, Error> {
    if !manifest.seeds.is_empty() {
        return seeds::finished(path);
    }
    let summary: Summary = read_json(&path.join(files::SUMMARY))?;
    Ok(Outcome {
        dir: path.to_owned(),
        report: report::markdown(&summary),
        gates_missed: summary.gates.iter().filter(|gate| !gate.met).count(),
        json: serde_json::from_slice(&json(&summary)).expect("JSON that was just written"),
    })
}

/// The directory of a new run.
fn directory(options: &Options, name: &str) -> Result<PathBuf, Error> {
    if let Some(dir) = &options.run_dir {
        return match manifest(dir) {
            Ok(manifest) if manifest.status == Status::Unfinished => {
                Err(Error::RunUnfinished { path: dir.clone() })
            }
            _ if dir.exists() => Err(Error::RunExists { path: dir.clone() }),
            _ => Ok(dir.clone()),
        };
    }
    let runs = options.base.join("runs");
    let mut candidate = runs.join(name);
    for number in 2.. {
        match manifest(&candidate) {
            Ok(manifest) if manifest.status == Status::Unfinished => {
                return Err(Error::RunUnfinished { path: candidate });
            }
            _ if candidate.exists() => candidate = runs.join(format!("{name}-{number}")),
            _ => break,
        }
    }
    Ok(candidate)
}

/// Sets the threads of the CPU backend, once a process; returns how many there are.
fn set_threads(threads: Option<usize>, caller_works: bool) -> Result<usize, Error> {
    static SET: OnceLock<()> = OnceLock::new();
    if threads == Some(0) {
        return Err(Error::Threads { threads: 0, reason: "at least one is needed".into() });
    }
    if (threads.is_some() || caller_works) && SET.set(()).is_ok() {
        // Zero means all cores.
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
        let builder = if caller_works { builder.use_current_thread() } else { builder };
        // Fails where a pool is running already, such as in a program of one's own: then its threads count.
        let _ = builder.build_global();
    }
    Ok(rayon::current_num_threads())
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
