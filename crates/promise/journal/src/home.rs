//! `home`: the file that tells this folder from a copy of it, and its newest segment from an older one.
//!
//! | line | text |
//! |---|---|
//! | 1 | `tandem-journal-home` and the format |
//! | 2 | SHA-256 of this file's own identity, or zero: whoever opens the journal must say what it is |
//! | 3, 4 | number, salt, and SHA-256 of the identity of the segment that was written to last |
//!
//! There are two such segments while one takes the other's place, at every start and where a segment is
//! full:
//!
//! 1. The new segment is written and synced under its temporary name.
//! 2. `home` names the old one and the new one.
//! 3. The new segment gets its name.
//! 4. `home` names the new one alone, and is this folder's own. Only now is anything answered from it.
//!
//! Each step is synced, with the folder, before the next one begins. So whatever a crash leaves, the newest
//! segment that is found is one that `home` names; and where it is not, something was lost or put back.
//! Whatever the operator says of a journal that is new or imported stands in its segment at step 1, and
//! counts at step 4: a start that does not come to its end has to be told again.

use crate::{
    FirstUse, JournalError, Storage,
    segment::{FORMAT, Header},
    storage::{segment_name, temporary},
};
use alloy_primitives::{B256, FixedBytes};
use sha2::{Digest, Sha256};
use std::io;

const NAME: &str = "home";
const MAGIC: &str = "tandem-journal-home";

/// What tells one segment file from every other: a segment that is written again gets another salt, and a
/// file that is put back as another file has another identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bond {
    number: u64,
    salt: FixedBytes<16>,
    file: B256,
}

impl Bond {
    /// Of a segment that stands under a name.
    pub(crate) fn of(storage: &dyn Storage, name: &str, header: &Header) -> io::Result<Self> {
        Ok(Self { number: header.number, salt: header.salt.into(), file: identity(storage, name)? })
    }
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let number = u64::from_str_radix(words.next()?, 16).ok()?;
        let (salt, file) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        words.next().is_none().then_some(Self { number, salt, file })
    }
}

/// What `home` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Home {
    /// Whether it was made in this folder, and is no copy.
    ours: bool,
    /// What the newest segment may be: the older one first.
    newest: Vec<Bond>,
}

fn identity(storage: &dyn Storage, name: &str) -> io::Result<B256> {
    Ok(B256::from_slice(&Sha256::digest(storage.identity(name)?)))
}

fn parse(text: &[u8]) -> Option<(B256, Vec<Bond>)> {
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    (lines.next()? == format!("{MAGIC} {FORMAT}")).then_some(())?;
    let own = lines.next()?.parse().ok()?;
    let newest: Vec<Bond> = lines.map(Bond::parse).collect::<Option<_>>()?;
    (1..=2).contains(&newest.len()).then_some((own, newest))
}

impl Home {
    /// What is there. A file that does not read says nothing, as if it were not there.
    pub(crate) fn read(storage: &dyn Storage) -> Result<Self, JournalError> {
        let found = match storage.read(NAME, 1024) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            found => found.and_then(|text| Ok((text, identity(storage, NAME)?))),
        };
        let (text, own) = found.map_err(|source| JournalError::Io { what: "reading", file: NAME.into(), source })?;
        Ok(parse(&text).map_or_else(Self::default, |(says, newest)| Self { ours: says == own, newest }))
    }

    /// Gives the folder up: from now on the journal does not start before the operator says what is right
    /// and the start comes to its end.
    pub(crate) fn disown(&mut self, storage: &dyn Storage) -> Result<(), JournalError> {
        if !self.ours {
            return Ok(());
        }
        self.ours = false;
        self.store(storage).map_err(|source| JournalError::Io { what: "writing", file: NAME.into(), source })
    }

    /// Which of the named segments the newest one is that was found. None where nothing is named, and
    /// nothing speaks against it: `full` says that the found one ended with the mark that another one follows.
    ///
    /// # Errors
    /// [`JournalError::Missing`] and [`JournalError::NotNewest`].
    pub(crate) fn find(&self, found: Option<Bond>, full: bool) -> Result<Option<Bond>, JournalError> {
        // A copy is another file, and has been told to be one.
        let same = |b: &&Bond, f: Bond| **b == Bond { file: if self.ours { f.file } else { b.file }, ..f };
        let named = found.and_then(|f| self.newest.iter().find(|b| same(b, f)));
        match (found, self.newest.first()) {
            _ if named.is_some() => Ok(named.copied()),
            // The file under this name is written before any segment is full.
            (Some(f), None) if full => Err(JournalError::Missing(segment_name(f.number.saturating_add(1)))),
            (_, None) => Ok(None),
            (Some(f), Some(b)) if f.number >= b.number => Err(JournalError::NotNewest(segment_name(f.number))),
            (_, Some(b)) => Err(JournalError::Missing(segment_name(b.number))),
        }
    }

    /// Refuses a journal that is empty, that was copied here, or whose newest segment is not the one that was
    /// written to last, unless the operator said what is right. A watermark is right for all of them.
    pub(crate) fn admit(&mut self, found: Option<Bond>, full: bool, first_use: FirstUse) -> Result<(), JournalError> {
        let named = match (self.find(found, full), first_use) {
            (Err(_), FirstUse::Watermark(_)) => None,
            (named, _) => named?,
        };
        match first_use {
            FirstUse::No if found.is_none() => return Err(JournalError::NeedsFirstUse("empty")),
            FirstUse::No if !self.ours => return Err(JournalError::NeedsFirstUse("a copy that was made elsewhere")),
            _ => {}
        }
        self.newest = named.into_iter().collect();
        Ok(())
    }

    /// Lets a segment become the newest, which `rename` gives its name, durably. What holds from then on.
    pub(crate) fn succeed(
        &self,
        storage: &dyn Storage,
        next: Bond,
        rename: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Self> {
        if let Some(before) = self.newest.first() {
            Self { ours: self.ours, newest: vec![*before, next] }.store(storage)?;
        }
        rename()?;
        let home = Self { ours: true, newest: vec![next] };
        home.store(storage)?;
        Ok(home)
    }

    fn store(&self, storage: &dyn Storage) -> io::Result<()> {
        let temp = temporary(NAME);
        match storage.remove(&temp) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = storage.create(&temp)?;
        // A file keeps its inode and birth time when it is renamed, so that its own identity can stand in it.
        let own = if self.ours { identity(storage, &temp)? } else { B256::ZERO };
        let mut text = format!("{MAGIC} {FORMAT}\n{own:x}\n");
        for Bond { number, salt, file } in &self.newest {
            text.push_str(&format!("{number:016x} {salt:x} {file:x}\n"));
        }
        file.write_at(0, text.as_bytes())?;
        file.sync()?;
        drop(file);
        storage.rename(&temp, NAME)?;
        storage.sync_dir()
    }
}
