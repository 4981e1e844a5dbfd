//! Every target over its corpus, and over mutations of it: the same ones in every run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[cfg(test)]
#[path = "laws/mutator.rs"]
mod mutator;

use std::{fs, path::Path};

use mutator::Mutator;

/// The inputs in the folder of a target: what led the fuzzer on, and what once broke a law.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Tries the corpus of a target, and mutations of it.
fn holds(name: &str) {
    let target = busgate_fuzz::find(name).expect("a target of this name");
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "a target has something to start from");
    corpus.iter().for_each(|input| (target.run)(input));
    let mut mutator = Mutator::new(corpus);
    for number in 0..target.mutations {
        let input = mutator.next();
        let tried = std::panic::catch_unwind(|| (target.run)(&input));
        assert!(tried.is_ok(), "mutation {number} of {name} breaks a law: {input:?}");
    }
}

#[test]
fn what_breaks_a_law_is_found() {
    let mut mutator = Mutator::new(vec![b"{\"a\":1}".to_vec(), b"null".to_vec()]);
    let found =
        (0..1000).map(|_| mutator.next()).position(|input| input.starts_with(b"nu") && input.contains(&b'{'));
    assert!(found.is_some());
}

#[test]
fn every_target_has_its_test() {
    let text = include_str!("laws.rs");
    for target in busgate_fuzz::TARGETS {
        assert!(text.contains(&format!("holds(\"{}\")", target.name)), "{} is not tested", target.name);
    }
}

#[test]
fn forged_ack_ids_settle_nothing() {
    holds("ack_ids");
}

#[test]
fn a_client_reads_what_the_server_wrote() {
    holds("answers");
}

#[test]
fn a_body_is_read_as_written_or_refused() {
    holds("bodies");
}

#[test]
fn a_bad_configuration_is_told_without_its_secrets() {
    holds("configuration");
}

#[test]
fn a_cursor_leads_to_the_rest_or_is_refused() {
    holds("cursors");
}

#[test]
fn damaged_files_are_never_served() {
    holds("damage");
}

#[test]
fn a_socket_is_read_the_same_however_it_is_cut() {
    holds("frames");
}

#[test]
fn a_lease_reads_as_it_was_written_and_settles_one_message() {
    holds("leases");
}

#[test]
fn no_message_breaks_the_framing() {
    holds("outgoing");
}

#[test]
fn places_read_back_and_compare() {
    holds("places");
}

#[test]
fn a_query_is_understood_on_every_door_or_refused() {
    holds("queries");
}

#[test]
fn a_record_reads_as_it_was_written() {
    holds("records");
}

#[test]
fn a_server_reads_what_the_client_wrote() {
    holds("requests");
}
