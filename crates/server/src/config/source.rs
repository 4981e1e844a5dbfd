//! Where settings come from: a file, the environment, flags.

use std::{collections::BTreeMap, fmt, path::Path};

/// The prefix of every variable busgate reads.
pub(crate) const PREFIX: &str = "BUSGATE_";

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is built in.
    Default,
    /// In a configuration file.
    File(String),
    /// In this environment variable.
    Environment(String),
    /// As this flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built in"),
            Self::File(name) | Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// The variables of the environment that are busgate's, read once.
///
/// Everything that looks at the environment looks here, so a test brings its own.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process. A variable that is not UTF-8 is read as far as it is.
    #[must_use]
    pub fn process() -> Self {
        #[allow(clippy::disallowed_methods, reason = "the one reader of the environment")]
        let variables = std::env::vars_os();
        Self::new(
            variables.map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            }),
        )
    }

    /// An environment of these variables; those of others are left out.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect())
    }

    /// The value of a variable; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The names of all variables.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Everything a configuration is put together from, strongest last: file, environment, flags.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The text of the configuration file with its name.
    pub file: Option<(String, String)>,
    /// The environment.
    pub environment: Environment,
    /// Flags as pairs of key and value.
    pub flags: Vec<(&'static str, String)>,
}

impl Sources {
    /// Only what is built in.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// With the file at `path`.
    ///
    /// # Errors
    /// When it can't be read as UTF-8 text.
    pub fn with_file(mut self, path: &Path) -> std::io::Result<Self> {
        self.file = Some((path.display().to_string(), std::fs::read_to_string(path)?));
        Ok(self)
    }
}
