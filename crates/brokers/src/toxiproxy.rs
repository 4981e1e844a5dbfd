//! toxiproxy in a process of its own, told over its HTTP API what to spoil.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use crate::{
    Error, Result, free_port,
    place::{local, program},
    process::{self, Process},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is tried on another port.
const TRIES: usize = 5;

/// A running toxiproxy; it ends with its test.
#[derive(Debug)]
pub struct Toxiproxy {
    _process: Process,
    api: SocketAddr,
}

/// A link through it, from an address of its own to a server.
#[derive(Debug)]
pub struct Link<'a> {
    proxy: &'a Toxiproxy,
    name: String,
    address: SocketAddr,
}

impl Toxiproxy {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// Where the program is missing or does not answer.
    pub fn start() -> Result<Self> {
        let path = program("go/bin/toxiproxy-server")?;
        let mut refused = Error::new("never tried");
        for _ in 0..TRIES {
            match Self::start_on(&path, free_port()?) {
                Ok(proxy) => return Ok(proxy),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn start_on(path: &Path, port: u16) -> Result<Self> {
        let mut command = process::command(path);
        command.args(["-host", "127.0.0.1", "-port", &port.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::spawn(command)?;
        let api = local(port);
        process::wait("toxiproxy answers", PATIENCE, || match process.ended()? {
            Some(status) => Err(Error::new(format!("toxiproxy ended: {status}"))),
            None => Ok(ask(api, "GET", "/version", "").is_ok()),
        })?;
        Ok(Self { _process: process, api })
    }

    /// A link to `server`, which need not be there yet.
    ///
    /// # Errors
    /// Where there is one of that name.
    pub fn link(&self, name: &str, server: SocketAddr) -> Result<Link<'_>> {
        let body =
            format!(r#"{{"name":"{name}","listen":"127.0.0.1:0","upstream":"{server}","enabled":true}}"#);
        let answer = ask(self.api, "POST", "/proxies", &body)?;
        let listen = answer.split(r#""listen":""#).nth(1).and_then(|rest| rest.split('"').next());
        let address = listen.and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| Error::new(format!("no address in {answer}")))?;
        Ok(Link { proxy: self, name: name.to_owned(), address })
    }
}

impl Link<'_> {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Spoils what the server sends (`downstream`) or what the client does (`upstream`), by a toxic of that kind:
    /// `latency` with `"latency":40`, `timeout` with `"timeout":0`, …
    ///
    /// # Errors
    /// Where toxiproxy refuses.
    pub fn spoil(&self, toxic: &str, stream: &str, attributes: &str) -> Result<()> {
        let body = format!(
            r#"{{"name":"{toxic}-{stream}","type":"{toxic}","stream":"{stream}","attributes":{{{attributes}}}}}"#
        );
        self.ask("POST", "/toxics", &body)
    }

    /// Stops spoiling that.
    ///
    /// # Errors
    /// Where it was not spoilt.
    pub fn heal(&self, toxic: &str, stream: &str) -> Result<()> {
        self.ask("DELETE", &format!("/toxics/{toxic}-{stream}"), "")
    }

    /// Takes the link down, with all its connections, or up again.
    ///
    /// # Errors
    /// Where toxiproxy refuses.
    pub fn enable(&self, enabled: bool) -> Result<()> {
        self.ask("POST", "", &format!(r#"{{"enabled":{enabled}}}"#))
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<()> {
        ask(self.proxy.api, method, &format!("/proxies/{}{path}", self.name), body).map(drop)
    }
}

/// The answer to a request, if it is a good one.
fn ask(api: SocketAddr, method: &str, path: &str, body: &str) -> Result<String> {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(api)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: toxiproxy\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(Error::during(format!("{method} {path}")))?;
    if answer.starts_with("HTTP/1.1 2") {
        Ok(answer)
    } else {
        Err(Error::new(format!("{method} {path}: {answer}")))
    }
}
