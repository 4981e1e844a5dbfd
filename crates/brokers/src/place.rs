//! Where things are: the programs that `cargo xtask tools` installed, and ports that nobody has.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
};

use crate::{Error, Result};

/// A port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// Where the machine has none.
pub fn free_port() -> Result<u16> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    Ok(bound.map_err(Error::during("no free port"))?.port())
}

/// A program or folder that `cargo xtask tools` puts into the target directory, by its place in `TARGET/tools`.
///
/// # Errors
/// Where it is missing.
pub fn program(place: &str) -> Result<PathBuf> {
    let path = tools()?.join(place);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::new(format!("{} is missing: run `cargo xtask tools`", path.display())))
}

pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// `TARGET/tools`, seen from a program that cargo built: `TARGET/debug/deps/test-0123` or `TARGET/release/bench`.
fn tools() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(Error::during("this program's own path"))?;
    let found = own.ancestors().skip(1).map(|folder| folder.join("tools")).find(|tools| tools.is_dir());
    found.ok_or_else(|| Error::new(format!("no tools beside {}: run `cargo xtask tools`", own.display())))
}
