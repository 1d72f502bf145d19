//! One student, many losses: what each of them adds to labels alone, over several seeds.
//!
//! Everything but the objective is the same within a seed: the teacher, the examples, the student's first weights, the
//! order of the batches, the number of steps. So a loss is compared seed by seed with the student that learns from
//! labels alone, and the spread is that of the differences. `kd` does all of it; this puts its runs in order, keeps
//! what is done, and says of each loss whether so few seeds show that it helps.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use xshell::Shell;

use crate::runs::{self, Built, Manifest, Summary, Wanted};
use crate::{recipes, statistics, workspace};
use losses::{ALONE, LOSSES, Loss};
use table::{Reached, Row};

mod losses;
mod table;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seeds, counted up from the recipe's
    #[arg(long, default_value_t = 3, value_parser = statistics::seeds)]
    seeds: u64,
    /// Losses to compare, if not all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    losses: Vec<String>,
    /// Train for one epoch only, to see that everything runs: the numbers say nothing
    #[arg(long)]
    quick: bool,
    /// Put the table into `docs/losses.md`
    #[arg(long, conflicts_with_all = ["losses", "quick"])]
    write: bool,
}

const RECIPE: &str = "configs/mnist-losses.toml";
const RUNS: &str = "runs/sweep-mnist-losses";

/// How the teacher's run differs from the recipe: it has all examples but those that choose its best epoch.
const TEACHER: &str = "data.mnist.validation=5000";

/// What stands in the place of the teacher's stage.
const TRAINED: &str = "Trained before, with data.mnist.validation=5000";

const PAGE: &str = "docs/losses.md";
const BEGIN: &str = "<!-- losses:begin -->\n";
const END: &str = "<!-- losses:end -->";

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    // Before anything is trained; and again in the end, for the page may have changed by then.
    let page = |text: &str| -> Result<String> {
        recipes::between(&sh.read_file(PAGE)?, (BEGIN, END), text)
            .with_context(|| format!("`{PAGE}` has no place for a table"))
    };
    if args.write {
        page("")?;
    }
    let sweep = Sweep::new(&sh, args)?;
    let reached = sweep.run(&chosen(&args.losses)?)?;
    let text = format!("{}{}\n", table::render(&reached), sweep.about()?);
    print!("{text}");
    if args.write {
        sh.write_file(PAGE, page(&text)?)?;
        println!("wrote {PAGE}");
    }
    Ok(())
}

/// A sweep that is set up.
struct Sweep<'a> {
    sh: &'a Shell,
    kd: PathBuf,
    /// Where the runs are, from the root.
    runs: String,
    /// The recipe without the stage that trains the teacher.
    student: PathBuf,
    seeds: Vec<u64>,
    quick: bool,
}

impl<'a> Sweep<'a> {
    fn new(sh: &'a Shell, args: &Args) -> Result<Self> {
        let runs = if args.quick { format!("{RUNS}-quick") } else { RUNS.to_owned() };
        let recipe = sh.read_file(RECIPE)?;
        let first = recipes::seed(&recipe).with_context(|| format!("`{RECIPE}` has no line `seed = …`"))?;
        let without = recipes::without_stage(&recipe, "teacher", TRAINED)
            .with_context(|| format!("`{RECIPE}` has no stage that is named `teacher`"))?;
        let student = workspace::root().join(&runs).join("student.toml");
        sh.write_file(&student, without)?;
        let kd = runs::build(sh, &Built::SHIPPED)?;
        Ok(Self { sh, kd, runs, student, seeds: (first..first + args.seeds).collect(), quick: args.quick })
    }

