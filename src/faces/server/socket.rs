//! A WebSocket that keeps its limits: sizes, pings, and a peer that does not read.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// The subprotocol behind which pages send their token, because they can set no header. A browser
/// gives up a socket whose server takes none of the subprotocols that it offers.
pub(super) const TOKEN: &str = "token";
/// The largest message and frame.
const LARGEST: usize = 1 << 20;
/// The largest message of text.
const LARGEST_TEXT: usize = 64 << 10;
/// The buffers of a socket. axum's own are eight times as large, and there may be thousands.
const BUFFER: usize = 16 << 10;
/// How often a peer is asked whether it lives.
const PING: Duration = Duration::from_secs(15);
/// A peer that sent nothing, not even a pong, for this long is gone.
const DEAD: Duration = Duration::from_secs(45);
/// A peer that does not take a message for this long is gone.
const STUCK: Duration = Duration::from_secs(60);

/// Sets the limits of a socket before it is accepted. Text of more than 64 KiB is allowed where a
/// protocol sends sound in it.
pub(super) fn limited(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(LARGEST)
        .max_message_size(LARGEST)
        .max_frame_size(LARGEST)
}

/// What a peer sends.
#[derive(Debug)]
pub(super) enum Incoming {
    Text(String),
    Binary(Bytes),
    /// Text that is longer than the protocol needs, or anything of more than 1 MiB.
    TooLong,
    /// The peer has closed the socket, or is gone.
    Closed,
}

enum Frame {
    Content(Incoming),
    /// The peer says that it lives.
    Ping,
    /// An answer of the peer's socket to a ping of ours.
    Pong,
}

fn ended_by(error: axum::Error) -> Incoming {
    match error.into_inner().downcast_ref() {
        Some(tungstenite::Error::Capacity(_)) => Incoming::TooLong,
        _ => Incoming::Closed,
    }
}

/// The receiving half.
pub(super) struct Reader {
    stream: SplitStream<WebSocket>,
    largest_text: usize,
}

/// The sending half.
pub(super) struct Writer {
    sink: SplitSink<WebSocket, Message>,
    next_ping: Instant,
}

/// The peer is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost;

/// Splits a socket, so that a session that is full stops the reading but not the sending.
pub(super) fn split(socket: WebSocket) -> (Reader, Writer) {
    let (sink, stream) = socket.split();
    (Reader { stream, largest_text: LARGEST_TEXT }, Writer { sink, next_ping: Instant::now() + PING })
}

impl Reader {
    /// Allows text up to the largest message.
    pub(super) fn with_long_text(self) -> Reader {
        Reader { largest_text: LARGEST, ..self }
    }

    /// The next message with content.
    pub(super) async fn next(&mut self) -> Incoming {
        loop {
            if let Frame::Content(incoming) = self.frame().await {
                return incoming;
            }
        }
    }

    /// The next message with content; `None` if for the time `idle` not even a ping came.
    pub(super) async fn next_within(&mut self, idle: Duration) -> Option<Incoming> {
        let mut until = Instant::now() + idle;
        loop {
            match timeout_at(until, self.frame()).await {
                Ok(Frame::Content(incoming)) => return Some(incoming),
                Ok(Frame::Ping) => until = Instant::now() + idle,
                Ok(Frame::Pong) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next frame. The socket itself answers pings.
    async fn frame(&mut self) -> Frame {
        let message = match timeout(DEAD, self.stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Frame::Content(ended_by(error)),
            Err(_) | Ok(None) => return Frame::Content(Incoming::Closed),
        };
        Frame::Content(match message {
            Message::Text(text) if text.len() > self.largest_text => Incoming::TooLong,
            Message::Text(text) => Incoming::Text(text.as_str().to_owned()),
            Message::Binary(bytes) => Incoming::Binary(bytes),
            Message::Close(_) => Incoming::Closed,
            Message::Ping(_) => return Frame::Ping,
            Message::Pong(_) => return Frame::Pong,
        })
    }
}

/// Passes on what a peer sends, for a loop that waits for other things, too: a wait for a message
/// that began anew each time would never see that the peer is gone. A peer is not read from while
/// its last message waits.
pub(super) async fn pump(mut reader: Reader, into: mpsc::Sender<Incoming>) -> Infallible {
    loop {
        let message = reader.next().await;
        let last = matches!(message, Incoming::Closed | Incoming::TooLong);
        if into.send(message).await.is_err() || last {
            std::future::pending().await
        }
    }
}

impl Writer {
    /// Sends text.
    pub(super) async fn text(&mut self, text: String) -> Result<(), Lost> {
        self.send(Message::Text(text.into())).await
    }

    /// Sends a value as JSON.
    pub(super) async fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Lost> {
        // Only plain data is sent.
        let text = serde_json::to_string(value).map_err(|_| Lost)?;
        self.text(text).await
    }

    /// Waits until the next ping is due, and sends it.
    pub(super) async fn ping(&mut self) -> Result<(), Lost> {
        tokio::time::sleep_until(self.next_ping).await;
        self.next_ping = Instant::now() + PING;
        self.send(Message::Ping(Bytes::new())).await
    }

    /// Closes the socket.
    pub(super) async fn close(&mut self, code: u16, reason: &str) {
        // A reason has at most 123 bytes.
        let mut end = reason.len().min(120);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let frame = CloseFrame { code, reason: reason[..end].to_owned().into() };
        // A peer that is gone needs no farewell.
        let _ = self.send(Message::Close(Some(frame))).await;
        let _ = timeout(Duration::from_secs(1), self.sink.close()).await;
    }

    async fn send(&mut self, message: Message) -> Result<(), Lost> {
        match timeout(STUCK, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Lost),
        }
    }
}
