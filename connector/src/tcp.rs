//! Streams of bytes: copied both ways, ended one direction at a time.

use landbridge_runtime::copy::{Copied, CopyLimits, End, copy_bidirectional, is_benign};
use landbridge_tunnel::TunnelStream;

use crate::backend::Connection;

/// Copies until both sides have ended, one breaks, or nothing moves for the idle limit.
pub(crate) async fn serve(mut stream: TunnelStream, mut backend: Connection, limits: CopyLimits) {
    let Copied { sent, received, end } = copy_bidirectional(&mut stream, &mut backend, limits).await;
    match end {
        End::Closed => tracing::debug!(sent, received, "stream ended"),
        End::Idle => tracing::info!(sent, received, "stream closed: nothing moved for the idle limit"),
        End::Failed(error) => {
            // The peer must not take what it got for the whole.
            stream.reset();
            if is_benign(&error) {
                tracing::debug!(sent, received, %error, "stream was reset");
            } else {
                tracing::warn!(sent, received, %error, "stream failed");
            }
        }
    }
}
