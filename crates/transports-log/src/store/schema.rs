//! The tables, and how a connection is set up.

use std::{path::Path, time::Duration};

use busgate_core::Result;
use rusqlite::{Connection, OpenFlags};

use crate::error::{damaged, sqlite};

const FILE: &str = "busgate.db";

/// Written into the header of the database: "bgat", and the version of this schema.
const APPLICATION_ID: i64 = 0x6267_6174;
const VERSION: i64 = 1;

const PAGE_BYTES: u64 = 4096;

/// As many pages as SQLite can address.
const MAX_PAGES: u64 = 0xffff_fffe;

/// In WAL mode `FULL` syncs the log at each commit: a commit that returns is on disk. The log is folded into the
/// database each 32 MiB.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 8192;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -16384;
    PRAGMA temp_store = MEMORY;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
";

const TABLES: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE message (event INTEGER, offset INTEGER, record BLOB NOT NULL, PRIMARY KEY (event, offset))
        WITHOUT ROWID;
    CREATE TABLE state (key BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
    PRAGMA application_id = 1650942324;
    PRAGMA user_version = 1;
    COMMIT;
";

/// Opens the one connection that writes; `acknowledged` is the commit the mark vouches for.
///
/// Tables are made in a new database only: an old one without them has lost them.
pub(crate) fn open_writer(directory: &Path, acknowledged: u64, max_bytes: Option<u64>) -> Result<Connection> {
    let connection = connect(directory, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(sqlite)?;
    if mode != "wal" {
        return Err(damaged(format!("the journal mode is {mode}, not wal")));
    }
    connection.execute_batch(SETTINGS).map_err(sqlite)?;
    match (number(&connection, "application_id")?, number(&connection, "user_version")?) {
        (APPLICATION_ID, VERSION) => {}
        (0, 0) if acknowledged == 0 && number(&connection, "schema_version")? == 0 => {
            connection.execute_batch(TABLES).map_err(sqlite)?;
        }
        (APPLICATION_ID, version) => {
            return Err(damaged(format!("version {version} of the data is not known to this version")));
        }
        _ => return Err(damaged("the database is not one of busgate's")),
    }
    limit(&connection, max_bytes)?;
    Ok(connection)
}

/// Opens a connection that reads.
pub(crate) fn open_reader(directory: &Path) -> Result<Connection> {
    let connection = connect(directory, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -2048; PRAGMA cell_size_check = ON;")
        .map_err(sqlite)?;
    Ok(connection)
}

/// Bounds the size of the database; beyond it a write answers as on a full disk.
pub(crate) fn limit(connection: &Connection, max_bytes: Option<u64>) -> Result<()> {
    let bytes = max_bytes.unwrap_or(u64::MAX);
    let pages = (bytes / PAGE_BYTES).clamp(1, MAX_PAGES);
    connection
        .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get::<_, i64>(0))
        .map_err(sqlite)?;
    Ok(())
}

fn connect(directory: &Path, flags: OpenFlags) -> Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(directory.join(FILE), flags).map_err(sqlite)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(sqlite)?;
    Ok(connection)
}

fn number(connection: &Connection, pragma: &str) -> Result<i64> {
    connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0)).map_err(sqlite)
}
