//! Child processes that end with whoever started them: in good order, by a panic, or by a SIGKILL.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{Error, Result};

/// How often a state that is waited for is looked at.
pub(crate) const GLANCE: Duration = Duration::from_millis(10);

/// How long a server may take to end when it is asked to.
const LEAVING: Duration = Duration::from_secs(30);

/// Ends a process when its parent is gone, where the system has this.
const WITH_PARENT: [&str; 4] = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--"];

/// A running child; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null());
        let what = format!("start {}", command.get_program().display());
        Ok(Self { child: nursery(command)?.map_err(Error::during(what))? })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).map_err(Error::during(format!("{signal:?}")))
    }

    /// Stops it where it stands, and waits until it does: on a busy machine it may run on for a moment.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // What is only looked at is told again to whoever waits for its end.
        let stands = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(&self.child)), stands)
            .map_err(Error::during("wait for a stop"))?;
        Ok(())
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(Error::during("ask for a process"))
    }

    /// Ends it by SIGTERM.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        wait("it ends by SIGTERM", LEAVING, || Ok(self.ended()?.is_some()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL, which a stopped process obeys as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A command that ends with this process.
pub(crate) fn command(program: &Path) -> Command {
    let [setpriv, arguments @ ..] = WITH_PARENT;
    if !Path::new(setpriv).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(arguments.map(OsStr::new)).arg(program);
    command
}

/// Looks until `holds`, not longer than `within`.
pub(crate) fn wait(what: &str, within: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..within.as_millis() / GLANCE.as_millis() {
        if holds()? {
            return Ok(());
        }
        thread::sleep(GLANCE);
    }
    Err(Error::new(format!("not within {within:?}: {what}")))
}

/// Starts a process from a thread that lives as long as this process: the kernel takes the end of the thread that
/// started a child for the end of its parent, and a test's threads come and go.
fn nursery(command: Command) -> Result<std::io::Result<Child>> {
    type Birth = (Command, mpsc::Sender<std::io::Result<Child>>);
    static NURSERY: OnceLock<mpsc::Sender<Birth>> = OnceLock::new();
    let gone = || Error::new("the thread that starts processes is gone");
    let nursery = NURSERY.get_or_init(|| {
        let (send, births) = mpsc::channel::<Birth>();
        thread::spawn(move || {
            for (mut command, answer) in births {
                answer.send(command.spawn()).ok();
            }
        });
        send
    });
    let (send, answer) = mpsc::channel();
    nursery.send((command, send)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())
}
