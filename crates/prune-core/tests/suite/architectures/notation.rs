//! Groups of coupled indices as text, so that a table of them can be written and read by people.
//!
//! ```text
//! KIND SIZE: member member …  [; pinned: REASON] [; across: OPERATION]
//! ```
//!
//! A member is `path:dim` where unit `u` of the group is index `u` of the dimension. Where it is something else it is
//! `path:dim:START/STRIDE` with as many `xCOUNT@STEP` behind as there are nested repetitions: unit `u` is then every
//! `START + u·STRIDE + i·STEP + …` with `i` below `COUNT`. Four positions of each channel behind a flatten are
//! `fc.weight:0:0/4x4@1`; the channels of the second half of a concatenation `merge.weight:1:6/1`; two copies of a
//! tensor one after the other `merge.weight:1:0/1x2@8`. Several such parts of one dimension are joined by `&`.
//! `{weight,bias}` stands for both, and `*` behind a dot for all parameters and buffers directly below.
//!
//! Reasons are compared by containing what the table says; members index by index.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use kd_graph::{Axis, Graph};

/// Indices of each unit, by parameter and dimension.
pub(super) type Members = BTreeMap<(String, usize), Vec<BTreeSet<usize>>>;

/// A group, as the table says or as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) kind: String,
    pub(super) size: usize,
    pub(super) members: Members,
    pub(super) pinned: Option<String>,
    /// Operations that run over the units, joined.
    pub(super) across: String,
}

impl Group {
    /// Whether `found` is what `self`, a row of the table, says.
    pub(super) fn is(&self, found: &Group) -> bool {
        let pins = match (&self.pinned, &found.pinned) {
            (None, None) => true,
            (Some(says), Some(found)) => found.contains(says.as_str()),
            _ => false,
        };
        // Each word of the table is in what was found; one word may stand for all operations of a kind.
        let across = self.across.split(", ").all(|part| found.across.contains(part))
            && self.across.is_empty() == found.across.is_empty();
        pins && across && (&self.kind, self.size, &self.members) == (&found.kind, found.size, &found.members)
    }
}

impl From<&Axis> for Group {
    fn from(axis: &Axis) -> Self {
        let members = axis.members.iter().map(|member| {
            let index = member.index.iter().map(|unit| unit.iter().copied().collect()).collect();
            ((member.path.clone(), member.dim), index)
        });
        Self {
            kind: axis.kind.to_string(),
            size: axis.size,
            members: members.collect(),
            pinned: axis.pinned.clone(),
            across: axis.across.join(", "),
        }
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}:", self.kind, self.size)?;
        for ((path, dim), index) in &self.members {
            write!(f, " {path}:{dim}{}", part(index))?;
        }
        if let Some(reason) = &self.pinned {
            write!(f, "; pinned: {reason}")?;
        }
        if !self.across.is_empty() {
            write!(f, "; across: {}", self.across)?;
        }
        Ok(())
    }
}

/// The groups of a table. A group begins with `KIND SIZE:` and may go on over several lines.
pub(super) fn parse(text: &str, graph: &Graph) -> Vec<Group> {
    let mut rows: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let begins = line.split_once(':').is_some_and(|(head, _)| head.contains(' ') && !head.contains(';'));
        match rows.last_mut() {
            Some(row) if !begins => write!(row, " {line}").unwrap(),
            _ => rows.push(line.to_owned()),
        }
    }
    rows.iter().map(|row| group(row, graph)).collect()
}

