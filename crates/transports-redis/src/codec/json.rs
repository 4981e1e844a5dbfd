//! Fields as one JSON object.

use std::fmt::Write;

/// An object of these fields as text; what is not UTF-8 is replaced.
pub(super) fn object(fields: &[(Vec<u8>, Vec<u8>)]) -> String {
    let mut json = String::from("{");
    for (nth, (name, value)) in fields.iter().enumerate() {
        if nth > 0 {
            json.push(',');
        }
        string(&mut json, name);
        json.push(':');
        string(&mut json, value);
    }
    json.push('}');
    json
}

fn string(json: &mut String, bytes: &[u8]) {
    json.push('"');
    for char in String::from_utf8_lossy(bytes).chars() {
        match char {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(json, "\\u{:04x}", u32::from(control));
            }
            char => json.push(char),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_string_is_escaped() {
        let fields = [(b"a\"b".to_vec(), b"\\\x01\t\xff".to_vec())];
        assert_eq!(object(&fields), "{\"a\\\"b\":\"\\\\\\u0001\\t\u{fffd}\"}");
    }
}
