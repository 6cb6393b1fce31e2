//! Every number of the multiplexer in one place, with its reason. HTTP/2 libraries have defaults for browsers; a
//! tunnel between two authenticated peers needs others, or one slow reader stalls everybody.

use std::time::Duration;

/// Connection window: the largest the protocol has (RFC 9113 section 6.9.1). With a smaller one, stalled streams
/// use it up and freeze their neighbours: measured, 32 stalled readers stop a connection with 16 MiB. It also
/// scales h2's allowance for small DATA frames (half of it).
pub const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Stream window at the start: 256 KiB. 1000 stalled streams then hold 391 MiB at most for both ends together.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// Largest stream window the run-time control may choose: 8 MiB carries 129 MB/s at 50 ms round trip.
pub const MAX_STREAM_WINDOW: u32 = 8 * 1024 * 1024;

/// Memory that enlarged windows of one connection may use together.
pub const WINDOW_BUDGET: u64 = 64 * 1024 * 1024;

/// Streams on one connection. Worst case is 0.39 MiB for each of them if all stall.
pub const MAX_STREAMS: usize = 4096;

/// What HTTP/2 announces as its limit: above the own one, so that the own one always answers first and a stream
/// that is just being reset never makes h2 queue or refuse the next.
pub const ANNOUNCED_STREAMS: u32 = 4096 + 256;

/// DATA frame size: small frames let streams take turns; 64 KiB gave no consistent gain in throughput.
pub const FRAME_SIZE: u32 = 16 * 1024;

/// Bytes of a stream sent in one DATA frame: with its head of 9 bytes it fills one TLS record (16384 bytes, RFC 8446
/// section 5.1). A full frame needs a second record for its last 9 bytes.
pub const PIECE: usize = 16 * 1024 - 9;

/// Bytes that one stream may have waiting in the connection's send buffer: 64 KiB gave five times better latency
/// under load than 1 MiB, and the best throughput with 64 streams. A multiple of the piece, so that a full buffer does
/// not leave room for splinters.
pub const SEND_BUFFER: usize = 4 * PIECE;

/// Header block of an open or of its answer. The largest legal open is under 2 KiB; a propagated principal will add
/// up to 16 KiB.
pub const HEADER_LIST: u32 = 32 * 1024;

/// Streams that were reset and are remembered for frames still on their way. The default (50) fits browsers.
pub const RESET_STREAMS: usize = 4096;

/// Interval of pings. With [`PING_MISSES`], and looking once a second, a dead link is noticed within 15 s.
pub const PING_INTERVAL: Duration = Duration::from_secs(4);

/// Intervals without any sign of life after which a connection is dead.
pub const PING_MISSES: u32 = 2;

/// A connection whose pongs do not come although other bytes do is only busy; but not for ever.
pub const PONG_LIMIT: Duration = Duration::from_secs(60);

/// Deadline of the HTTP/2 preface after the hello.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long an open waits when the request brings no deadline: connecting through the tunnel takes up to 10 s.
pub const OPEN_DEADLINE: Duration = Duration::from_secs(10);