    /// Seed by seed, so that a sweep that is cut off has compared all losses with as many seeds as it came to.
    fn run(&self, losses: &[&'static Loss]) -> Result<Reached> {
        let mut reached = Reached {
            seeds: self.seeds.clone(),
            examples: 0,
            teacher: Vec::new(),
            with_all: Vec::new(),
            alone: Vec::new(),
            losses: losses.iter().map(|loss| Row { loss, accuracy: Ok(Vec::new()) }).collect(),
        };
        for &seed in &self.seeds {
            let teacher = self.teacher(seed).with_context(|| format!("teacher, seed {seed}"))?;
            reached.examples = teacher.examples();
            reached.teacher.push(teacher.accuracy("teacher")? * 100.0);
            reached.with_all.push(teacher.accuracy("student")? * 100.0);
            let alone = self.student("alone", seed, ALONE);
            reached.alone.push(alone.with_context(|| format!("the student alone, seed {seed}"))?);
            for Row { loss, accuracy } in &mut reached.losses {
                let Ok(list) = accuracy else { continue };
                match self.student(loss.name, seed, &loss.objective()) {
                    Ok(value) => list.push(value),
                    Err(error) => {
                        eprintln!("{} failed, seed {seed}: {error:#}", loss.name);
                        // Its first line says what; the rest is for who looks into it.
                        let reason = format!("{error:#}").lines().next().unwrap_or_default().to_owned();
                        *accuracy = Err(format!("with seed {seed}, {reason}"));
                    }
                }
            }
        }
        Ok(reached)
    }

    /// The teacher of a seed, and beside it a student from labels that has all examples too.
    fn teacher(&self, seed: u64) -> Result<Summary> {
        let mut set = vec![format!("seed={seed}"), TEACHER.to_owned(), objective(ALONE)];
        set.extend(self.quick.then(|| epochs("teacher")));
        self.go("teacher", seed, workspace::root().join(RECIPE), set, "teacher")
    }

    /// The test accuracy in percent of the student that learns from `objective`.
    fn student(&self, name: &str, seed: u64, objective: &str) -> Result<f64> {
        // A path from the root, where `kd` runs: it is the same on every machine.
        let teacher = format!("teacher.checkpoint=\"{}/teacher/seed-{seed}\"", self.runs);
        let set = vec![format!("seed={seed}"), teacher, self::objective(objective)];
        Ok(self.go(name, seed, self.student.clone(), set, "student")?.accuracy("student")? * 100.0)
    }

    /// Runs a recipe in the folder of `name` and `seed`, and tells what the stage `of` reached.
    fn go(&self, name: &str, seed: u64, recipe: PathBuf, mut set: Vec<String>, of: &str) -> Result<Summary> {
        set.extend(self.quick.then(|| epochs("student")));
        let folder = self.folder(name, seed);
        let begun = Instant::now();
        let summary = Wanted { recipe, folder, set }.summary(self.sh, &self.kd)?;
        eprintln!(
            "seed {seed}, {name}: {:.2} %, {:.0} s",
            summary.accuracy(of)? * 100.0,
            begun.elapsed().as_secs_f64()
        );
        Ok(summary)
    }

    fn folder(&self, name: &str, seed: u64) -> PathBuf {
        workspace::root().join(&self.runs).join(name).join(format!("seed-{seed}"))
    }

    /// What made the numbers.
    fn about(&self) -> Result<String> {
        let first = self.seeds.first().context("no seed")?;
        let Manifest { version, burn, device, .. } = Manifest::read(&self.folder("alone", *first))?;
        Ok(format!("`{RECIPE}`, kd {version}, burn {burn}, device `{device}`."))
    }
}

fn objective(terms: &str) -> String {
    format!("stage.student.train.objective={terms}")
}

fn epochs(stage: &str) -> String {
    format!("stage.{stage}.train.epochs=1")
}

/// Those that are asked for, or all, in the order of the table.
fn chosen(asked: &[String]) -> Result<Vec<&'static Loss>> {
    if let Some(name) = asked.iter().find(|name| LOSSES.iter().all(|loss| loss.name != name.as_str())) {
        let names: Vec<&str> = LOSSES.iter().map(|loss| loss.name).collect();
        bail!("the sweep has no loss `{name}`; it has {}", names.join(", "));
    }
    Ok(LOSSES.iter().filter(|loss| asked.is_empty() || asked.iter().any(|name| name == loss.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Result<String> {
        Ok(workspace::shell()?.read_file(RECIPE)?)
    }

    #[test]
    fn the_recipe_can_do_without_its_teacher() -> Result<()> {
        let recipe = recipe()?;
        assert_eq!(recipes::seed(&recipe), Some(42));
        let without = recipes::without_stage(&recipe, "teacher", TRAINED).context("it has a teacher")?;
        let stages: Vec<&str> = without.lines().filter(|line| line.starts_with("name = ")).collect();
        assert_eq!(stages, ["name = \"mnist-losses\"", "name = \"student\""]);
        assert!(without.contains("\n# [[stage]]\n# name = \"teacher\"\n"), "{without}");
        // Nothing else is gone, and a change of the teacher shows.
        assert_eq!(without.lines().count(), recipe.lines().count() + 1);
        let other = recipe.replace("peak = 4e-3", "peak = 1e-3");
        assert_ne!(recipes::without_stage(&other, "teacher", TRAINED), Some(without));
        Ok(())
    }

    #[test]
    fn losses_are_those_that_the_sweep_has() -> Result<()> {
        assert_eq!(chosen(&[])?.len(), LOSSES.len());
        let names = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|&name| name.to_owned()).collect();
            chosen(&asked).map(|losses| losses.iter().map(|loss| loss.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["sp", "kl"])?, ["kl", "sp"]);
        let error = names(&["ssp"]).map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.starts_with("the sweep has no loss `ssp`; it has kl, ")));
        Ok(())
    }

    #[test]
    fn there_are_at_least_twelve_and_each_comes_once() {
        assert!(LOSSES.len() >= 12);
        for (i, loss) in LOSSES.iter().enumerate() {
            assert!(LOSSES[..i].iter().all(|other| other.name != loss.name), "`{}` comes again", loss.name);
        }
    }

    #[test]
    fn what_is_written_is_the_whole_table() {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let parse = |line: &str| <Line as clap::Parser>::try_parse_from(line.split(' ')).is_ok();
        assert!(parse("sweep --seeds 3 --write") && parse("sweep --losses kl,at --seeds 1 --quick"));
        assert!(!parse("sweep --losses kl --write") && !parse("sweep --quick --write"));
        assert!(!parse("sweep --seeds 0") && !parse("sweep --seeds 22"));
    }
}
