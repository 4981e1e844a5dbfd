//! toxiproxy in a process of its own, told over its HTTP API what to spoil.

use std::{
    fmt::Display,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running toxiproxy; it ends with its test.
#[derive(Debug)]
pub(crate) struct Toxiproxy {
    process: Child,
    api: SocketAddr,
}

/// A link through it, from an address of its own to a server.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    proxy: &'a Toxiproxy,
    name: &'static str,
    pub(crate) address: SocketAddr,
}

impl Toxiproxy {
    /// Starts it and waits until it answers. The ports that were free a moment ago may be taken by another test.
    pub(crate) fn start() -> Self {
        (0..5).find_map(|_| Self::start_on(free_port())).expect("toxiproxy starts")
    }

    fn start_on(port: u16) -> Option<Self> {
        let program =
            Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools").join("go/bin/toxiproxy-server");
        assert!(program.exists(), "{} is missing: run `cargo xtask tools`", program.display());
        let process = Command::new(program)
            .args(["-host", "127.0.0.1", "-port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let mut proxy = Self { process, api: (Ipv4Addr::LOCALHOST, port).into() };
        for _ in 0..PATIENCE.as_millis() / 20 {
            if proxy.process.try_wait().expect("its state").is_some() {
                return None;
            }
            if proxy.ask("GET", "/version", "").is_ok() {
                return Some(proxy);
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// A link to `server`.
    pub(crate) fn link(&self, name: &'static str, server: SocketAddr) -> Link<'_> {
        let body =
            format!(r#"{{"name":"{name}","listen":"127.0.0.1:0","upstream":"{server}","enabled":true}}"#);
        let answer = self.ask("POST", "/proxies", &body).unwrap();
        let listen = answer.split(r#""listen":""#).nth(1).and_then(|rest| rest.split('"').next());
        Link { proxy: self, name, address: listen.expect("an address").parse().expect("an address") }
    }

    /// The answer to a request, if it is a good one.
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let told = |error: &dyn Display| format!("{method} {path}: {error}");
        let exchange = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.api)?;
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
        let answer = exchange().map_err(|error| told(&error))?;
        if answer.starts_with("HTTP/1.1 2") { Ok(answer) } else { Err(told(&answer)) }
    }
}

impl Link<'_> {
    /// Spoils what the server sends (`downstream`) or what the client does (`upstream`).
    pub(crate) fn spoil(&self, toxic: &str, stream: &str, attributes: &str) {
        let body = format!(
            r#"{{"name":"{toxic}-{stream}","type":"{toxic}","stream":"{stream}","attributes":{{{attributes}}}}}"#
        );
        self.proxy.ask("POST", &format!("/proxies/{}/toxics", self.name), &body).unwrap();
    }

    /// Stops spoiling that.
    pub(crate) fn heal(&self, toxic: &str, stream: &str) {
        let path = format!("/proxies/{}/toxics/{toxic}-{stream}", self.name);
        self.proxy.ask("DELETE", &path, "").unwrap();
    }

    /// Takes the link down, with all its connections, or up again.
    pub(crate) fn enable(&self, enabled: bool) {
        let path = format!("/proxies/{}", self.name);
        self.proxy.ask("POST", &path, &format!(r#"{{"enabled":{enabled}}}"#)).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Toxiproxy {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

#[test]
fn a_link_carries_and_can_be_taken_down() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Toxiproxy::start();
    let link = proxy.link("echo", server.local_addr().unwrap());
    let mut client = TcpStream::connect(link.address).unwrap();
    client.write_all(b"hello").unwrap();
    let (mut accepted, _) = server.accept().unwrap();
    let mut hello = [0; 5];
    accepted.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    link.spoil("latency", "downstream", r#""latency":300"#);
    let sent = tokio::time::Instant::now();
    accepted.write_all(b"world").unwrap();
    client.read_exact(&mut hello).unwrap();
    assert!(sent.elapsed() >= Duration::from_millis(300) && &hello == b"world");
    link.heal("latency", "downstream");
    link.enable(false);
    assert!(matches!(client.read(&mut hello), Ok(0) | Err(_)));
    assert!(TcpStream::connect(link.address).is_err());
}
