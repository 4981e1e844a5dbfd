//! Sizes and names a reader can rely on.

use super::sources::{Source, assert_none, item_end, workspace};

const FILE: usize = 400;
const FUNCTION: usize = 60;
const VAGUE: [&str; 10] =
    ["util", "utils", "common", "helper", "helpers", "type", "types", "manager", "misc", "mod"];

/// Files that are too long without their tests.
fn long_files(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.lines > FILE);
    long.map(|source| format!("{}: {} lines without tests", source.path, source.lines)).collect()
}

/// The length of every function, with the place it starts at.
fn functions(source: &Source) -> Vec<(usize, String)> {
    let starts = source.tokens.windows(2).enumerate().filter(|(_, pair)| {
        pair[0].text == "fn" && pair[1].text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    });
    starts
        .map(|(at, pair)| {
            let length = item_end(&source.tokens, at) + 1 - pair[0].line;
            (length, format!("{}:{}: fn {}", source.path, pair[0].line, pair[1].text))
        })
        .collect()
}

fn long_functions(sources: &[Source]) -> Vec<String> {
    let all = sources.iter().flat_map(functions);
    all.filter(|(length, _)| *length > FUNCTION)
        .map(|(length, place)| format!("{place}: {length} lines"))
        .collect()
}

/// Files that do not open with a `//!` sentence, and modules whose name says nothing.
fn unnamed(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        if !source.text.starts_with("//! ") {
            found.push(format!("{}: does not open with a //! sentence", source.path));
        }
        let vague = |part: &str| VAGUE.contains(&part.trim_end_matches(".rs"));
        if source.path.split('/').any(vague) {
            found.push(format!("{}: a module is a noun that says what it holds", source.path));
        }
    }
    found
}

/// The value below which `percent` of all lie.
fn quantile(mut values: Vec<usize>, percent: usize) -> usize {
    values.sort_unstable();
    values.get(values.len() * percent / 100).copied().unwrap_or_default()
}

#[test]
fn no_file_is_long() {
    assert_none(&long_files(&workspace()));
}

#[test]
fn most_files_are_short() {
    let lengths: Vec<usize> = workspace().iter().map(|source| source.lines).collect();
    assert!(quantile(lengths.clone(), 50) <= 130, "median {}", quantile(lengths, 50));
    assert!(quantile(lengths.clone(), 90) <= 260, "p90 {}", quantile(lengths, 90));
}

#[test]
fn no_function_is_long() {
    assert_none(&long_functions(&workspace()));
}

#[test]
fn most_functions_are_short() {
    let lengths: Vec<usize> = workspace().iter().flat_map(functions).map(|(length, _)| length).collect();
    assert!(quantile(lengths.clone(), 90) <= 25, "p90 {}", quantile(lengths, 90));
}

#[test]
fn every_module_says_what_it_is() {
    assert_none(&unnamed(&workspace()));
}

#[test]
fn budgets_see_a_breach() {
    let long = format!("fn long() {{\n{}}}\nfn short();\n", "    call();\n".repeat(FILE));
    let sources = [Source::new("crates/core/src/utils.rs", &long)];
    assert_eq!(long_files(&sources).len(), 1);
    assert_eq!(long_functions(&sources).len(), 1);
    assert_eq!(unnamed(&sources).len(), 2);
    let tested = format!("//! Fine.\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
    let sources = [Source::new("crates/core/src/name.rs", &tested)];
    assert!(
        long_files(&sources).is_empty()
            && long_functions(&sources).is_empty()
            && unnamed(&sources).is_empty()
    );
}