fn group(row: &str, graph: &Graph) -> Group {
    let mut clauses = row.split("; ");
    let (head, members) = clauses.next().and_then(|first| first.split_once(':')).unwrap();
    let (kind, size) = head.rsplit_once(' ').unwrap_or_else(|| panic!("no kind and size in `{row}`"));
    let size = number(size, row);
    let mut group =
        Group { kind: kind.into(), size, members: Members::new(), pinned: None, across: String::new() };
    for word in members.split_whitespace() {
        for member in braces(word) {
            let mut fields = member.splitn(3, ':');
            let (path, dim) = (fields.next().unwrap(), number(fields.next().unwrap_or(""), row));
            let index = fields.next().map_or_else(|| units("0/1", size, row), |text| units(text, size, row));
            for path in below(path, graph) {
                assert!(
                    group.members.insert((path.clone(), dim), index.clone()).is_none(),
                    "{path}:{dim} twice in `{row}`"
                );
            }
        }
    }
    for clause in clauses {
        match clause.split_once(": ") {
            Some(("pinned", reason)) => group.pinned = Some(reason.into()),
            Some(("across", operations)) => group.across = operations.into(),
            _ => panic!("`{clause}` is neither `pinned: …` nor `across: …`"),
        }
    }
    group
}

fn number(text: &str, row: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number in `{row}`"))
}

/// All words that a word with `{a,b}` in it stands for.
pub(super) fn braces(word: &str) -> Vec<String> {
    let Some((before, rest)) = word.split_once('{') else { return vec![word.into()] };
    let (choices, after) = rest.split_once('}').unwrap_or_else(|| panic!("`{word}` has no closing brace"));
    let tails = braces(after);
    let choices = choices.split(',');
    choices.flat_map(|choice| tails.iter().map(move |tail| format!("{before}{choice}{tail}"))).collect()
}

/// `path`, or for `prefix.*` the parameters directly below.
fn below(path: &str, graph: &Graph) -> Vec<String> {
    let Some(prefix) = path.strip_suffix('*') else { return vec![path.into()] };
    let under = |path: &&str| path.strip_prefix(prefix).is_some_and(|rest| !rest.contains('.'));
    let paths: Vec<String> =
        graph.params.iter().map(|param| param.path.as_str()).filter(under).map(Into::into).collect();
    assert!(!paths.is_empty(), "there is nothing below `{path}`");
    paths
}

/// `START/STRIDE xCOUNT@STEP…`, several joined by `&`, for each of `size` units.
fn units(text: &str, size: usize, row: &str) -> Vec<BTreeSet<usize>> {
    let mut units = vec![BTreeSet::new(); size];
    for part in text.split('&') {
        let mut repeats = part.split('x');
        let (start, stride) = repeats.next().and_then(|first| first.split_once('/')).unwrap();
        let (start, stride) = (number(start, row), number(stride, row));
        let mut offsets = vec![0];
        for repeat in repeats {
            let (count, step) = repeat.split_once('@').unwrap_or_else(|| panic!("no `@` in `{repeat}`"));
            let (count, step) = (number(count, row), number(step, row));
            offsets = offsets.iter().flat_map(|at| (0..count).map(move |i| at + i * step)).collect();
        }
        for (unit, index) in units.iter_mut().enumerate() {
            index.extend(offsets.iter().map(|offset| start + unit * stride + offset));
        }
    }
    units
}

/// The notation of these units, empty for one index each; a plain list where there is no short one.
fn part(index: &[BTreeSet<usize>]) -> String {
    let plain = |(unit, index): (usize, &BTreeSet<usize>)| index.iter().eq([&unit]);
    if index.iter().enumerate().all(plain) {
        return String::new();
    }
    let first: Vec<usize> = index[0].iter().copied().collect();
    let start = first.first().copied().unwrap_or(0);
    let stride = index.get(1).and_then(|next| next.first()?.checked_sub(start)).unwrap_or(1);
    let mut text = format!(":{start}/{stride}");
    let mut rest = first;
    while rest.len() > 1 {
        let step = rest[1] - rest[0];
        let run = rest.windows(2).take_while(|pair| pair[1] - pair[0] == step).count() + 1;
        let heads: Vec<usize> = rest.chunks(run).map(|chunk| chunk[0]).collect();
        write!(text, "x{run}@{step}").unwrap();
        if heads.len() * run != rest.len() {
            break;
        }
        rest = heads;
    }
    match units(&text[1..], index.len(), &text) == index {
        true => text,
        false => format!(":{index:?}").replace(' ', ""),
    }
}
