//! The files: how a segment is framed, and how it is read back after whatever happened to it.
//!
//! | offset | bytes | segment header |
//! |---|---|---|
//! | 0 | 8 | magic `TNDMJRNL` |
//! | 8 | 4 | format, 3 |
//! | 12 | 8 | chain id |
//! | 20 | 32 | hash of the execution genesis block |
//! | 52 | 8 | number of the segment |
//! | 60 | 8 | sequence number that the first record has, or would have |
//! | 68 | 32 | hash of the previous segment's tail; zero for the first segment |
//! | 100 | 16 | salt, random for each file |
//! | 116 | 4 | CRC-32C of all before |
//!
//! | offset | bytes | frame |
//! |---|---|---|
//! | 0 | 4 | length of what follows the checksum |
//! | 4 | 4 | CRC-32C of salt, the frame's offset in the file, the length, and what follows |
//! | 8 | 8 | sequence number |
//! | 16 | 8 | unix milliseconds |
//! | 24 | 1 | kind: 0 mark, 1 bound, 2 settled, 3 checkpoint, 4 held scopes |
//! | 25 | … | body |
//!
//! Integers are little-endian. Behind the last frame there are zeros, written ahead. The tail's hash
//! is the SHA-256 of the header and of length and checksum of every frame, so that a segment that was
//! swapped, cut or mixed up with another is found.
//!
//! # Marks
//! A mark says: *everything before me was synced when I was written*. Each batch begins with one, so a
//! batch that was acknowledged is covered as soon as anything follows it; an idle journal writes one
//! for its own sake, and a segment that is full ends with one ([`MarkKind::Full`]). A mark holds the
//! file's salt, which nobody outside knows, so that no promised transaction can pretend to be one.
//!
//! If a frame does not read and a valid mark stands behind it, what was synced is damaged: that is
//! refused. If none does, it is the torn end of a batch that was never acknowledged: that is cut.

use crate::{JournalError, codec::Kind};
use alloy_primitives::B256;
use sha2::{Digest, Sha256};
use tandem_types::ChainSpec;

/// Version of header, frames and bodies.
pub const FORMAT: u32 = 3;
/// The first bytes of each segment.
pub const MAGIC: &[u8; 8] = b"TNDMJRNL";
/// Length of the header.
pub const HEADER_LEN: usize = 120;
/// Length of a frame without its body.
pub const FRAME_LEN: usize = 25;
/// The longest body that is written or read. The guard refuses a draft that would be longer, and the
/// room's limits are held so low that a full slot's seal and constraints message are shorter: a body
/// that does not fit would halt everything.
pub const MAX_BODY: usize = 32 << 20;
/// The longest file that is read. Segments turn over far below.
pub const MAX_FILE: u64 = 512 << 20;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Chain id.
    pub chain_id: u64,
    /// Hash of the execution genesis block.
    pub genesis: B256,
    /// The segment's number.
    pub number: u64,
    /// The sequence number that its first numbered record has, or would have.
    pub first_seq: u64,
    /// Hash of the previous segment's tail.
    pub previous: B256,
    /// Random.
    pub salt: [u8; 16],
}

/// Why a mark was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MarkKind {
    /// Before a batch, or when nothing happened for a while.
    Going = 0,
    /// The segment is full and the next one follows.
    Full = 1,
    /// The host stopped in order.
    Stopped = 2,
}

/// A frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where it begins.
    pub offset: u64,
    /// Sequence number.
    pub seq: u64,
    /// Unix milliseconds.
    pub time_ms: u64,
    /// Its kind.
    pub kind: Kind,
    /// Its body.
    pub body: &'a [u8],
}

/// A segment that was read.
#[derive(Debug)]
pub struct Scan<'a> {
    /// Its header.
    pub header: Header,
    /// Its frames, marks left out.
    pub frames: Vec<Frame<'a>>,
    /// Where the last whole frame ends.
    pub end: u64,
    /// The kind of the last mark, if it is the last frame.
    pub closed_by: Option<MarkKind>,
    /// Bytes behind `end` up to the last that is not zero: a torn end.
    pub torn: u64,
    /// Hash of the tail.
    pub tail: B256,
}

