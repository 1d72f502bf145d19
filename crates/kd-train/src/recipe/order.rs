//! The order of stages: who is trained when, and who teaches whom.

use std::ops::Range;

use super::Role;
use super::rules::{Learns, Outline};
use super::table::Table;
use crate::problem::Problem;

/// Holds all stages against the rules. `teacher` and `student` say who has weights before any of them.
pub(super) fn stages(top: &Table<'_>, stages: &[Outline], teacher: Option<&Range<usize>>, student: bool) {
    names(top, stages, teacher.is_some());
    teachers(top, stages, teacher);
    students(top, stages, student);
    learning(top, stages);
}

/// Names of stages are rows of the report: each once, and none that is taken.
fn names(top: &Table<'_>, stages: &[Outline], teacher_given: bool) {
    for (i, stage) in stages.iter().enumerate() {
        let Some((name, place)) = &stage.name else { continue };
        let before =
            stages[..i].iter().filter_map(|other| other.name.as_ref()).find(|(other, _)| other == name);
        if let Some((_, before)) = before {
            let message = format!("two stages are named `{name}`");
            let problem = Problem::new("recipe::duplicate-stage", message, place.clone(), "the second one");
            top.problem(
                problem.also(before.clone(), "the first one").help("every stage has a name of its own"),
            );
        }
        // A stage that trains the teacher beside its checkpoint is refused for that.
        if name == "baseline" || (name == "teacher" && teacher_given && !stage.of_teacher()) {
            let message = format!("`{name}` is a row that the report has without a stage");
            let problem = Problem::new("recipe::bad-name", message, place.clone(), "taken");
            top.problem(problem.help("choose another name"));
        }
    }
}

/// The teacher is given, or trained once, first, from labels.
fn teachers(top: &Table<'_>, stages: &[Outline], given: Option<&Range<usize>>) {
    let mut before: Option<&Range<usize>> = None;
    for (i, stage) in stages.iter().enumerate() {
        let Some((_, place)) = stage.kind.as_ref().filter(|_| stage.of_teacher()) else { continue };
        let place = place.clone();
        if let Some(given) = given {
            let message = "the teacher has a `checkpoint`, and this stage would train it anew";
            let problem = Problem::new("recipe::teacher-given", message, place.clone(), "trains it");
            top.problem(problem.also(given.clone(), "its weights").help("take one of the two out"));
        } else if let Some(before) = before {
            let message = "the teacher is trained once, and this stage would train it again";
            let problem = Problem::new("recipe::teacher-twice", message, place.clone(), "trains it again");
            top.problem(
                problem.also(before.clone(), "trains it").help("give the first one more epochs instead"),
            );
        } else if i > 0 {
            let message = "the teacher is trained in the first stage: every row is compared with it";
            let problem = Problem::new("recipe::teacher-late", message, place.clone(), "not the first stage");
            top.problem(problem.help("move this `[[stage]]` to the top"));
        }
        if let Learns::Teacher(loss) = &stage.learns {
            let message = format!("`{loss}` needs a teacher, and this stage trains the teacher");
            let problem =
                Problem::new("recipe::teacher-teaches-itself", message, place, "the teacher's own stage");
            top.problem(problem.help("keep losses on labels only in its `[[stage.train.objective]]`"));
        }
        before = before.or(stage.kind.as_ref().map(|(_, place)| place));
    }
    let whole = stages.iter().all(|stage| match &stage.kind {
        Some((kind, _)) => *kind != "train" || stage.of.is_some(),
        None => false,
    });
    if let Some(first) = stages.first().filter(|_| given.is_none() && before.is_none() && whole) {
        let message = "no stage trains the teacher, and it has no `checkpoint`";
        let problem = Problem::new("recipe::no-teacher", message, first.stage.clone(), "the first stage");
        top.problem(problem.help(
            "every row of the report is compared with the teacher: train it in the first stage, with `[stage.train]` \
             and `of = \"teacher\"`, or give `[teacher]` a `checkpoint`",
        ));
    }
}

/// A kind of stage behind which weights are as they are shipped, in words.
struct Last {
    kind: &'static str,
    state: &'static str,
    does: &'static str,
    help: &'static str,
}

const LAST: [Last; 2] = [
    Last {
        kind: "quantize",
        state: "are rounded",
        does: "rounds it",
        help: "quantize last; only `export` may follow",
    },
    Last {
        kind: "share",
        state: "share values",
        does: "makes them share values",
        help: "share values last; only `export` may follow",
    },
];

/// A student learns before it is compressed, and is rounded last.
fn students(top: &Table<'_>, stages: &[Outline], given: bool) {
    let mut trained = given;
    let mut last: Option<(&Last, Range<usize>)> = None;
    for stage in stages.iter().filter(|stage| !stage.of_teacher()) {
        let Some((kind, place)) = &stage.kind else {
            // It may have been what trains the student.
            trained = true;
            continue;
        };
        if let Some((said, before)) = last.as_ref().filter(|_| *kind != "export") {
            let message = format!("`{kind}` would change a student whose weights {}", said.state);
            let problem = Problem::new("recipe::after-quantize", message, place.clone(), "changes it");
            top.problem(problem.also(before.clone(), said.does).help(said.help));
        }
        match *kind {
            // Whom a `train` stage trains may not be readable.
            "train" | "distill" => trained = true,
            // The first round of lottery tickets is a training from the beginning.
            _ if stage.begins => trained = true,
            _ if !trained => {
                let message = format!("`{kind}` needs a student that has learned something");
                let problem = Problem::new("recipe::untrained-student", message, place.clone(), "too early");
                top.problem(
                    problem.help("put a `[stage.distill]` before it, or give `[student]` a `checkpoint`"),
                );
                // Said once.
                trained = true;
            }
            _ => {}
        }
        if let Some(said) = LAST.iter().find(|said| said.kind == *kind) {
            last = Some((said, place.clone()));
        }
    }
}

/// Every stage that trains knows what to learn from, and a distillation learns from a teacher.
fn learning(top: &Table<'_>, stages: &[Outline]) {
    let unsaid = |stage: &&Outline| {
        let of_student = |kind| kind != "train" || stage.of == Some(Role::Student);
        stage.learns == Learns::Unsaid && stage.kind.as_ref().is_some_and(|(kind, _)| of_student(*kind))
    };
    let mut places = stages.iter().filter(unsaid).filter_map(|stage| stage.kind.clone());
    if let Some((_, place)) = places.next() {
        let message = "nothing says what the student learns from";
        let problem = Problem::new("recipe::no-objective", message, place, "trains the student");
        let problem = places.fold(problem, |problem, (_, place)| problem.also(place, "and so does this"));
        top.problem(problem.help("write `[[objective]]` tables at the top, each with a `weight` and a loss"));
    }
    for stage in stages {
        let Some((kind, place)) = &stage.kind else { continue };
        match &stage.learns {
            Learns::Labels if *kind == "distill" => {
                let message = "this stage distills, but no term of its objective looks at the teacher";
                let problem =
                    Problem::new("recipe::nothing-to-distill", message, place.clone(), "learns from labels");
                top.problem(problem.help(
                    "add a term such as `kl = { temperature = 4.0 }`, or write `[stage.train]` with `of = \"student\"`",
                ));
            }
            _ => {}
        }
    }
}
