//! Server-sent events (WHATWG HTML, section 9.2.6), bounded: lines in, events out.

use std::collections::VecDeque;

/// Largest event, its line ends included. Ours have some 200 bytes.
pub(super) const MAX_EVENT: usize = 64 << 10;

/// The event is larger than we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {MAX_EVENT} bytes")]
pub(super) struct TooLarge;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// `message` unless the stream says otherwise.
    pub(super) kind: String,
    /// Lines of data, joined.
    pub(super) data: String,
    /// The number it came with, if any.
    pub(super) id: Option<String>,
}

/// Turns pieces of a stream into events. Pieces may end anywhere, also within a character or a line end.
#[derive(Debug, Default)]
pub(super) struct Parser {
    input: VecDeque<u8>,
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed after it belongs to the same line end.
    after_return: bool,
    /// Bytes of the event that is being read.
    size: usize,
    kind: Option<String>,
    data: Option<String>,
    id: Option<String>,
}

impl Parser {
    /// Takes the next piece. Its size is bounded by the connection's read buffer.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.input.extend(piece);
    }

    /// The next complete event, if it has come.
    pub(super) fn next(&mut self) -> Result<Option<Event>, TooLarge> {
        while let Some(byte) = self.input.pop_front() {
            let continues_end = std::mem::take(&mut self.after_return) && byte == b'\n';
            if continues_end {
                continue;
            }
            self.size += 1;
            if self.size > MAX_EVENT {
                return Err(TooLarge);
            }
            match byte {
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    if let Some(event) = self.end_of_line(&line) {
                        return Ok(Some(event));
                    }
                }
                byte => self.line.push(byte),
            }
        }
        Ok(None)
    }

    fn end_of_line(&mut self, line: &[u8]) -> Option<Event> {
        if line.is_empty() {
            return self.dispatch();
        }
        let line = String::from_utf8_lossy(line);
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            // A comment: a heartbeat between events must not add up.
            "" if self.kind.is_none() && self.data.is_none() && self.id.is_none() => self.size = 0,
            "event" => self.kind = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }

    /// An empty line ends an event; without data it is none.
    fn dispatch(&mut self) -> Option<Event> {
        self.size = 0;
        let (kind, id) = (self.kind.take(), self.id.take());
        let data = self.data.take()?;
        Some(Event {
            kind: kind
                .filter(|kind| !kind.is_empty())
                .unwrap_or_else(|| "message".to_owned()),
            data,
            id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Result<Vec<(String, String, Option<String>)>, TooLarge> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for piece in pieces {
            parser.push(piece);
            while let Some(event) = parser.next()? {
                found.push((event.kind, event.data, event.id));
            }
        }
        Ok(found)
    }

    fn event(kind: &str, data: &str, id: Option<&str>) -> (String, String, Option<String>) {
        (kind.into(), data.into(), id.map(str::to_owned))
    }

    #[test]
    fn reads_what_the_standard_says() {
        let cases: [(&[u8], Vec<_>); 9] = [
            (b"data: a\n\n", vec![event("message", "a", None)]),
            (
                b"id: 7\nevent: change\ndata: {\"a\":1}\n\n",
                vec![event("change", "{\"a\":1}", Some("7"))],
            ),
            (
                b"data: a\r\n\r\ndata:b\r\rdata:  c\n\n",
                vec![
                    event("message", "a", None),
                    event("message", "b", None),
                    event("message", " c", None),
                ],
            ),
            (b"data: a\ndata: b\n\n", vec![event("message", "a\nb", None)]),
            (b": heartbeat\n\n:\n\ndata\n\n", vec![event("message", "", None)]),
            (
                b"event: change\nid: 4\n\ndata: x\n\n",
                vec![event("message", "x", None)],
            ),
            (
                b"unknown: x\nretry: 10\ndata: y\n\n",
                vec![event("message", "y", None)],
            ),
            (b"data: unfinished\n", vec![]),
            (
                "\u{feff}data: \u{e4}\n\n".as_bytes(),
                vec![event("message", "\u{e4}", None)],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                events(&[text]).unwrap(),
                expected,
                "{}",
                String::from_utf8_lossy(text)
            );
            // However the pieces are cut, the events are the same.
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(
                events(&bytes).unwrap(),
                expected,
                "{}",
                String::from_utf8_lossy(text)
            );
        }
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let line = vec![b'x'; MAX_EVENT + 1];
        assert_eq!(events(&[&line]), Err(TooLarge));
        let lines = b"data: abcdefgh\n".repeat(MAX_EVENT / 15 + 1);
        assert_eq!(events(&[&lines]), Err(TooLarge), "many short lines are long too");
        let comments = b": heartbeat\n".repeat(MAX_EVENT);
        assert_eq!(events(&[&comments]), Ok(vec![]), "heartbeats do not add up");
    }
}
