//! An event stream as a browser reads it, written after the WHATWG specification.

/// An event that a page is told of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) last_event_id: String,
}

/// Decodes as UTF-8 without a leading BOM, splits at CR LF, LF or CR, dispatches at empty lines.
pub(crate) fn parse(stream: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(stream);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut kind, mut data, mut id) = (Vec::new(), String::new(), String::new(), String::new());
    // What comes after the last line break is no line yet.
    let Some((lines, _incomplete)) = text.rsplit_once('\n') else { return events };
    for line in lines.split('\n') {
        if line.is_empty() {
            let (kind, data) = (std::mem::take(&mut kind), std::mem::take(&mut data));
            if let Some(data) = data.strip_suffix('\n') {
                let kind = if kind.is_empty() { "message".to_owned() } else { kind };
                events.push(Event { kind, data: data.to_owned(), last_event_id: id.clone() });
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut kind),
            "data" => data.push_str(&format!("{value}\n")),
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            _ => {}
        }
    }
    events
}
