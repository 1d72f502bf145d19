//! The form in which schedules and losses describe themselves to `kd list` and `kd explain`.

/// One knob of a schedule or a loss, as it is written in a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knob {
    /// Its key.
    pub name: &'static str,
    /// What it is when left out, as TOML; none where it must be written or where its absence means something.
    pub default: Option<&'static str>,
    /// What it does and which values it takes, in one line.
    pub meaning: &'static str,
}

impl Knob {
    /// One that must be written.
    pub const fn required(name: &'static str, meaning: &'static str) -> Self {
        Knob { name, default: None, meaning }
    }

    /// One that is `default` when left out.
    pub const fn or(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Knob { name, default: Some(default), meaning }
    }

    /// One that may be left out, where that means something of its own.
    pub(crate) const fn optional(name: &'static str, meaning: &'static str) -> Self {
        Knob { name, default: None, meaning }
    }
}

/// One tensor that a loss reads, as `kd loss eval` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// `student.logits`, `teacher.SITE`, `targets`, `mask`, `connector.PARAMETER`; `SITE` stands for any one site.
    pub name: &'static str,
    /// Its shape: letters, each of which is the same number wherever it stands in one loss, or numbers.
    pub shape: &'static [&'static str],
    /// What it is, in a few words.
    pub meaning: &'static str,
    /// Whether the loss can do without it.
    pub optional: bool,
}

impl Input {
    pub(crate) const fn new(
        name: &'static str,
        shape: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Input { name, shape, meaning, optional: false }
    }

    /// One that the loss can do without.
    pub(crate) const fn optional(
        name: &'static str,
        shape: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Input { name, shape, meaning, optional: true }
    }

    /// `student.logits [B, C]`
    pub(crate) const STUDENT: Self =
        Self::new("student.logits", &["B", "C"], "logits of the student, before any softmax");
    /// `teacher.logits [B, C]`
    pub(crate) const TEACHER: Self =
        Self::new("teacher.logits", &["B", "C"], "logits of the teacher, before any softmax");
    /// `mask [B, L]`, for logits of tokens.
    pub(crate) const TOKEN_MASK: Self = Self::optional(
        "mask",
        &["B", "L"],
        "with logits [B, L, C]: 1 counted, 0 ignored; all counted if left out",
    );
    /// `targets [B]`
    pub(crate) const TARGETS: Self =
        Self::new("targets", &["B"], "class of each example, from 0 to C - 1, 64-bit integers");
}
