//! `kd data`: published data sets on this machine.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use kd_datasets::{Availability, FileState, Listing, Outcome, Published, Verified, fetch, list, verify};
use serde_json::{Value, json};

use super::Context;
use crate::args::DataCommand;
use crate::failure::Failure;
use crate::table::columns;

pub(super) fn run(command: DataCommand, context: &Context) -> Result<(), Failure> {
    match command {
        DataCommand::List => all(context),
        DataCommand::Fetch { name, from } => bring(&name, from.as_deref(), context),
        DataCommand::Verify { names } => check(&names, context),
    }
}

fn all(context: &Context) -> Result<(), Failure> {
    let listings = list(&context.environment.folders());
    let place = |listing: &Listing| match &listing.availability {
        Availability::Embedded => "built in".to_owned(),
        Availability::Folder(folder) => folder.display().to_string(),
        Availability::Absent => "not here".to_owned(),
    };
    let text = || {
        let row = |listing: &Listing| {
            let (set, (train, test)) = (listing.set, listing.set.examples);
            let examples = format!("{train} + {test}");
            vec![set.name.into(), examples, place(listing), set.license.into(), set.about.into()]
        };
        columns(&listings.iter().map(row).collect::<Vec<_>>())
    };
    let json = || {
        let row = |listing: &Listing| {
            let (set, (train, test)) = (listing.set, listing.set.examples);
            json!({
                "name": set.name,
                "about": set.about,
                "license": set.license,
                "classes": set.classes,
                "shape": set.shape,
                "train": train,
                "test": test,
                "available": listing.availability != Availability::Absent,
                "place": place(listing),
            })
        };
        Value::Array(listings.iter().map(row).collect())
    };
    context.output.data(text, json)
}

fn bring(name: &str, from: Option<&Path>, context: &Context) -> Result<(), Failure> {
    // The name first: a wrong one shall not be told to set a variable.
    Published::named(name)?;
    let cache = context.environment.cache().ok_or(Failure::NoCache)?;
    let style = "{prefix:>14.bold} {bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
    let style = ProgressStyle::with_template(style).expect("the template is a literal");
    let bar = ProgressBar::new(0).with_style(style).with_prefix(name.to_owned());
    let bar = context.terminal.bars().add(bar);
    let fetched = fetch(name, cache, from, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let fetched = fetched?;
    if fetched.files.is_empty() {
        context.terminal.say(format_args!("`{name}` is built in; there is nothing to fetch"));
    }
    let how = |outcome: &Outcome| match outcome {
        Outcome::Kept => "was there".to_owned(),
        Outcome::Copied(from) => format!("copied from {}", from.display()),
        Outcome::Downloaded(address) => format!("downloaded from {address}"),
    };
    let text = || {
        let rows = fetched.files.iter().map(|file| vec![file.path.display().to_string(), how(&file.outcome)]);
        columns(&rows.collect::<Vec<_>>())
    };
    let json = || {
        let files = fetched.files.iter().map(|file| json!({ "path": file.path, "how": how(&file.outcome) }));
        json!({ "name": name, "files": files.collect::<Vec<_>>() })
    };
    context.output.data(text, json)
}

fn check(names: &[String], context: &Context) -> Result<(), Failure> {
    let folders = context.environment.folders();
    let sets: Vec<Verified> = if names.is_empty() {
        // Of all sets those that are here: one that was never fetched is not damaged.
        let here = list(&folders).into_iter().filter(|listing| listing.availability != Availability::Absent);
        here.map(|listing| verify(listing.set.name, &folders)).collect::<Result<_, _>>()?
    } else {
        names.iter().map(|name| verify(name, &folders)).collect::<Result<_, _>>()?
    };
    let state = |state: &FileState| match state {
        FileState::Good => "good".to_owned(),
        FileState::Missing => "missing".to_owned(),
        FileState::Damaged(damage) => format!("damaged: {damage}"),
    };
    let place =
        |set: &Verified| set.folder.as_ref().map_or("built in".to_owned(), |f| f.display().to_string());
    let text = || {
        let mut rows = Vec::new();
        for set in &sets {
            let row = |(file, found): &(&kd_datasets::PublishedFile, FileState)| {
                vec![set.name.to_owned(), file.name.to_owned(), place(set), state(found)]
            };
            rows.extend(set.files.iter().map(row));
        }
        columns(&rows)
    };
    let json = || {
        let row = |set: &Verified| {
            let files =
                set.files.iter().map(|(file, found)| json!({ "name": file.name, "state": state(found) }));
            let files: Vec<Value> = files.collect();
            json!({ "name": set.name, "good": set.is_good(), "place": place(set), "files": files })
        };
        Value::Array(sets.iter().map(row).collect())
    };
    context.output.data(text, json)?;
    let bad: Vec<String> = sets.iter().filter(|set| !set.is_good()).map(|set| set.name.to_owned()).collect();
    if bad.is_empty() { Ok(()) } else { Err(Failure::Damaged(bad)) }
}
