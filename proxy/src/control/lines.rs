//! Lines out of pieces, bounded.

use bytes::{Buf, Bytes, BytesMut};
use landbridge_destination::serve::MAX_MESSAGE_BYTES;

use super::error::ControlError;

/// Room that is kept between messages; what a large one needed is given back.
const KEPT: usize = 64 << 10;

/// Collects pieces of a stream and gives its lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: BytesMut,
    /// So many bytes have no line end in them.
    searched: usize,
}

impl Lines {
    /// Takes the next piece, of at most the connection's window.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole line, without its end.
    ///
    /// # Errors
    /// The line is over the limit, whether or not its end has come.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, ControlError> {
        let fresh = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(end) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return if self.searched > MAX_MESSAGE_BYTES {
                Err(ControlError::TooLong)
            } else {
                Ok(None)
            };
        };
        let end = self.searched + end;
        self.searched = 0;
        if end > MAX_MESSAGE_BYTES {
            return Err(ControlError::TooLong);
        }
        let line = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        if self.buffer.is_empty() && end > KEPT {
            self.buffer = BytesMut::new();
        }
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_were_cut() {
        let text = b"one\n\ntwo three\nfour";
        for size in 1..=text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for piece in text.chunks(size) {
                lines.push(piece);
                while let Some(line) = lines.next().unwrap() {
                    found.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            assert_eq!(found, ["one", "", "two three"], "{size}");
        }
    }

    #[test]
    fn a_line_over_the_limit_is_refused() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_MESSAGE_BYTES]);
        assert!(matches!(lines.next(), Ok(None)));
        lines.push(b"\n");
        assert_eq!(
            lines.next().unwrap().map(|line| line.len()),
            Some(MAX_MESSAGE_BYTES)
        );
        lines.push(&vec![b'x'; MAX_MESSAGE_BYTES + 1]);
        assert!(matches!(lines.next(), Err(ControlError::TooLong)));
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_MESSAGE_BYTES + 1]);
        lines.push(b"\n");
        assert!(matches!(lines.next(), Err(ControlError::TooLong)));
    }
}
