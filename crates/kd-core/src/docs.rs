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
    pub(crate) const fn required(name: &'static str, meaning: &'static str) -> Self {
        Knob { name, default: None, meaning }
    }

    pub(crate) const fn or(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Knob { name, default: Some(default), meaning }
    }
}
