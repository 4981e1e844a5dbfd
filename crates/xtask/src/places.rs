//! Where things lie: the checkout, the target directory, and the tools inside it.

use std::path::{Path, PathBuf};

use crate::run::Failure;

/// The folders a task works in.
#[derive(Debug)]
pub(crate) struct Places {
    /// The top of the checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, wherever it was moved to.
    target: PathBuf,
}

impl Places {
    /// Finds them from the place this binary was compiled in and the place it was compiled to.
    pub(crate) fn find() -> Result<Self, Failure> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        let executable = std::env::current_exe()
            .map_err(|error| Failure::new(format!("this program's own path is unknown: {error}")))?;
        // TARGET/debug/xtask
        match (root, executable.ancestors().nth(2)) {
            (Some(root), Some(target)) => Ok(Self { root: root.to_owned(), target: target.to_owned() }),
            _ => Err(Failure::new("run this by `cargo xtask`")),
        }
    }

    /// What the tests look for: `TARGET/tools/{python,node,go/bin,bin}`.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A program that came as a Python wheel.
    pub(crate) fn wheel(&self, program: &str) -> PathBuf {
        self.tools().join("python/bin").join(program)
    }

    /// What fuzzing leaves behind: inputs that led somewhere new, and inputs that broke something.
    pub(crate) fn fuzzed(&self) -> PathBuf {
        self.target.join("fuzz")
    }

    /// A program of ours, built for release.
    pub(crate) fn release(&self, program: &str) -> PathBuf {
        self.target.join("release").join(program)
    }
}
