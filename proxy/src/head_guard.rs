//! Refuses request heads that two HTTP implementations could read differently (request smuggling).
//!
//! The HTTP library resolves some ambiguities silently: it drops `Content-Length` beside `Transfer-Encoding` and
//! accepts bare line feeds. That is safe for the library alone, but callers must get a 400, so this reader looks at
//! the same bytes on their way in, follows message boundaries, and remembers which request of the connection was
//! ambiguous. It never changes a byte. Parsing is `httparse`'s, here as in the HTTP library.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most headers looked at; the HTTP library refuses more than this with 431.
pub const MAX_HEADERS: usize = 100;

/// Longest head, the limit given to the HTTP library too. Beyond it the library answers 431.
pub const MAX_HEAD: usize = 64 << 10;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It can be read in two ways.
    Ambiguous,
    /// It is longer than [`MAX_HEAD`]. The library reads a little beyond its own limit before it refuses.
    TooLong,
}

/// No request of this connection is objected to.
const NONE: u64 = u64::MAX;

/// The connection does not carry HTTP any more.
const RELEASED: u64 = u64::MAX - 1;

/// Tells the connection's service which request is objected to: its number times two, plus one when it is too long.
#[derive(Clone, Debug)]
pub struct Verdict {
    code: Arc<AtomicU64>,
}

impl Verdict {
    /// What is wrong with the head of request number `index` of the connection, counted from 0.
    pub fn objection(&self, index: u64) -> Option<Objection> {
        let code = self.code.load(Ordering::Acquire);
        if code >= RELEASED || code / 2 != index {
            return None;
        }
        Some(if code.is_multiple_of(2) {
            Objection::Ambiguous
        } else {
            Objection::TooLong
        })
    }

    /// From now on the bytes are those of another protocol and not looked at.
    pub fn release(&self) {
        self.code.store(RELEASED, Ordering::Release);
    }

    fn object(&self, (index, objection): (u64, Objection)) {
        self.code.store(
            index * 2 + u64::from(objection == Objection::TooLong),
            Ordering::Release,
        );
    }
}

/// A connection whose incoming request heads are looked at.
#[derive(Debug)]
pub struct HeadGuard<S> {
    stream: S,
    scanner: Scanner,
    verdict: Verdict,
}

impl<S> HeadGuard<S> {
    /// Guards `stream`.
    pub fn new(stream: S) -> (Self, Verdict) {
        let verdict = Verdict {
            code: Arc::new(AtomicU64::new(NONE)),
        };
        (
            Self {
                stream,
                scanner: Scanner::default(),
                verdict: verdict.clone(),
            },
            verdict,
        )
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadGuard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if this.verdict.code.load(Ordering::Acquire) == RELEASED {
            return Poll::Ready(Ok(()));
        }
        match this.scanner.scan(&buffer.filled()[before..]) {
            Finding::Nothing => Poll::Ready(Ok(())),
            Finding::Objection(index, objection) => {
                this.verdict.object((index, objection));
                Poll::Ready(Ok(()))
            }
            // In the middle of a request there is no answer to give, so the connection ends here.
            Finding::BrokenBody => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the chunks of the request's body are malformed",
            ))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadGuard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Where in the stream of requests the next byte belongs.
#[derive(Debug, Default)]
enum Position {
    /// In a head; what has come of it is in `Scanner::partial`.
    #[default]
    Head,
    /// In a body of known length, so many bytes before its end.
    Sized(u64),
    /// At the start of a chunk's size line, or inside it (then `partial` has its beginning).
    ChunkSize,
    /// In a chunk and its line end, so many bytes before the next size line.
    Chunk(u64),
    /// In the trailer section; what has come of the current line is in `partial`.
    Trailer,
    /// Nothing more to look at: an objection was made, or the library refuses what came.
    Done,
}

/// What the scanner says of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// Nothing to object to.
    Nothing,
    /// The head of this request is wrong.
    Objection(u64, Objection),
    /// The body of the current request has chunks that two readers could read differently.
    BrokenBody,
}

/// Follows message boundaries; pure, fed with whatever pieces the network gives.
#[derive(Debug, Default)]
struct Scanner {
    position: Position,
    partial: Vec<u8>,
    requests: u64,
}

/// What a complete head says of its message.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    length: usize,
    ambiguous: bool,
    body: Body,
}

#[derive(Debug, PartialEq, Eq)]
enum Body {
    Sized(u64),
    Chunked,
}

