//! How a client shows who it is; nothing shows a secret.

use std::{fmt, path::PathBuf};

/// How a client shows who it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// It does not.
    #[default]
    None,
    /// A user with a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
    /// An nkey, by its seed.
    NKey(Secret),
    /// The credentials file of an operator's user: a JWT with its nkey.
    File(PathBuf),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Password { user, .. } => write!(f, "Password({user})"),
            Self::Token(_) => f.write_str("Token"),
            Self::NKey(_) => f.write_str("NKey"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// A secret, or the file it is in.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Itself.
    Text(String),
    /// The first line of this file.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
