//! Users' files: opened only where they are ordinary files, read within bounds, written without following a link.

use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Opens an ordinary file to read. A named pipe would block without end, a device may do anything when it is read: both are
/// refused before they are opened, and once more afterwards, in case the name has come to mean something else.
pub fn open(path: &Path) -> io::Result<File> {
    ordinary(&std::fs::metadata(path)?)?;
    open_with(path, OFlags::NONBLOCK)
}

fn open_with(path: &Path, flags: OFlags) -> io::Result<File> {
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    ordinary(&file.metadata()?)?;
    Ok(file)
}

fn ordinary(meta: &std::fs::Metadata) -> io::Result<()> {
    let kind = meta.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("is {what}; an ordinary file was expected")))
}

/// Opens a file to write, emptied: one that is not there is made, a link is not followed, and what is no ordinary file is refused.
pub fn create(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).custom_flags(flags.bits() as i32).open(path)?;
    ordinary(&file.metadata()?)?;
    file.set_len(0)?;
    Ok(file)
}

/// Reads a whole file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_all(open(path)?, limit)
}

/// The same of a file that this program keeps in a folder that may have come from a stranger: a link is not followed.
pub fn read_own(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_all(open_with(path, OFlags::NONBLOCK | OFlags::NOFOLLOW)?, limit)
}

fn read_all(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    // A file that grows while it is read is held to the limit too.
    let mut bytes = Vec::with_capacity(length.min(limit) as usize);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("has {} bytes; at most {limit} are read", length.max(bytes.len() as u64));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Reads a text file of at most `limit` bytes; a byte order mark is dropped.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, limit)?).map_err(|e| {
        let bytes = e.as_bytes();
        let at = e.utf8_error().valid_up_to();
        let line = 1 + bytes[..at].iter().filter(|&&b| b == b'\n').count();
        let message = format!("is not UTF-8: byte {:#04x} on line {line}\n  next: save it as UTF-8", bytes[at]);
        io::Error::new(io::ErrorKind::InvalidData, message)
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_string(),
        None => text,
    })
}

/// Puts a file in the place of whatever has its name, whole or not at all. Where the name is a symbolic link, the link is
/// replaced, and what it points at is left alone.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let readable = std::fs::Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().prefix(".unmute-").permissions(readable).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let message = open(&pipe).unwrap_err().to_string();
        assert!(message.contains("named pipe"), "{message}");
        assert!(open(dir.path()).unwrap_err().to_string().contains("a folder"));
        assert!(open(Path::new("/dev/null")).unwrap_err().to_string().contains("a device"));
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "\u{feff}abc").unwrap();
        assert_eq!(read_text(&path, 6).unwrap(), "abc");
        assert!(read(&path, 5).unwrap_err().to_string().contains("at most 5"));
        std::fs::write(&path, b"a\nb\xff").unwrap();
        assert!(read_text(&path, 6).unwrap_err().to_string().contains("0xff on line 2"));
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        assert_eq!(read(&link, 100).unwrap(), b"precious");
        assert!(read_own(&link, 100).is_err());
        assert!(create(&link).is_err());
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        create(&dir.path().join("plain")).unwrap();
        std::fs::remove_file(dir.path().join("plain")).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert_eq!(std::fs::read(&link).unwrap(), b"new");
        assert!(!link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
    }
}
