//! A gateway in a process of its own, and the clients that judge it.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// The gateway of one test; it ends with it.
#[derive(Debug)]
pub(crate) struct Gateway {
    process: Child,
    folder: tempfile::TempDir,
    http: String,
    grpc: String,
}

/// What a script runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    Python,
    Node,
}

impl Gateway {
    /// Starts the binary as a user would, on ports of its own, and waits until it is ready.
    pub(crate) fn start() -> Self {
        Self::serve(&[])
    }

    /// Starts it with a configuration file that lies beside the scripts.
    pub(crate) fn configured(file: &str) -> Self {
        Self::serve(&["--config".as_ref(), scripts().join(file).as_os_str()])
    }

    /// Starts one of the examples, which says where its page is.
    pub(crate) fn example(name: &str) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_busgate")).with_file_name("examples").join(name);
        assert!(program.exists(), "{} is missing: run `cargo build --examples`", program.display());
        let mut command = Command::new(program);
        command.env("BUSGATE_HTTP", "127.0.0.1:0");
        Self::spawn(command, |line| {
            let http = line.strip_prefix("open http://")?.strip_suffix('/')?;
            Some((http.to_owned(), String::new()))
        })
    }

    /// Starts it with more arguments.
    pub(crate) fn serve(arguments: &[&OsStr]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_busgate"));
        command.args(["serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--log-format", "json"]);
        command.args(arguments);
        Self::spawn(command, |line| Some((address(line, "http")?, address(line, "grpc")?)))
    }

    /// Starts a program in a folder of its own; `ready` finds the addresses in the line that tells them.
    fn spawn(mut command: Command, ready: fn(&str) -> Option<(String, String)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder of its own");
        command.current_dir(folder.path()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the gateway starts");
        let stderr = process.stderr.take().expect("its log");
        let (send, addresses) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("gateway: {line}");
                if let Some(found) = ready(&line) {
                    send.send(found).ok();
                }
            }
        });
        let Ok((http, grpc)) = addresses.recv_timeout(Duration::from_secs(20)) else {
            process.kill().ok();
            panic!("the gateway did not say that it is ready");
        };
        Self { process, folder, http, grpc }
    }

    /// Runs a scenario of a script, which must succeed and must have checked something.
    pub(crate) fn judged_by(&self, client: Client, script: &str, scenario: &str) {
        self.judged_in(&scripts(), &[], client, script, scenario);
    }

    /// The same for a script of another folder, which may use what lies beside these, and in an environment of its own.
    pub(crate) fn judged_in(
        &self,
        folder: &Path,
        environment: &[(&str, &str)],
        client: Client,
        script: &str,
        scenario: &str,
    ) {
        let scripts = scripts();
        let output = Command::new(client.program())
            .arg(folder.join(script))
            .arg(scenario)
            .envs(environment.iter().copied())
            .env("BUSGATE_HTTP", &self.http)
            .env("BUSGATE_GRPC", &self.grpc)
            .env("BUSGATE_PID", self.process.id().to_string())
            .env("BUSGATE_PROTO", scripts.join("../../../../proto"))
            .env("BUSGATE_VECTORS", scripts.join("hostile.json"))
            .env("BUSGATE_NODE", tools().join("node"))
            .env("BUSGATE_CHROMIUM", tools().join("bin/chromium"))
            .env("BUSGATE_SCRATCH", self.folder.path())
            .env("BUSGATE_SHOTS", tools().join("../screenshots"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONPATH", &scripts)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; run `cargo xtask tools`", client.program().display())
            });
        let told = String::from_utf8_lossy(&output.stdout);
        let checks = told.lines().last().and_then(|line| line.strip_suffix(" checks")?.parse::<u32>().ok());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script} {scenario}: {}\n{told}\n{errors}", output.status);
        assert!(
            checks.is_some_and(|count| count > 0),
            "{script} {scenario} checked nothing:\n{told}\n{errors}"
        );
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Client {
    fn program(self) -> PathBuf {
        match self {
            Self::Python => tools().join("python/bin/python3"),
            Self::Node => PathBuf::from("node"),
        }
    }
}

/// Where the scripts lie.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outside")
}

/// Where `cargo xtask tools` puts the clients.
fn tools() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools");
    assert!(folder.exists(), "{} is missing: run `cargo xtask tools`", folder.display());
    folder
}

/// The address under `name` in a line of the log.
fn address(line: &str, name: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let field = line.get(name).or_else(|| line.get("fields")?.get(name))?;
    field.as_str().map(ToOwned::to_owned)
}