impl Header {
    /// A header for a chain.
    pub fn new(chain: &ChainSpec, number: u64, first_seq: u64, previous: B256, salt: [u8; 16]) -> Self {
        Self { chain_id: chain.chain_id, genesis: chain.genesis_hash, number, first_seq, previous, salt }
    }
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.chain_id.to_le_bytes());
        out.extend_from_slice(self.genesis.as_slice());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(self.previous.as_slice());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn decode(b: &[u8]) -> Result<Self, String> {
        let mut r = Reader(b);
        let magic = r.take::<8>().ok_or("shorter than a header")?;
        if &magic != MAGIC {
            return Err("this is no journal segment".into());
        }
        let format = r.u32().ok_or("shorter than a header")?;
        let rest = (|| Some((r.u64()?, r.take()?, r.u64()?, r.u64()?, r.take()?, r.take()?, r.u32()?)))();
        let (chain_id, genesis, number, first_seq, previous, salt, crc) = rest.ok_or("shorter than a header")?;
        if b.get(..HEADER_LEN - 4).map(crc32c::crc32c) != Some(crc) {
            return Err("the header's checksum does not match".into());
        }
        if format != FORMAT {
            return Err(format!(
                "format {format} is not known here, only {FORMAT}; the Tandem that wrote it still reads it"
            ));
        }
        Ok(Self { chain_id, genesis: B256::new(genesis), number, first_seq, previous: B256::new(previous), salt })
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

fn checksum(salt: &[u8; 16], offset: u64, len: u32, rest: &[u8]) -> u32 {
    let crc = crc32c::crc32c(salt);
    let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &len.to_le_bytes());
    crc32c::crc32c_append(crc, rest)
}

/// Builds the bytes of one segment from its beginning, batch by batch, and its tail's hash.
#[derive(Clone)]
pub struct Framer {
    salt: [u8; 16],
    offset: u64,
    tail: Sha256,
}

impl Framer {
    /// Begins a segment; the header's bytes come back.
    pub fn begin(header: &Header) -> (Self, Vec<u8>) {
        let bytes = header.encode();
        let mut tail = Sha256::new();
        tail.update(&bytes);
        (Self { salt: header.salt, offset: bytes.len() as u64, tail }, bytes)
    }
    /// Where the next frame begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }
    /// Hash of all that was framed so far.
    pub fn tail(&self) -> B256 {
        B256::from_slice(&self.tail.clone().finalize())
    }
    /// Appends a frame to `out`; `write` appends its body.
    ///
    /// # Errors
    /// What `write` answers, or a body that is too long. `out` and this framer are as before then.
    pub fn frame<E: ToString>(
        &mut self,
        out: &mut Vec<u8>,
        kind: Kind,
        seq: u64,
        time_ms: u64,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), String> {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&seq.to_le_bytes());
        out.extend_from_slice(&time_ms.to_le_bytes());
        out.push(kind as u8);
        let written = write(out).map_err(|e| e.to_string());
        let body = out.len() - start - FRAME_LEN;
        if written.is_err() || body > MAX_BODY {
            out.truncate(start);
            return written.and(Err(format!("a record of {body} bytes is longer than {MAX_BODY}")));
        }
        let len = (body + FRAME_LEN - 8) as u32;
        let crc = checksum(&self.salt, self.offset, len, out.get(start + 8..).unwrap_or_default());
        let prefix: Vec<u8> = len.to_le_bytes().into_iter().chain(crc.to_le_bytes()).collect();
        if let Some(place) = out.get_mut(start..start + 8) {
            place.copy_from_slice(&prefix);
        }
        self.tail.update(&prefix);
        self.offset += u64::from(len) + 8;
        Ok(())
    }
    /// Appends a mark.
    ///
    /// # Errors
    /// None in fact.
    pub fn mark(&mut self, out: &mut Vec<u8>, kind: MarkKind, seq: u64, time_ms: u64) -> Result<(), String> {
        let salt = self.salt;
        self.frame(out, Kind::Mark, seq, time_ms, |b| {
            b.extend_from_slice(&salt);
            b.push(kind as u8);
            Ok::<(), String>(())
        })
    }
}

