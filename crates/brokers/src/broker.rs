//! One running server: its address and folder stay while it is paused, killed and started again.

use std::{
    ffi::OsString,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    Error, Result,
    process::{self, Process},
};

/// How often a first start is tried: the ports that were free a moment ago may be taken by another test.
const TRIES: usize = 5;

/// How many lines of its log tell why a server did not start.
const TOLD: usize = 15;

/// A server of one's own. Dropped, it is killed and its data is gone.
#[derive(Debug)]
pub struct Broker {
    plan: Plan,
    folder: TempDir,
    process: Mutex<Option<Process>>,
}

/// How a server is started.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) scheme: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// What it writes to its log when it serves.
    pub(crate) ready: &'static str,
    pub(crate) within: Duration,
    pub(crate) fill: Fill,
}

/// The data that a server starts with that has none.
#[derive(Debug, Clone)]
pub(crate) enum Fill {
    /// An empty folder.
    Nothing,
    /// A copy of a folder.
    Copy(PathBuf),
    /// What a command makes.
    Run(Vec<OsString>),
}

impl Broker {
    /// Starts what `plan` makes of a new folder, with other ports when the first are taken.
    pub(crate) fn start_by(plan: impl Fn(&Path) -> Result<Plan>) -> Result<Self> {
        let mut refused = Error::new("never tried");
        for _ in 0..TRIES {
            let folder = tempfile::Builder::new().prefix("busgate-broker-").tempdir();
            let folder = folder.map_err(Error::during("a folder for a broker"))?;
            let broker = Self { plan: plan(folder.path())?, folder, process: Mutex::default() };
            match broker.start() {
                Ok(()) => return Ok(broker),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.plan.address
    }

    /// Its URL, as a transport takes it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.plan.address)
    }

    /// Its URL through something that stands before it at `address`.
    #[must_use]
    pub fn url_at(&self, address: SocketAddr) -> String {
        format!("{}://{address}", self.plan.scheme)
    }

    /// The process that runs now.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.lock().as_ref().map(Process::id)
    }

    /// Stops it where it stands (SIGSTOP), from when this returns: connections stay, nothing answers.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn pause(&self) -> Result<()> {
        self.process.lock().as_ref().ok_or_else(|| self.broken("does not run"))?.pause()
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// Where it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends it from one moment to the next (SIGKILL).
    ///
    /// # Errors
    /// Where it does not run.
    pub fn kill(&self) -> Result<()> {
        drop(self.taken()?);
        Ok(())
    }

    /// Ends it in good order (SIGTERM).
    ///
    /// # Errors
    /// Where it does not run, or does not end.
    pub fn stop(&self) -> Result<()> {
        self.taken()?.stop()
    }

    /// Starts it again, on the same address and with the data it left, and waits until it serves.
    ///
    /// # Errors
    /// Where it runs already, or does not serve in time; with the end of its log.
    pub fn start(&self) -> Result<()> {
        let mut running = self.process.lock();
        if running.is_some() {
            return Err(self.broken("runs already"));
        }
        self.fill()?;
        let (log, from) = self.log_from_here()?;
        let mut command = process::command(&self.plan.program);
        let errors = log.try_clone().map_err(Error::during("its log"))?;
        command.args(&self.plan.arguments).current_dir(self.folder.path());
        command.stdout(Stdio::from(log)).stderr(Stdio::from(errors));
        let mut process = Process::spawn(command)?;
        let served = process::wait("it serves", self.plan.within, || {
            if let Some(status) = process.ended()? {
                return Err(Error::new(format!("it ended: {status}")));
            }
            Ok(self.log().get(from..).is_some_and(|log| log.contains(self.plan.ready)))
        });
        served.map_err(|error| self.broken(&format!("{error}\n{}", self.last_words())))?;
        *running = Some(process);
        Ok(())
    }

    /// Throws its data away; it must be stopped or killed before.
    ///
    /// # Errors
    /// Where it runs, or the data can't be removed.
    pub fn wipe(&self) -> Result<()> {
        if self.process.lock().is_some() {
            return Err(self.broken("runs: its data stays"));
        }
        fs::remove_dir_all(self.data()).map_err(Error::during("remove its data"))
    }

    /// All it wrote to its log, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Fails where it was started and has ended by itself, with the end of its log.
    pub(crate) fn check(&self) -> Result<()> {
        match self.process.lock().as_mut().map(Process::ended).transpose()?.flatten() {
            Some(status) => Err(self.broken(&format!("it ended: {status}\n{}", self.last_words()))),
            None => Ok(()),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Makes the folder of its data where there is none.
    pub(crate) fn fill(&self) -> Result<()> {
        let data = self.data();
        if data.exists() {
            return Ok(());
        }
        let filled = match &self.plan.fill {
            Fill::Nothing => fs::create_dir_all(&data),
            Fill::Copy(template) => copy(template, &data),
            Fill::Run(command) => return run(command),
        };
        filled.map_err(Error::during(format!("fill {}", data.display())))
    }

    /// Its log, opened at its end, and where that is.
    fn log_from_here(&self) -> Result<(File, usize)> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"));
        Ok((log.map_err(Error::during("its log"))?, self.log().len()))
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(TOLD)..).unwrap_or_default().join("\n")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.process.lock().as_ref().ok_or_else(|| self.broken("does not run"))?.signal(signal)
    }

    fn taken(&self) -> Result<Process> {
        self.process.lock().take().ok_or_else(|| self.broken("does not run"))
    }

    fn broken(&self, what: &str) -> Error {
        Error::new(format!("{} at {}: {what}", self.plan.name, self.plan.address))
    }
}

fn run(command: &[OsString]) -> Result<()> {
    let [program, arguments @ ..] = command else { return Err(Error::new("no command fills it")) };
    let output = Command::new(program).args(arguments).output().map_err(Error::during(program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let told =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Err(Error::new(format!("{}: {}\n{told}", program.display(), output.status)))
}

pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (source, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if source.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}
