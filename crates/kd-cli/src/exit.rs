//! How a command ended, as a type: scripts branch on it, so the meaning of each number is fixed here.

use std::process::ExitCode;

/// The exit status of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Exit {
    /// 0: it did what was asked.
    Done,
    /// 1: the run is done, and a number of it missed a gate of `[expect]`.
    GateMissed,
    /// 2: the request was wrong: an option, a recipe, a path, data that is not there.
    Request,
    /// 3: the run failed or was interrupted. What it had reached is on disk.
    Failed,
}

impl Exit {
    /// The number that the process returns.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::GateMissed => 1,
            Exit::Request => 2,
            Exit::Failed => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_documentation_and_the_worst_is_the_greatest() {
        let all = [Exit::Done, Exit::GateMissed, Exit::Request, Exit::Failed];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3]);
        assert!(all.is_sorted());
    }
}
