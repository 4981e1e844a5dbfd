//! The options of a page of history.

use busgate_core::{Cursor, Error, HistoryRequest, Result, Start, Timestamp};

use super::{POSITIONS, Position, bad_value, cursor, one_of, pairs, unknown};
use crate::time;

const KEYS: [&str; 4] = ["start_from", "start_time", "after", "limit"];

/// How many messages a page has unless the client says.
const DEFAULT_LIMIT: usize = 100;

/// The most messages a page can have.
const MAX_LIMIT: usize = 1000;

/// The options of `GET …/messages`: `start_from` (default `beginning`), `start_time`, `after` (a cursor, which goes
/// before the others) and `limit` (default 100, at most 1000).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    position: Option<Position>,
    start_time: Option<Timestamp>,
    after: Option<Cursor>,
    limit: Option<usize>,
}

impl HistoryQuery {
    /// Reads a raw query string, without its `?`.
    ///
    /// # Errors
    /// As [`SubscribeQuery::parse`](super::SubscribeQuery::parse).
    pub fn parse(query: &str) -> Result<Self> {
        let mut options = Self::default();
        for (key, value) in pairs(query)? {
            options.set(&key, &value)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        if value.is_empty() && KEYS.contains(&key) {
            return Ok(());
        }
        let again = match key {
            "start_from" => self.position.replace(one_of(key, value, &POSITIONS)?).is_some(),
            "start_time" => self.start_time.replace(time::parse_time(key, value)?).is_some(),
            "after" => self.after.replace(cursor(key, value)?).is_some(),
            "limit" => self.limit.replace(limit(key, value)?).is_some(),
            _ => return Err(unknown(key, &KEYS)),
        };
        if again {
            return Err(Error::invalid(format!("option `{key}` is given twice")));
        }
        Ok(())
    }

    /// The page that these options ask for.
    ///
    /// # Errors
    /// `invalid` when options contradict each other.
    pub fn into_request(self) -> Result<HistoryRequest> {
        let start = match self.after {
            Some(cursor) => Start::After(cursor),
            None => super::start_of(self.position, self.start_time)?.unwrap_or(Start::Beginning),
        };
        Ok(HistoryRequest { start, limit: self.limit.unwrap_or(DEFAULT_LIMIT), max_bytes: None })
    }
}

fn limit(key: &str, value: &str) -> Result<usize> {
    let number = value.parse().ok().filter(|number| (1..=MAX_LIMIT).contains(number));
    number.ok_or_else(|| bad_value(key, value, "1 to 1000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> Result<HistoryRequest> {
        HistoryQuery::parse(query)?.into_request()
    }

    #[test]
    fn a_page_is_a_hundred_from_the_beginning_unless_asked() {
        let page = request("").unwrap();
        assert_eq!(page, HistoryRequest { start: Start::Beginning, limit: 100, max_bytes: None });
    }

    #[test]
    fn a_cursor_goes_before_a_position() {
        let page = request("start_from=latest&after=c1&limit=7").unwrap();
        assert_eq!(
            page,
            HistoryRequest { start: Start::After(Cursor::new("c1").unwrap()), limit: 7, max_bytes: None }
        );
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for bad in ["limit=0", "limit=1001", "limit=-1", "limit=x", "foo=1", "limit=1&limit=2", "after=%00"] {
            assert!(request(bad).is_err(), "{bad}");
        }
    }
}
