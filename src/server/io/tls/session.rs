//! One connection's TLS, without I/O: records in, plain text out, and the other way round.

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{Error, ProtocolVersion, ServerConfig};
use std::sync::Arc;

/// The most plain text that one record holds (RFC 8446 5.1).
pub(crate) const RECORD_BYTES: usize = 16 << 10;

/// What a record may add to its plain text.
const RECORD_EXTRA: usize = 256;

/// The most that is kept of what cannot be used yet. A message of the handshake has 64 KiB at most, but may
/// come in records of one byte each, all of which rustls wants to see until it is complete.
const INCOMING_BYTES_MAX: usize = 128 << 10;

/// The first byte of a record of a handshake (RFC 8446 5.1), which is how every client begins.
const HANDSHAKE: u8 = 22;

/// The first byte of an alert, and in TLS 1.3 of all that is encrypted.
const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;

/// A header, two bytes, their type, and the tag of the cipher (RFC 8446 5.2).
const ENCRYPTED_ALERT_BYTES: usize = 5 + 2 + 1 + 16;

/// What a client is told that speaks HTTP without TLS, as it will understand that and no alert.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 62\r\n\
    Connection: close\r\n\r\nThis port speaks TLS: the address has to begin with https://.\n";

/// The state of one connection. At rest it has no buffers.
pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    /// The beginning of a record, or of a message of the handshake.
    incoming: Vec<u8>,
    /// What was decrypted and not taken yet, from `taken` on.
    plain: Vec<u8>,
    taken: usize,
    /// Records that wait for room in the socket, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    stage: Stage,
    /// Whether the peer has said that nothing more will come (close_notify).
    peer_closed: bool,
    /// Whether we have.
    pub(crate) closed: bool,
    /// Whether our side of the connection is to be closed when `outgoing` is empty.
    pub(crate) shuts_down: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing has come.
    New,
    /// The handshake is not complete.
    Handshake,
    Open,
    /// What has come cannot be understood. There may be an alert to send.
    Failed,
}

