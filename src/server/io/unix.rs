//! Listens on a unix socket, and manages its file.

use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The file of a socket. Dropping this removes the file, unless another one has replaced it.
///
/// Invariant: the socket stays open at least as long as this. While it is open, the file's inode is in use,
/// and no other file can have its number.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// The identity of a file: its device and inode.
type Identity = (u64, u64);

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| identity(&file) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove the socket {:?}: {error}", self.path);
        }
    }
}

/// Listens on the socket `path`. Replaces a file that no server listens on.
pub(crate) fn listen(path: &Path, backlog: u32) -> io::Result<(SocketFile, UnixListener)> {
    // An abstract name of Linux, or an empty path, has no file to replace and remove.
    if path.as_os_str().is_empty() || path.as_os_str().as_bytes().contains(&0) {
        let problem = "the path of a socket must not be empty or contain NUL";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let address = SockAddr::unix(path)?;
    // The process may change its working directory before the file is removed.
    let path = std::path::absolute(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        remove_stale(&path, &address)?;
        socket.bind(&address)?;
    }
    let file = SocketFile { identity: identity(&fs::symlink_metadata(&path)?), path };
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok((file, socket.into()))
}

/// Removes the file of a server that was killed.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        // The file has just been removed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is in use, and not by a socket"));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A server with a full backlog would make the probe wait.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A server listens there, or the result is unclear.
        _ => return Err(io::ErrorKind::AddrInUse.into()),
    }
    // Another server may have removed the file too and listen there by now. A race remains between these two
    // calls, and between the other's `bind` and `listen`: if two servers start within microseconds on one
    // path.
    match fs::symlink_metadata(path) {
        Ok(now) if identity(&now) == identity(&found) => fs::remove_file(path),
        _ => Ok(()),
    }
}
