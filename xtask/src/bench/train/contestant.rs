//! Who takes part.

/// Whose training steps are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contestant {
    /// Burn with our kernels.
    Own,
    /// Burn with its own.
    Burn,
    /// PyTorch as it is.
    PyTorch,
    /// PyTorch under `torch.compile`.
    Compiled,
}

impl Contestant {
    /// All, in the order of the columns.
    pub(crate) const ALL: [Self; 4] = [Self::Own, Self::Burn, Self::PyTorch, Self::Compiled];

    /// The word that a request to a server begins with.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Burn => "burn",
            Self::PyTorch => "pytorch",
            Self::Compiled => "compiled",
        }
    }

    /// The head of its column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Burn => "Burn",
            Self::PyTorch => "PyTorch",
            Self::Compiled => "compiled",
        }
    }

    /// Whether it runs in Python.
    pub(crate) fn is_python(self) -> bool {
        matches!(self, Self::PyTorch | Self::Compiled)
    }

    /// Whether the others are compared without it where it fails: compiling needs a C++ compiler.
    pub(crate) fn may_fail(self) -> bool {
        self == Self::Compiled
    }
}
