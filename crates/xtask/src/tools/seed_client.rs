//! The client in Go that speaks as the event-server's does: its stub is generated, then its tests become a program.

use std::fs;
use std::path::{Path, PathBuf};

use super::{go, once, write};
use crate::places::Places;
use crate::run::{Failure, Outcome, Program};

/// Where it lies, in the top folder.
const SOURCES: &str = "crates/server/tests/seed_clients";
const PROTO: &str = "event/v1/event.proto";

/// Builds `TARGET/tools/seed_client/seed-client`.
pub(super) fn program(places: &Places) -> Outcome {
    let sources = sources(&places.root.join(SOURCES))?;
    let folder = places.tools().join("seed_client");
    once(&folder, &format!("{sources:?}"), || {
        for (name, text) in &sources {
            let path = folder.join(name);
            path.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .map_err(Failure::during(format_args!("make the folder of {name}")))?;
            write(&path, text)?;
        }
        let go = go::toolchain(places)?;
        let go = |arguments: &[&str]| Program::new(places, &go).args(arguments).within(&folder);
        go(&["build", "-trimpath", "-o", "bin/", "tool"]).step("generators of stubs, in Go")?;
        stub(places, &folder)?;
        go(&["vet", "."]).step("lints of the seed's client")?;
        go(&["test", "-trimpath", "-c", "-o", "seed-client", "."]).step("the seed's client, in Go")
    })
}

/// Every source by its name inside the folder, in the order of the names.
fn sources(folder: &Path) -> Result<Vec<(String, String)>, Failure> {
    let unread = |path: &Path| Failure::during(format!("read {}", path.display()));
    let mut paths = vec![PathBuf::from(PROTO)];
    for entry in fs::read_dir(folder).map_err(unread(folder))? {
        paths.push(entry.map_err(unread(folder))?.file_name().into());
    }
    let wanted = ["go", "mod", "proto", "sum"].map(Some);
    paths.retain(|path| wanted.contains(&path.extension().and_then(|extension| extension.to_str())));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(folder.join(&path)).map_err(unread(&path))?;
        Ok((path.display().to_string(), text))
    };
    paths.into_iter().map(read).collect()
}

/// Messages and service, by the compiler that the Python clients bring.
fn stub(places: &Places, folder: &Path) -> Outcome {
    Program::new(places, places.wheel("python3"))
        .args(&["-m", "grpc_tools.protoc", "-I.", PROTO])
        .args(&["--plugin=bin/protoc-gen-go", "--go_out=.", "--go_opt=paths=source_relative"])
        .args(&["--plugin=bin/protoc-gen-go-grpc", "--go-grpc_out=.", "--go-grpc_opt=paths=source_relative"])
        .within(folder)
        .step("the seed's stub")
}
