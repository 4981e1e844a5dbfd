//! A gateway in a process of its own, and the judges that are sent to it.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// The gateway of one test; it ends with it.
#[derive(Debug)]
pub(crate) struct Gateway {
    process: Child,
    folder: tempfile::TempDir,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

impl Gateway {
    /// Starts the binary on ports of its own, with these variables set, and waits until it is ready.
    pub(crate) fn start(variables: &[(&str, &str)]) -> Self {
        Self::serve(&[], variables)
    }

    /// The same with a configuration file that lies beside the judges.
    pub(crate) fn configured(file: &str, variables: &[(&str, &str)]) -> Self {
        Self::serve(&["--config".into(), beside(file).into()], variables)
    }

    fn serve(arguments: &[OsString], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder of its own");
        let mut command = Command::new(env!("CARGO_BIN_EXE_busgate"));
        command.args(["serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--log-format", "json"]);
        command.args(arguments).envs(variables.iter().copied());
        command.current_dir(folder.path()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the gateway starts");
        let log = BufReader::new(process.stderr.take().expect("its log"));
        let (send, ready) = mpsc::channel();
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                eprintln!("gateway: {line}");
                if let Some(addresses) = addresses(&line) {
                    send.send(addresses).ok();
                }
            }
        });
        let Ok((http, grpc)) = ready.recv_timeout(Duration::from_secs(30)) else {
            process.kill().ok();
            panic!("the gateway did not say that it is ready");
        };
        Self { process, folder, http, grpc }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A folder that ends with the gateway.
    pub(crate) fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.try_wait().is_ok_and(|ended| ended.is_none())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Runs a judge to its end.
pub(crate) fn judge(command: &mut Command) -> Output {
    let program = command.get_program().to_owned();
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask tools`", program.display()))
}

/// What the judge said, for the message of a failure.
pub(crate) fn told(output: &Output) -> String {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{said}\n{complained}", output.status)
}

/// What `cargo xtask tools` installs.
pub(crate) fn tool(path: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools").join(path)
}

/// A file that lies beside the judges.
pub(crate) fn beside(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges").join(file)
}

/// How long the long form of these tests may take, where that was asked for.
pub(crate) fn long() -> Option<u64> {
    #[allow(clippy::disallowed_methods, reason = "tests are configured by what starts them")]
    let seconds = std::env::var("BUSGATE_JUDGE_SECONDS").ok()?;
    Some(seconds.parse().expect("BUSGATE_JUDGE_SECONDS is a number"))
}

/// The addresses, in the line of the log that tells them.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = |name| line.get(name)?.as_str()?.parse().ok();
    Some((address("http")?, address("grpc")?))
}