impl Scanner {
    /// Looks at the next bytes.
    fn scan(&mut self, mut bytes: &[u8]) -> Finding {
        while !bytes.is_empty() {
            match &mut self.position {
                Position::Done => return Finding::Nothing,
                Position::Sized(left) | Position::Chunk(left) => {
                    let skipped = (*left).min(bytes.len() as u64);
                    *left -= skipped;
                    bytes = &bytes[usize::try_from(skipped).unwrap_or(bytes.len())..];
                    if *left == 0 {
                        let sized = matches!(self.position, Position::Sized(_));
                        self.position = if sized {
                            Position::Head
                        } else {
                            Position::ChunkSize
                        };
                    }
                }
                Position::ChunkSize => match self.chunk_size(bytes) {
                    Some(rest) => bytes = rest,
                    None => return self.broken(),
                },
                Position::Trailer => match self.trailer(bytes) {
                    Some(rest) => bytes = rest,
                    None => return self.broken(),
                },
                Position::Head => match self.head(bytes) {
                    Ok(rest) => bytes = rest,
                    Err(objection) => return Finding::Objection(self.requests, objection),
                },
            }
        }
        Finding::Nothing
    }

    fn broken(&mut self) -> Finding {
        self.stop();
        Finding::BrokenBody
    }

    /// Reads a head, from the given bytes alone where it is complete in them (the usual case: nothing is copied).
    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Objection> {
        // Empty lines before a request are skipped by every server (RFC 9112, section 2.2).
        let skipped = if self.partial.is_empty() {
            bytes
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count()
        } else {
            0
        };
        let bytes = &bytes[skipped..];
        if bytes.is_empty() {
            return Ok(bytes);
        }
        let known = self.partial.len();
        let parsed = if known == 0 {
            parse_head(bytes)
        } else {
            self.partial
                .extend_from_slice(&bytes[..bytes.len().min(MAX_HEAD + 1 - known.min(MAX_HEAD))]);
            // A head cannot have ended without a line feed: one byte at a time must not cost a parse each.
            if bytes.contains(&b'\n') {
                parse_head(&self.partial)
            } else {
                None
            }
        };
        match parsed {
            Some(Ok(head)) => {
                if head.length > MAX_HEAD || head.ambiguous {
                    self.stop();
                    let too_long = head.length > MAX_HEAD;
                    return Err(if too_long {
                        Objection::TooLong
                    } else {
                        Objection::Ambiguous
                    });
                }
                self.requests += 1;
                self.partial = Vec::new();
                self.position = match head.body {
                    Body::Sized(0) => Position::Head,
                    Body::Sized(length) => Position::Sized(length),
                    Body::Chunked => Position::ChunkSize,
                };
                Ok(&bytes[head.length - known..])
            }
            Some(Err(())) => {
                self.stop();
                Ok(&[])
            }
            None if known + bytes.len() > MAX_HEAD => {
                self.stop();
                Err(Objection::TooLong)
            }
            None => {
                if known == 0 {
                    self.partial.extend_from_slice(bytes);
                }
                Ok(&[])
            }
        }
    }

    /// What follows the size line; `None` when the line is malformed or so long that only an attack explains it.
    fn chunk_size<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        const MAX_LINE: usize = 1024;
        let known = self.partial.len();
        self.partial
            .extend_from_slice(&bytes[..bytes.len().min(MAX_LINE)]);
        match httparse::parse_chunk_size(&self.partial) {
            Ok(httparse::Status::Complete((line, size))) => {
                self.partial.clear();
                self.position = if size == 0 {
                    Position::Trailer
                } else {
                    Position::Chunk(size.saturating_add(2))
                };
                Some(&bytes[line - known..])
            }
            Ok(httparse::Status::Partial) if self.partial.len() < MAX_LINE => Some(&[]),
            _ => None,
        }
    }

    /// What follows the current trailer line; the empty one ends the message. `None` when a line ends with a bare
    /// line feed. Of a line that comes in pieces only its end and whether it has more are kept, as up to two bytes.
    fn trailer<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.partial
                .extend_from_slice(&bytes[bytes.len().saturating_sub(2)..]);
            let excess = self.partial.len().saturating_sub(2);
            self.partial.drain(..excess);
            return Some(&[]);
        };
        if bytes[..end].last().or(self.partial.last()) != Some(&b'\r') {
            return None;
        }
        let is_empty = self.partial.len() + end == 1;
        self.partial.clear();
        if is_empty {
            self.position = Position::Head;
        }
        Some(&bytes[end + 1..])
    }

    fn stop(&mut self) {
        self.position = Position::Done;
        self.partial = Vec::new();
    }
}

/// `None`: incomplete. `Some(Err)`: malformed, the HTTP library will say so itself.
fn parse_head(bytes: &[u8]) -> Option<Result<Head, ()>> {
    let mut headers = [MaybeUninit::<httparse::Header<'_>>::uninit(); MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return Some(Err(())),
    };
    let (mut lengths, mut sized, mut chunked) = (0, 0, false);
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            lengths += 1;
            sized = std::str::from_utf8(header.value)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = true;
        }
    }
    let bare_line_feed = bytes[..length]
        .windows(2)
        .any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
    let body = if chunked {
        Body::Chunked
    } else {
        Body::Sized(sized)
    };
    Some(Ok(Head {
        length,
        ambiguous: bare_line_feed || lengths > 1 || (chunked && lengths > 0),
        body,
    }))
}

#[cfg(test)]
mod tests;
