//! The scripts that run on the server, each atomic, each naming all its keys.

use std::sync::LazyLock;

macro_rules! script {
    ($name:ident, $($part:literal),+) => {
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(stringify!($name), concat!(include_str!("scripts/prelude.lua"), $(include_str!($part)),+))
        });
    };
}

script!(REGISTER, "scripts/register.lua");
script!(UNREGISTER, "scripts/unregister.lua");
script!(DELIST, "scripts/delist.lua");
script!(PUBLISH, "scripts/publish.lua");
script!(READ, "scripts/read.lua");
script!(JOIN, "scripts/group.lua", "scripts/join.lua");
script!(WORK, "scripts/group.lua", "scripts/work.lua");
script!(SETTLE, "scripts/group.lua", "scripts/settle.lua");
script!(RECLAIM, "scripts/group.lua", "scripts/reclaim.lua");

/// A script, and the hash by which a server that has it is asked for it.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    pub(crate) hash: String,
}

impl Script {
    fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, hash: redis::Script::new(text).get_hash().to_owned() }
    }
}
