//! `busgate capabilities`: the matrix of the README.

use std::fmt::Write;

use busgate_core::Capabilities;

use crate::registry;

/// The matrix as a table in Markdown: a row for each capability, a column for each transport.
pub(super) fn table() -> String {
    let transports = registry::capabilities();
    let mut table = String::from("| capability |");
    for (name, _) in &transports {
        _ = write!(table, " {name} |");
    }
    table.push_str("\n| --- |");
    table.push_str(&" --- |".repeat(transports.len()));
    table.push('\n');
    let columns: Vec<_> = transports.iter().map(|(_, capabilities)| rows(*capabilities)).collect();
    let names = columns.first().into_iter().flatten().map(|(name, _)| *name);
    for (row, name) in names.enumerate() {
        _ = write!(table, "| {name} |");
        for (_, claimed) in columns.iter().filter_map(|column| column.get(row)) {
            _ = write!(table, " {claimed} |");
        }
        table.push('\n');
    }
    table
}

/// The rows of one transport behind the gateway, which writes the dead letters where the transport does not.
fn rows(capabilities: Capabilities) -> [(&'static str, String); 14] {
    let by_gateway = capabilities.redelivery && !capabilities.dead_letters;
    capabilities.rows().map(|(name, claimed)| match name {
        "dead_letters" if by_gateway => (name, "gateway".into()),
        _ => (name, claimed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_a_row_and_every_transport_a_column() {
        let table = table();
        assert!(table.starts_with("| capability | memory | log |"), "{table}");
        assert!(table.contains("\n| durable | no | yes |"), "{table}");
        assert_eq!(table.lines().count(), 2 + 14);
        let columns = 1 + registry::capabilities().len();
        assert!(table.lines().all(|line| line.matches('|').count() == columns + 1), "{table}");
    }
}
