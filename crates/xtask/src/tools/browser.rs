//! A Chromium, linked to where the tests look for it.

use std::fs;
use std::os::unix::fs::symlink;

use super::system;
use crate::places::Places;
use crate::run::{Failure, Outcome};

/// Finds the machine's Chromium, or installs it.
pub(super) fn chromium(places: &Places) -> Outcome {
    let link = places.tools().join("bin/chromium");
    if link.exists() {
        return Ok(());
    }
    let browser = system(places, &["chromium", "chromium-browser", "google-chrome"], "chromium")?;
    let made = link.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        // A link to a browser that has gone is in the way of a new one.
        fs::remove_file(&link).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        symlink(browser, &link)
    });
    made.map_err(Failure::during(format_args!("link {}", link.display())))
}
