//! Removes folders that somebody else has filled: follows no link, opens what its owner closed, and holds
//! three descriptors however deep the folders are in each other. The twin, for guards, of `folders.py`.

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg as _;

/// Removes `path` and all that is in it; nothing there is fine. Nobody is alive who could write there.
///
/// Works two levels deep at a time: what is deeper is moved up first.
///
/// # Errors
/// As the file system has it; what is left can be removed by calling again.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let path = path.into_c_str()?;
    let top = match open(CWD, &path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Ok(rustix::fs::unlinkat(CWD, path, AtFlags::empty())?);
        }
        Err(error) => return Err(error.into()),
    };
    loop {
        let folders = unlink_files(&top)?;
        if folders.is_empty() {
            break;
        }
        for name in folders {
            let inner = open(&top, &name)?;
            for below in unlink_files(&inner)? {
                // Made writable, or a folder cannot be moved out of its parent.
                open(&inner, &below)?;
                move_up(inner.as_fd(), &below, top.as_fd())?;
            }
            rustix::fs::unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// A folder, made readable and writable for us.
fn open(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let once = || rustix::fs::openat(&parent, name, flags, Mode::empty());
    let folder = match once() {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(&parent, name, Mode::RWXU, AtFlags::empty())?;
            once()?
        }
        other => other?,
    };
    rustix::fs::fchmod(&folder, Mode::RWXU)?;
    Ok(folder)
}

/// Unlinks what is no folder, and says which folders are left.
fn unlink_files(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut left = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let info = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(info.st_mode)
            }
            known => known,
        };
        if kind == FileType::Directory {
            left.push(name.to_owned());
        } else {
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
        }
    }
    Ok(left)
}

fn move_up(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let unused = format!("moved-{random:016x}");
        match rustix::fs::renameat(from, name, to, unused) {
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn folders_deeper_than_any_descriptor_table_go() {
        let parent = tempfile::tempdir().expect("a folder");
        let top = parent.path().join("top");
        fs::create_dir(&top).expect("a folder");
        let mut inner = rustix::fs::open(&top, OFlags::DIRECTORY, Mode::empty()).expect("it");
        for n in 0..5000 {
            rustix::fs::mkdirat(&inner, "d", Mode::RWXU).expect("a folder");
            if n % 100 == 0 {
                let file = OFlags::CREATE | OFlags::WRONLY;
                rustix::fs::openat(&inner, "file", file, Mode::RUSR).expect("a file");
            }
            inner = rustix::fs::openat(&inner, "d", OFlags::DIRECTORY, Mode::empty()).expect("it");
        }
        remove(&top).expect("removed");
        assert!(!top.exists() && parent.path().exists());
        remove(&top).expect("nothing there is fine");
    }

    #[test]
    fn folders_that_their_owner_closed_go_and_links_are_not_followed() {
        let parent = tempfile::tempdir().expect("a folder");
        let kept = parent.path().join("kept");
        fs::create_dir(&kept).expect("a folder");
        fs::write(kept.join("file"), "x").expect("a file");
        let top = parent.path().join("top");
        let inner = top.join("closed/more");
        fs::create_dir_all(inner.join("most")).expect("folders");
        for place in [&top, &top.join("closed"), &inner] {
            std::os::unix::fs::symlink(&kept, place.join("link")).expect("a link");
        }
        for place in [inner.join("most"), inner, top.join("closed")] {
            fs::set_permissions(place, fs::Permissions::from_mode(0o0)).expect("closed");
        }
        remove(&top).expect("removed");
        assert!(!top.exists() && kept.join("file").exists());
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&kept, &link).expect("a link");
        remove(&link).expect("removed");
        assert!(fs::symlink_metadata(&link).is_err() && kept.join("file").exists());
    }
}
