//! The README's quick start for Rust, as a new user would try it: a fresh package, its dependencies, its program.
//!
//! It stands with the server because only this package's tests are given the gateway's binary.

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
    sync::mpsc::{Receiver, channel},
    time::Duration,
};
use tokio::time::Instant;

/// How long a step of a program may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// As in the workspace's manifest, so that what was built for the tests is not built again.
const PROFILE: &str =
    "\n[profile.dev]\ndebug = \"line-tables-only\"\n\n[profile.dev.package.\"*\"]\ndebug = false\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The section's shell commands and its program.
fn section() -> (String, String) {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section =
        readme.split("\n## From Rust\n").nth(1).expect("the section").split("\n## ").next().unwrap();
    let block = |mark: &str| {
        let rest = section.split_once(mark).unwrap_or_else(|| panic!("no {mark}")).1;
        rest.split_once("\n```").unwrap().0.to_owned()
    };
    (block("```sh skip\n"), block("```rust src/main.rs\n"))
}

/// A program whose output is read line by line, and which ends with this test.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command, output: fn(&mut Child) -> Box<dyn std::io::Read + Send>) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let read = BufReader::new(output(&mut child));
        let (line, lines) = channel();
        std::thread::spawn(move || read.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line of output")
    }

    /// Presses ctrl-c once the program waits for it, and answers what was still written.
    fn interrupt(mut self) -> Vec<String> {
        let pid = self.child.id().to_string();
        let began = Instant::now();
        while !catches_interrupts(&pid) {
            assert!(began.elapsed() < PATIENCE, "it does not wait for ctrl-c");
            std::thread::yield_now();
        }
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let rest: Vec<_> = self.lines.iter().collect();
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

/// Whether a process has a handler for SIGINT, the second of the signals.
fn catches_interrupts(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 0b10 != 0
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway on its embedded log, and the address of its gRPC door.
fn gateway(dir: &Path) -> (Running, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_busgate"));
    command.args(["serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--log-format", "json"]);
    let gateway = Running::start(command.current_dir(dir), |child| Box::new(child.stderr.take().unwrap()));
    loop {
        let line = gateway.line();
        if let Some(rest) = line.split("\"grpc\":\"").nth(1) {
            let grpc = rest.split('"').next().unwrap().to_owned();
            return (gateway, grpc);
        }
    }
}

/// What the README's commands make, in `dir`: with this checkout in place of its address, and the versions it was locked
/// to.
fn package(dir: &Path, commands: &str) -> PathBuf {
    let client = format!("--path {}", root().join("crates/client").display());
    let (cargo, mut script) = (env!("CARGO"), String::from("set -e\n"));
    for line in commands.lines() {
        let line = line.replace("--git https://github.com/busgate/busgate", &client);
        let line = line.replace("add serde ", "add serde@1 ").replace("add tokio ", "add tokio@1 ");
        script += &line.replace("cargo ", &format!("'{cargo}' "));
        script += if line.contains(" add ") { " --offline --quiet\n" } else { "\n" };
    }
    let status = Command::new("bash").args(["-c", &script]).current_dir(dir).status().unwrap();
    assert!(status.success(), "{script}");
    let package = dir.join("shop");
    let manifest = package.join("Cargo.toml");
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap() + PROFILE).unwrap();
    fs::copy(root().join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    package
}

/// Builds the package beside the tests, offline.
fn build(package: &Path) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--offline", "--quiet", "--target-dir"]).arg(target).current_dir(package);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/shop")
}

#[test]
fn the_quick_start_for_rust_runs_as_it_stands() {
    let (commands, program) = section();
    assert!(program.lines().count() <= 25, "twenty lines and some");
    let dir = tempfile::tempdir().unwrap();
    let (_gateway, grpc) = gateway(dir.path());
    let package = package(dir.path(), &commands);
    let program = program.replace("localhost:9090", &grpc);
    assert!(program.contains(&grpc));
    fs::write(package.join("src/main.rs"), program).unwrap();
    let shop = build(&package);

    // Twice, so that what was acked the first time would show if it came back.
    for _ in 0..2 {
        let mut command = Command::new(&shop);
        let shop = Running::start(&mut command, |child| Box::new(child.stdout.take().unwrap()));
        assert_eq!(shop.line(), "order 7: 9999 cents");
        assert_eq!(shop.interrupt(), Vec::<String>::new());
    }
}
