//! The Rust sources of the workspace, as tokens with their lines; comments, string contents and tests left out.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the top of the checkout: `crates/core/src/name.rs`.
    pub(crate) path: String,
    /// As it stands in the file.
    pub(crate) text: String,
    /// The code that is not a test.
    pub(crate) tokens: Vec<Token>,
    /// Lines that are not a test's.
    pub(crate) lines: usize,
}

/// A word, a number, or a mark, and the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// The top of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout's own path")
}

/// All sources of all crates.
pub(crate) fn workspace() -> Vec<Source> {
    let root = root();
    let mut files = Vec::new();
    for package in entries(&root.join("crates")) {
        collect(&package.join("src"), &mut files);
    }
    assert!(files.len() > 20, "the sources were not found: {files:?}");
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).expect("a readable source");
        let path = file
            .strip_prefix(&root)
            .expect("a path inside the checkout")
            .to_string_lossy()
            .replace('\\', "/");
        Source::new(&path, &text)
    };
    files.into_iter().map(read).filter(|source| !is_test_file(&source.path)).collect()
}

/// The entries of a folder in the order of their names; none when there is no such folder.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    paths
}

/// Fails with one line a breach.
pub(crate) fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "test.rs"))
        || path.ends_with("_tests.rs")
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let all = tokens(text);
        let tests = test_spans(&all);
        let in_test =
            |token: &Token| tests.iter().any(|(first, last)| (*first..=*last).contains(&token.line));
        let tested: usize = tests.iter().map(|(first, last)| last - first + 1).sum();
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens: all.iter().filter(|token| !in_test(token)).cloned().collect(),
            lines: text.lines().count() - tested,
        }
    }

    /// The lines on which `word` stands as a whole word.
    pub(crate) fn lines_with(&self, word: impl Fn(&str) -> bool) -> Vec<usize> {
        self.tokens.iter().filter(|token| word(&token.text)).map(|token| token.line).collect()
    }

    /// The lines where these tokens follow each other.
    pub(crate) fn lines_with_all(&self, words: &[&str]) -> Vec<usize> {
        let matches = |window: &&[Token]| window.iter().zip(words).all(|(token, word)| token.text == *word);
        self.tokens.windows(words.len()).filter(matches).map(|window| window[0].line).collect()
    }

    /// `path:line: what`, for a list of lines.
    pub(crate) fn breaches(&self, lines: Vec<usize>, what: &str) -> Vec<String> {
        lines.into_iter().map(|line| format!("{}:{line}: {what}", self.path)).collect()
    }
}

/// First and last line of each `#[cfg(test)]` item.
fn test_spans(tokens: &[Token]) -> Vec<(usize, usize)> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut spans = Vec::new();
    for (at, window) in tokens.windows(marker.len()).enumerate() {
        if window.iter().zip(marker).all(|(token, word)| token.text == word) {
            spans.push((tokens[at].line, item_end(tokens, at + marker.len())));
        }
    }
    spans
}

/// The line on which the item that starts at `from` ends: at its closing brace, at a semicolon before any brace, or, for
/// a last field, where what it is in ends.
pub(crate) fn item_end(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0_usize;
    for token in &tokens[from..] {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 0 => return token.line - 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" {
                    return token.line;
                }
            }
            ";" if depth == 0 => return token.line,
            _ => {}
        }
    }
    tokens.last().map_or(0, |token| token.line)
}

/// Splits Rust into words, `::` and single marks. Comments vanish, a literal becomes the one token `""`.
fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let start = at;
        let rest = &text[at..];
        let token = if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            None
        } else if rest.starts_with("/*") {
            at += block_comment(rest);
            None
        } else if let Some(length) = literal(rest) {
            at += length;
            Some("\"\"")
        } else if rest.starts_with("::") {
            at += 2;
            Some("::")
        } else {
            let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            at += word.max(rest.chars().next().map_or(1, char::len_utf8));
            Some(&text[start..at]).filter(|token| !token.trim().is_empty())
        };
        found.extend(token.map(|token| Token { text: token.to_owned(), line }));
        line += text[start..at].matches('\n').count();
    }
    found
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of the string, byte string, raw string or character that `rest` starts with.
fn literal(rest: &str) -> Option<usize> {
    let unprefixed = rest.trim_start_matches(['b', 'c', 'r']);
    let prefix = rest.len() - unprefixed.len();
    if prefix > 2 {
        return None;
    }
    let hashes = unprefixed.len() - unprefixed.trim_start_matches('#').len();
    if unprefixed[hashes..].starts_with('"') && (hashes == 0 || prefix > 0) {
        if rest[..prefix].contains('r') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = prefix + hashes + 1;
            return Some(body + rest[body..].find(&close).map_or(rest.len() - body, |end| end + close.len()));
        }
        return Some(prefix + quoted(unprefixed, b'"'));
    }
    let character = unprefixed.strip_prefix('\'').filter(|_| prefix == 0 || rest.starts_with("b'"))?;
    // 'a is a lifetime, 'a' a character.
    let mut chars = character.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => Some(prefix + quoted(unprefixed, b'\'')),
        _ => None,
    }
}

fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

#[test]
fn tokens_leave_out_comments_literals_and_tests() {
    let text = r##"
        //! Transport in words
        fn f<'a>(x: &'a str) -> char { let _ = (b"Transport \" x", r#"Tran"sport"#, 'T', '\''); a::b /* Transport */ }
        #[cfg(test)]
        mod tests { fn g() { Transport } }
        fn h() {}
        struct S {
            #[cfg(test)]
            last: bool,
        }
    "##;
    let source = Source::new("x.rs", text);
    assert!(source.lines_with(|word| word == "Transport").is_empty(), "{:?}", source.tokens);
    assert_eq!(source.lines_with_all(&["a", "::", "b"]), [3]);
    assert_eq!(source.lines_with_all(&["fn", "h"]), [6]);
    assert_eq!(source.lines_with_all(&["struct", "S"]), [7]);
    assert!(source.lines_with(|word| word == "last").is_empty(), "{:?}", source.tokens);
    assert_eq!(source.lines, 11 - 4);
}