/// The frame at `offset`, if a whole and valid one is there; and where it ends.
fn frame_at<'a>(bytes: &'a [u8], offset: usize, salt: &[u8; 16]) -> Option<(Frame<'a>, usize, [u8; 8])> {
    let prefix: [u8; 8] = bytes.get(offset..)?.first_chunk().copied()?;
    let mut r = Reader(&prefix);
    let (len, crc) = (r.u32()?, r.u32()?);
    let size = usize::try_from(len).ok()?;
    if !(FRAME_LEN - 8..=MAX_BODY + FRAME_LEN - 8).contains(&size) {
        return None;
    }
    let end = offset.checked_add(8)?.checked_add(size)?;
    let rest = bytes.get(offset + 8..end)?;
    if checksum(salt, offset as u64, len, rest) != crc {
        return None;
    }
    let mut r = Reader(rest);
    let (seq, time_ms, [kind]) = (r.u64()?, r.u64()?, r.take::<1>()?);
    let kind = Kind::from_byte(kind)?;
    Some((Frame { offset: offset as u64, seq, time_ms, kind, body: r.0 }, end, prefix))
}

fn mark_kind(f: &Frame<'_>, salt: &[u8; 16]) -> Option<MarkKind> {
    match (f.kind, f.body.split_last()) {
        (Kind::Mark, Some((kind, s))) if s == salt => match kind {
            0 => Some(MarkKind::Going),
            1 => Some(MarkKind::Full),
            2 => Some(MarkKind::Stopped),
            _ => None,
        },
        _ => None,
    }
}

/// A valid mark that begins at `from` or later.
fn mark_behind(bytes: &[u8], from: usize, salt: &[u8; 16]) -> Option<u64> {
    let mut at = from.saturating_add(FRAME_LEN);
    while let Some(found) = bytes.get(at..).and_then(|b| b.windows(16).position(|w| w == salt)) {
        let start = at + found - FRAME_LEN;
        if frame_at(bytes, start, salt).is_some_and(|(f, ..)| mark_kind(&f, salt).is_some()) {
            return Some(start as u64);
        }
        at += found + 1;
    }
    None
}

/// Reads a segment. It never panics and never takes more memory than a few times `bytes`.
///
/// # Errors
/// [`JournalError::Damaged`] if the header does not read, if sequence numbers do not rise, or if a
/// valid mark stands behind something that does not read.
pub fn scan<'a>(file: &str, bytes: &'a [u8]) -> Result<Scan<'a>, JournalError> {
    let damaged = |offset: u64, why: String| JournalError::Damaged { file: file.to_owned(), offset, why };
    let header = Header::decode(bytes).map_err(|why| damaged(0, why))?;
    let salt = &header.salt;
    let mut tail = Sha256::new();
    tail.update(bytes.get(..HEADER_LEN).unwrap_or_default());
    let mut out =
        Scan { header, frames: Vec::new(), end: HEADER_LEN as u64, closed_by: None, torn: 0, tail: B256::ZERO };
    let (mut at, mut last) = (HEADER_LEN, header.first_seq.saturating_sub(1));
    while let Some((frame, end, prefix)) = frame_at(bytes, at, salt) {
        let rises = if frame.kind.is_numbered() { frame.seq > last } else { frame.seq >= last };
        if !rises {
            return Err(damaged(frame.offset, format!("record {} after record {last}", frame.seq)));
        }
        last = frame.seq;
        tail.update(prefix);
        out.closed_by = mark_kind(&frame, salt);
        match (frame.kind, out.closed_by) {
            (Kind::Mark, None) => return Err(damaged(frame.offset, "a mark of another file".into())),
            (Kind::Mark, Some(_)) => {}
            _ => out.frames.push(frame),
        }
        at = end;
    }
    out.end = at as u64;
    out.tail = B256::from_slice(&tail.finalize());
    let rest = bytes.get(at..).unwrap_or_default();
    out.torn = rest.iter().rposition(|b| *b != 0).map_or(0, |i| i as u64 + 1);
    if out.torn > 0
        && let Some(mark) = mark_behind(bytes, at, salt)
    {
        return Err(damaged(out.end, format!("it does not read, but was synced before the mark at {mark}")));
    }
    Ok(out)
}
