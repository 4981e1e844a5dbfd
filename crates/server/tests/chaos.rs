//! Chaos from outside: five kinds of clients in one worker group, publishers on every door, and the real binary drained
//! and killed under them. What each client saw is judged message by message.
//!
//! `cargo xtask chaos SECONDS` goes on for longer; `cargo xtask tools` installs what it needs.

#[cfg(test)]
mod tests {
    use std::{
        path::{Path, PathBuf},
        process::{Command, Stdio},
    };

    #[test]
    fn what_was_accepted_arrives_and_what_was_acked_stays_done() {
        let told = passes("chaos.py");
        let checks = told.lines().last().and_then(|line| line.strip_suffix(" checks")?.parse::<u32>().ok());
        assert!(checks.is_some_and(|checks| checks > 1000), "too little was checked: {told}");
    }

    #[test]
    fn the_verdict_sees_every_breach() {
        passes("verdict_test.py");
    }

    /// Runs a script, which must succeed; answers what it told.
    fn passes(script: &str) -> String {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let python: PathBuf =
            Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/python/bin/python3");
        let output = Command::new(&python)
            .arg(tests.join("chaos").join(script))
            .env("BUSGATE_PROGRAM", env!("CARGO_BIN_EXE_busgate"))
            .env("BUSGATE_PROTO", tests.join("../../../proto"))
            .env("BUSGATE_SEED_PROTO", tests.join("seed_clients"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask tools`", python.display()));
        let (told, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}: {}\n{told}\n{errors}", output.status);
        eprintln!("{told}");
        told.trim_end().to_owned()
    }
}
