//! Tensors that a loss can be tried on, from what it says about its inputs.

use kd_core::loss::LossName;

/// A tensor of an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// As `kd loss eval` names it.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// What stands in it.
    pub content: Content,
}

/// What stands in a tensor of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Numbers around zero.
    Normal,
    /// Numbers above zero.
    Positive,
    /// Whole numbers below this one, as integers.
    Classes(usize),
    /// Whole numbers below this one, as floats.
    Places(usize),
    /// Ones.
    Ones,
}

/// Every tensor that the loss cannot do without, with small sizes.
pub fn example(row: &LossName) -> Vec<Example> {
    // Where every input of the student may be left out, at least one must be there.
    let any = row.inputs.iter().all(|input| input.optional || !input.name.starts_with("student."));
    let sided = |name: &str| name.starts_with("student.") || name.starts_with("teacher.");
    let mut all: Vec<Example> = Vec::new();
    for input in row.inputs.iter().filter(|input| !input.optional || any && sided(input.name)) {
        let shape: Vec<usize> = input.shape.iter().map(|letters| size(letters)).collect();
        let name = input.name.replace("SITE", "site").replace("FEATURE", "feature");
        let names = match name.split_once(".K.") {
            Some(("teacher", rest)) => vec![format!("teacher.0.{rest}"), format!("teacher.1.{rest}")],
            _ => vec![["K", "I", "J"].iter().fold(name, |name, i| name.replace(&format!(".{i}."), ".0."))],
        };
        let content = match input.name.rsplit(['.', '-']).next().unwrap_or_default() {
            "targets" => Content::Classes(size("C")),
            "indices" => Content::Places(size("N")),
            "mask" | "region" => Content::Ones,
            "var" | "std" | "variance" | "temperature" => Content::Positive,
            _ => Content::Normal,
        };
        all.extend(names.into_iter().map(|name| Example { name, shape: shape.clone(), content }));
    }
    all
}

/// A size for a letter of a shape, or for a sum or product of letters and numbers.
fn size(letters: &str) -> usize {
    if let Some((a, b)) = letters.split_once(" + ") {
        return size(a) + size(b);
    }
    if let Some((a, b)) = letters.split_once('·') {
        return size(a) * size(b);
    }
    match letters {
        "B" => 4,
        "C" | "Cs" | "C1" => 10,
        "L" => 6,
        "h" => 2,
        "H" | "W" | "Hs" | "Ws" | "Ht" | "Wt" | "U" | "V" | "X" | "Y" | "H1" | "W1" | "H2" | "W2" => 8,
        "w" | "I" | "J" | "H3" | "W3" | "H4" | "W4" | "K" => 4,
        "Ct" | "T" => 14,
        "E" => 24,
        "F" => 128,
        "M" => 10,
        "D" | "d" | "C2" => 12,
        "P" => 3,
        "Q" => 8,
        number => number.parse().unwrap_or(16),
    }
}
