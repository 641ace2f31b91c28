//! Server-sent events (WHATWG HTML, section 9.2), with caps.

use thiserror::Error;

/// Why a stream can not be read on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SseError {
    /// One event is longer than the cap.
    #[error("an event is longer than {limit} bytes")]
    TooLong {
        /// The cap in bytes.
        limit: usize,
    },
    /// A line is not UTF-8.
    #[error("a line is not UTF-8")]
    NotUtf8,
}

/// An event: its name and its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The name; empty where the stream gave none.
    pub name: String,
    /// The data, its lines joined by newlines.
    pub data: String,
}

/// A parser that is fed chunks as they come. It keeps at most one event, up to the cap.
#[derive(Debug)]
pub struct SseParser {
    limit: usize,
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
    after_cr: bool,
    started: bool,
}

impl SseParser {
    /// A parser with a cap on the bytes of one event.
    pub const fn new(limit: usize) -> Self {
        let event = SseEvent { name: String::new(), data: String::new() };
        Self { limit, line: Vec::new(), event, has_data: false, after_cr: false, started: false }
    }

    /// Feeds a chunk, and appends the events that it completes to `out`. Comments are dropped.
    ///
    /// # Errors
    /// [`SseError`]; the stream is then at an unknown place and must be opened anew.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<SseEvent>) -> Result<(), SseError> {
        for &b in chunk {
            // CR, LF and CRLF each end a line.
            match (b, std::mem::replace(&mut self.after_cr, b == b'\r')) {
                (b'\n', true) => {}
                (b'\n' | b'\r', _) => self.end_line(out)?,
                _ => {
                    if self.line.len() + self.event.data.len() >= self.limit {
                        return Err(SseError::TooLong { limit: self.limit });
                    }
                    self.line.push(b);
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, out: &mut Vec<SseEvent>) -> Result<(), SseError> {
        let line = std::mem::take(&mut self.line);
        let mut text = std::str::from_utf8(&line).map_err(|_| SseError::NotUtf8)?;
        if !std::mem::replace(&mut self.started, true) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            let event = std::mem::take(&mut self.event);
            // An event without data is not dispatched.
            if std::mem::take(&mut self.has_data) {
                out.push(event);
            }
            return Ok(());
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.into(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments (an empty field), ids and retry times are not used.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&[u8]]) -> Result<Vec<SseEvent>, SseError> {
        let mut p = SseParser::new(64);
        let mut out = Vec::new();
        for c in chunks {
            p.feed(c, &mut out)?;
        }
        Ok(out)
    }
    fn event(name: &str, data: &str) -> SseEvent {
        SseEvent { name: name.into(), data: data.into() }
    }

    #[test]
    fn events_come_out_the_same_however_the_stream_is_cut() {
        let stream =
            b"\xef\xbb\xbf:hello\n\nevent: head\ndata: {\"a\":1}\n\ndata:x\r\ndata: y\r\n\r\nevent: none\n\ndata\n\n";
        let whole = parse(&[stream]).unwrap();
        assert_eq!(whole, [event("head", "{\"a\":1}"), event("", "x\ny"), event("", "")]);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(parse(&bytes).unwrap(), whole);
        for cut in 0..stream.len() {
            assert_eq!(parse(&[&stream[..cut], &stream[cut..]]).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn an_event_without_end_stops_at_the_cap() {
        assert_eq!(parse(&[&[b'x'; 65]]), Err(SseError::TooLong { limit: 64 }));
        // Many short lines of one event count together.
        let lines = b"data: 0123456789\n".repeat(7);
        assert_eq!(parse(&[&lines]), Err(SseError::TooLong { limit: 64 }));
        assert_eq!(parse(&[&b":".repeat(64), b"\n", &b":".repeat(64), b"\n\n"]), Ok(vec![]));
    }

    #[test]
    fn no_bytes_however_cut_make_it_panic_or_read_differently() {
        bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, size)| {
            let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*size).max(1)).collect();
            assert_eq!(parse(&pieces), parse(&[bytes]));
        });
    }

    #[test]
    fn a_line_that_is_not_utf8_is_refused() {
        assert_eq!(parse(&[b"data: \xff\xfe\n"]), Err(SseError::NotUtf8));
    }
}
