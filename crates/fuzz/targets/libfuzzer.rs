//! Any target under libFuzzer: `cargo xtask fuzz` builds this instrumented, with the target's name as its last argument.
//! In a build of any other kind there is nothing here.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod instrumented {
    use std::sync::OnceLock;

    use busgate_fuzz::{Target, find};
    use libfuzzer_sys::fuzz_target;

    static TARGET: OnceLock<&Target> = OnceLock::new();

    fn chosen() -> &'static Target {
        TARGET.get_or_init(|| {
            let name = std::env::args().next_back().unwrap_or_default();
            find(&name).unwrap_or_else(|| panic!("no target is called {name:?}"))
        })
    }

    fuzz_target!(|bytes: &[u8]| (chosen().run)(bytes));
}

#[cfg(not(fuzzing))]
fn main() {}
