//! A Chromium, linked to where the tests look for it.

use super::{link, system};
use crate::places::Places;
use crate::run::Outcome;

/// Finds the machine's Chromium, or installs it.
pub(super) fn chromium(places: &Places) -> Outcome {
    let place = places.tools().join("bin/chromium");
    if place.exists() {
        return Ok(());
    }
    let browser = system(places, &["chromium", "chromium-browser", "google-chrome"], "chromium")?;
    link(&place, browser.as_ref())
}
