//! The README tells the truth: its commands work, and its matrix is what the binary prints.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const BUSGATE: &str = env!("CARGO_BIN_EXE_busgate");

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    fs::read_to_string(path).unwrap()
}

/// The fenced blocks of a language, each with what stands behind the language's name.
fn blocks(language: &str) -> Vec<(String, String)> {
    let text = readme();
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        if let Some(flavour) = info.strip_prefix(language) {
            blocks.push((flavour.trim().to_owned(), block.join("\n")));
        }
    }
    blocks
}

/// A gateway on its embedded log, in a folder of its own.
struct Gateway {
    child: Child,
    http: String,
    grpc: String,
    dir: tempfile::TempDir,
}

impl Gateway {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(BUSGATE)
            .args(["serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--log-format", "json"])
            .current_dir(dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = |line: &str, door: &str| {
            let rest = line.split(&format!("\"{door}\":\"")).nth(1)?;
            Some(rest.split('"').next()?.to_owned())
        };
        let (http, grpc) = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the gateway ended before it was ready");
            if let (Some(http), Some(grpc)) = (address(&line, "http"), address(&line, "grpc")) {
                break (http, grpc);
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, http, grpc, dir }
    }

    /// `script` in bash, where `busgate` and curl find this gateway instead of one on the default ports.
    fn bash(&self, script: &str) -> Command {
        let script = script.replace("localhost:8080", &self.http);
        let bin = Path::new(BUSGATE).parent().map(PathBuf::from).unwrap();
        let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path()))).unwrap();
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &script.replace("curl ", "curl -fsS ")]);
        command
            .env("PATH", path)
            .env("BUSGATE_SERVER", format!("http://{}", self.grpc))
            .current_dir(self.dir.path());
        command
    }
}

#[allow(clippy::disallowed_methods, reason = "programs are looked for where the caller's shell would")]
fn path() -> String {
    std::env::var("PATH").unwrap()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_command_works_as_written() {
    let gateway = Gateway::start();
    let mut ran = 0;
    for (flavour, script) in blocks("sh") {
        match flavour.as_str() {
            "" => {
                let output = gateway.bash(&script).output().unwrap();
                let (out, err) =
                    (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                assert!(output.status.success(), "{script}\n{out}\n{err}");
            }
            "stream" => assert!(first_line(&gateway, &script, "data: {").contains("\"cursor\""), "{script}"),
            "skip" => continue,
            other => panic!("an unknown kind of block: {other}"),
        }
        ran += 1;
    }
    assert!(ran >= 5, "the README has lost its commands");
}

/// The first line with `mark` that an endless command prints.
fn first_line(gateway: &Gateway, script: &str, mark: &str) -> String {
    let mut child = gateway.bash(&format!("exec {script}")).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (found, line) = std::sync::mpsc::channel();
    let mark = mark.to_owned();
    std::thread::spawn(move || {
        let line = output.lines().map_while(Result::ok).find(|line| line.contains(&mark));
        found.send(line)
    });
    let line = line.recv_timeout(Duration::from_secs(30)).ok().flatten();
    child.kill().unwrap();
    child.wait().unwrap();
    line.unwrap_or_else(|| panic!("no line with the mark: {script}"))
}

#[test]
fn the_configuration_it_shows_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    for (_, text) in blocks("toml") {
        let file = dir.path().join("busgate.toml");
        fs::write(&file, &text).unwrap();
        let output = Command::new(BUSGATE).args(["config", "check"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_capability_matrix_is_what_the_binary_prints() {
    let output = Command::new(BUSGATE).arg("capabilities").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let readme = readme();
    let shown = readme
        .split("<!-- capabilities -->")
        .nth(1)
        .and_then(|rest| rest.split("<!-- /capabilities -->").next());
    assert_eq!(
        shown.unwrap().trim(),
        printed.trim(),
        "put what `busgate capabilities` prints between the marks"
    );
}
