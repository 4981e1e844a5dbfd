//! Servers under test: started on a core of their own, their processor time read from the kernel.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::Failure;

/// Where a server runs; the load generator has the other core.
pub(crate) const SERVER_CORE: &str = "0";

/// Where the load generator runs.
pub(crate) const LOAD_CORE: &str = "1";

/// The kernel counts processor time in hundredths of a second (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Where a gateway's gRPC door is; that of a floor is its only one.
    pub(crate) grpc: SocketAddr,
    /// Removed with the server.
    _data: Option<tempfile::TempDir>,
}

impl Server {
    /// A floor of this program, which prints its address first.
    pub(crate) fn floor(kind: &str, subscribers: usize) -> Result<Self, Failure> {
        let mut command = pinned(SERVER_CORE, &std::env::current_exe()?);
        command.args(["floor", kind, "--subscribers", &subscribers.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().ok_or("the floor has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse()?;
        Ok(Self { child, address, grpc: address, _data: None })
    }

    /// The busgate binary beside this one, over `transport`.
    pub(crate) fn busgate(transport: &str) -> Result<Self, Failure> {
        Self::serving(pinned(SERVER_CORE, &busgate_binary()?), transport)
    }

    /// The same with one thread, as there, but on whichever core is free: the load and a broker share them all.
    pub(crate) fn busgate_anywhere(transport: &str) -> Result<Self, Failure> {
        let mut command = Command::new(busgate_binary()?);
        command.env("BUSGATE_THREADS", "1");
        Self::serving(command, transport)
    }

    fn serving(mut command: Command, transport: &str) -> Result<Self, Failure> {
        let data = tempfile::tempdir()?;
        let transport = transport.replace("{dir}", &data.path().display().to_string());
        command.args(["serve", "--transport", &transport, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]);
        command.args(["--log-format", "json"]).current_dir(data.path());
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let log = child.stderr.take().ok_or("busgate has no log")?;
        let (line, rest) = ready_line(BufReader::new(log))?;
        let (address, grpc) = (door(&line, "http")?, door(&line, "grpc")?);
        // The log must be read on, or the server blocks when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut rest.into_inner(), &mut std::io::sink()));
        Ok(Self { child, address, grpc, _data: Some(data) })
    }

    /// The processor time it has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit_once(')').ok_or("unreadable /proc/PID/stat")?.1;
        let ticks: f64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
    }

    /// The bytes of memory it has now.
    pub(crate) fn memory(&self) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no VmRSS in /proc")?;
        Ok(kilobytes.trim().parse::<f64>()? * 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The line of the log that says it is ready.
fn ready_line<R: Read>(mut log: BufReader<R>) -> Result<(String, BufReader<R>), Failure> {
    let mut line = String::new();
    while log.read_line(&mut line)? > 0 {
        if line.contains("\"http\":\"") {
            return Ok((line, log));
        }
        line.clear();
    }
    Err("busgate ended before it was ready".into())
}

/// The ready line carries the address of each door.
fn door(line: &str, name: &str) -> Result<SocketAddr, Failure> {
    let rest = line.split(&format!("\"{name}\":\"")).nth(1).ok_or("the ready line names no such door")?;
    Ok(rest.split('"').next().unwrap_or_default().parse()?)
}

fn busgate_binary() -> Result<PathBuf, Failure> {
    let binary = std::env::current_exe()?.with_file_name("busgate");
    if binary.exists() {
        Ok(binary)
    } else {
        Err(format!("{} is missing: cargo build --release", binary.display()).into())
    }
}

/// `program` on one core where `taskset` is there, else wherever the kernel puts it.
pub(crate) fn pinned(core: &str, program: &Path) -> Command {
    let known = Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !known.is_ok_and(|status| status.success()) {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}
