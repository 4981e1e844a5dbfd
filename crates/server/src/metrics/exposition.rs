//! The two text formats: Prometheus 0.0.4, and OpenMetrics 1.0 when it is asked for.

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// What Prometheus has always read.
    Prometheus,
    /// The standard made of it.
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header asks for.
    pub(crate) fn accepted(accept: Option<&str>) -> Self {
        let open = |accept: &str| accept.contains("application/openmetrics-text");
        if accept.is_some_and(open) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Prometheus text in `format`. OpenMetrics names a counter's family without `_total`, has no empty lines, and ends
/// with a mark.
pub(super) fn text(prometheus: String, format: Format) -> String {
    if format == Format::Prometheus {
        return prometheus;
    }
    let mut open = String::with_capacity(prometheus.len() + 8);
    for line in prometheus.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("# ").and_then(|rest| rest.split_once("_total ")) {
            Some((family, rest)) if !family.contains('{') => {
                open.extend(["# ", family, " ", rest, "\n"]);
            }
            _ => open.extend([line, "\n"]),
        }
    }
    open.push_str("# EOF\n");
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_names_families_and_ends_with_a_mark() {
        let prometheus = "# HELP a_total counts a_total things\n# TYPE a_total counter\na_total{x=\"1\"} 5\n\n# TYPE b gauge\nb 1\n";
        let expected = "# HELP a counts a_total things\n# TYPE a counter\na_total{x=\"1\"} 5\n# TYPE b gauge\nb 1\n# EOF\n";
        assert_eq!(text(prometheus.into(), Format::OpenMetrics), expected);
        assert_eq!(text(prometheus.into(), Format::Prometheus), prometheus);
    }

    #[test]
    fn openmetrics_is_for_those_who_ask() {
        let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1";
        assert_eq!(Format::accepted(Some(accept)), Format::OpenMetrics);
        assert_eq!(Format::accepted(Some("*/*")), Format::Prometheus);
        assert_eq!(Format::accepted(None), Format::Prometheus);
    }
}
