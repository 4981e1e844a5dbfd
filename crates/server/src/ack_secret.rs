//! What ack ids are signed with: shared by configuration, or this node's own, kept beside its data.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

use busgate_core::{AckSecret, Error, Result};
use uuid::Uuid;

use crate::config::Secret;

/// The file in the data directory.
const FILE: &str = "ack_secret";

/// The secret that is configured, else the one in `directory` (made when there is none), else one for this process.
pub(crate) fn load(configured: Option<&Secret>, directory: Option<&Path>) -> Result<AckSecret> {
    match (configured, directory) {
        (Some(secret), _) => AckSecret::new(secret.expose().as_bytes()),
        (None, Some(directory)) => {
            let secret = kept(&directory.join(FILE)).map_err(|error| {
                Error::unavailable(format!(
                    "the ack secret in {} can't be used: {error}",
                    directory.display()
                ))
                .with_source(error)
            })?;
            AckSecret::new(secret.trim_ascii())
        }
        (None, None) => Ok(AckSecret::generate()),
    }
}

fn kept(file: &Path) -> io::Result<Vec<u8>> {
    match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(file),
        read => read,
    }
}

/// Makes a secret that only this user can read. It is whole on disk before it has its name.
fn make(file: &Path) -> io::Result<Vec<u8>> {
    let secret =
        [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()].map(|random| random.simple().to_string()).concat();
    let unfinished = file.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut handle = options.open(&unfinished)?;
    handle.write_all(secret.as_bytes())?;
    handle.sync_all()?;
    fs::rename(&unfinished, file)?;
    Ok(secret.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        load(None, Some(directory.path())).unwrap();
        let made = fs::read(directory.path().join(FILE)).unwrap();
        load(None, Some(directory.path())).unwrap();
        assert_eq!(fs::read(directory.path().join(FILE)).unwrap(), made);
        assert!(made.len() >= 32);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_secret_that_was_cut_short_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "short").unwrap();
        assert!(load(None, Some(directory.path())).is_err());
    }
}