impl Session {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            outgoing: Vec::new(),
            sent: 0,
            stage: Stage::New,
            peer_closed: false,
            closed: false,
            shuts_down: false,
        })
    }

    /// Whether nothing has come yet.
    pub(crate) fn is_new(&self) -> bool {
        self.stage == Stage::New
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether the last part of the handshake was one that takes no time: in TLS 1.3 keys are agreed on with
    /// the first, and where there is no certificate the rest is a sum.
    pub(crate) fn has_opened_cheaply(&self) -> bool {
        self.is_open()
            && self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && self.connection.peer_certificates().is_none()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.stage == Stage::Failed
    }

    /// Whether the peer has closed its side, and all before that was taken.
    pub(crate) fn is_at_end(&self) -> bool {
        self.peer_closed && self.plain.is_empty()
    }

    /// The bytes that it holds.
    pub(crate) fn held(&self) -> usize {
        self.incoming.capacity() + self.plain.capacity() + self.outgoing.capacity()
    }

    /// Moves plain text into `buffer`. Returns how much it was.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let rest = &self.plain[self.taken..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.plain.len() {
            (self.plain, self.taken) = (Vec::new(), 0);
        }
        count
    }

    /// The bytes of what has come and is not a whole record: so much room has to be before what is read next.
    pub(crate) fn incoming_bytes(&self) -> usize {
        self.incoming.len()
    }

    /// More has come, in `input` behind the [room](Self::incoming_bytes) for what is there; what is not whole
    /// is kept.
    pub(crate) fn receive(&mut self, input: &mut [u8]) -> Result<(), Error> {
        let there = std::mem::take(&mut self.incoming);
        input[..there.len()].copy_from_slice(&there);
        if self.stage == Stage::New && !input.is_empty() {
            self.stage = Stage::Handshake;
            if input[0] != HANDSHAKE {
                self.stage = Stage::Failed;
                if input[0].is_ascii_uppercase() {
                    self.outgoing.extend_from_slice(PLAIN_HTTP);
                }
                return Err(Error::General("a client does not speak TLS".into()));
            }
        }
        let done = self.process(input).and_then(|done| match input.len() - done {
            ..=INCOMING_BYTES_MAX => Ok(done),
            _ => Err(Error::General("a message of the handshake comes in too small pieces".into())),
        });
        match done {
            Ok(done) => self.incoming = input[done..].to_vec(),
            Err(_) => self.stage = Stage::Failed,
        }
        done.map(drop)
    }

    /// Does what the records in `input` ask for. Returns how many bytes of it are done with.
    fn process(&mut self, input: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.connection.process_tls_records(&mut input[done..]);
            let mut rests = false;
            let failed = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        None => break None,
                        Some(Err(error)) => break Some(error),
                        Some(Ok(record)) => {
                            discard += record.discard;
                            self.plain.extend_from_slice(record.payload);
                        }
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    encode(&mut self.outgoing, &mut message).err()
                }
                Ok(ConnectionState::TransmitTlsData(message)) => {
                    message.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    None
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.stage = Stage::Open;
                    rests = true;
                    None
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                    rests = true;
                    None
                }
                // There is no early data, and there are no other states.
                Ok(_) => Some(Error::General("a state that is not known".into())),
                Err(error) => Some(error),
            };
            done += discard;
            if let Some(error) = failed {
                self.append_alert(&mut input[done..]);
                return Err(error);
            }
            if rests {
                return Ok(done);
            }
        }
    }

    /// What the peer is to be told of an error, if anything, is the last of the messages there are. Those
    /// before it, such as our hello, are needed to read it. To ask for more than an alert would be to go on;
    /// and rustls has to find what is left of `input` where it was.
    fn append_alert(&mut self, input: &mut [u8]) {
        while let Ok(ConnectionState::EncodeTlsData(mut message)) =
            self.connection.process_tls_records(input).state
        {
            let begin = self.outgoing.len();
            let encoded = encode(&mut self.outgoing, &mut message);
            if encoded.is_err() || is_alert(&self.outgoing[begin..]) {
                return;
            }
        }
    }

    /// Appends the records of `plain` to `out`.
    pub(crate) fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.write(out, plain.len() + RECORD_EXTRA, |traffic, into| traffic.encrypt(plain, into))
    }

    /// Appends to `out` that nothing more will come (close_notify, RFC 8446 6.1).
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.closed = true;
        self.write(out, RECORD_EXTRA, |traffic, into| traffic.queue_close_notify(into))
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        mut write: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Error> {
        // What the handshake has to say, such as new keys, comes first.
        let mut incoming = std::mem::take(&mut self.incoming);
        let done = self.process(&mut incoming)?;
        incoming.drain(..done);
        self.incoming = incoming;
        out.append(&mut self.outgoing);
        match self.connection.process_tls_records(&mut self.incoming).state? {
            ConnectionState::WriteTraffic(mut traffic) => {
                append(out, room, &mut |into| write(&mut traffic, into), |error| match error {
                    EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                        Some(*required_size)
                    }
                    EncryptError::EncryptExhausted => None,
                })
            }
            _ => Err(Error::HandshakeNotComplete),
        }
    }

    /// What waits for room in the socket.
    pub(crate) fn outgoing(&self) -> &[u8] {
        &self.outgoing[self.sent..]
    }

    /// So many bytes of it were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.outgoing.len() {
            (self.outgoing, self.sent) = (Vec::new(), 0);
        }
    }

    /// Records that the socket has not taken, where nothing waited before.
    pub(crate) fn keep(&mut self, records: &[u8]) {
        debug_assert!(self.outgoing().is_empty(), "what waits goes first");
        self.outgoing = records.to_vec();
    }
}

/// Whether a record that we have made is an alert. In TLS 1.3 one that is encrypted is told by its length: no
/// other message of ours is as short.
fn is_alert(record: &[u8]) -> bool {
    match record {
        [ALERT, ..] => true,
        [APPLICATION_DATA, ..] => record.len() == ENCRYPTED_ALERT_BYTES,
        _ => false,
    }
}

/// Appends the records of a message of the handshake, or an alert.
fn encode(out: &mut Vec<u8>, message: &mut Message<'_>) -> Result<(), Error> {
    append(out, 1024, &mut |into| message.encode(into), |error| match error {
        EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
        EncodeError::AlreadyEncoded => None,
    })
}

type Message<'a> = rustls::unbuffered::EncodeTlsData<'a, rustls::server::ServerConnectionData>;
type Traffic<'a> = rustls::unbuffered::WriteTraffic<'a, rustls::server::ServerConnectionData>;

/// Appends what `write` writes to `out`, into `room` bytes, or as many as it says that it needs.
fn append<E: std::fmt::Display>(
    out: &mut Vec<u8>,
    room: usize,
    write: &mut impl FnMut(&mut [u8]) -> Result<usize, E>,
    required: impl Fn(&E) -> Option<usize>,
) -> Result<(), Error> {
    let (begin, mut room) = (out.len(), room);
    for _ in 0..2 {
        out.resize(begin + room, 0);
        match write(&mut out[begin..]) {
            Ok(count) => {
                out.truncate(begin + count);
                return Ok(());
            }
            Err(error) => {
                out.truncate(begin);
                match required(&error) {
                    Some(more) => room = more,
                    None => return Err(Error::General(error.to_string())),
                }
            }
        }
    }
    Err(Error::General("there is no end to what is needed".into()))
}
