//! Looks into an MP4 file: is it whole, what does it hold? Only as far as `up --once` must know.

use std::path::Path;

/// Largest file that is looked into; the sample has a few hundred kilobytes.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What an MP4 file says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Video {
    /// Four letters of the codec: `avc1` is H.264.
    pub codec: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Seconds.
    pub duration_s: f64,
}

/// Reads the boxes of a file.
///
/// # Errors
/// What is missing or broken, in a few words.
pub fn look(path: &Path) -> Result<Video, String> {
    let size = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{size} bytes are too many for a sample"));
    }
    parse(&std::fs::read(path).map_err(|error| error.to_string())?)
}

fn parse(bytes: &[u8]) -> Result<Video, String> {
    let top = boxes(bytes)?;
    let of = |name: &[u8; 4]| {
        top.iter()
            .find(|(kind, _)| kind == name)
            .map(|(_, body)| *body)
    };
    if top.first().is_none_or(|(kind, _)| kind != b"ftyp") {
        return Err("not an MP4 file".to_owned());
    }
    if of(b"mdat").is_none_or(<[u8]>::is_empty) {
        return Err("it holds no pictures (mdat)".to_owned());
    }
    let moov = of(b"moov").ok_or("it has no index (moov)")?;
    let header = find(moov, &[b"mvhd"]).ok_or("no mvhd")?;
    let (scale, duration) = match header.first() {
        Some(0) => (u32_at(header, 12), u32_at(header, 16).map(u64::from)),
        Some(1) => (u32_at(header, 20), u64_at(header, 24)),
        _ => (None, None),
    };
    let (Some(scale @ 1..), Some(duration)) = (scale, duration) else {
        return Err("no duration".to_owned());
    };
    for (kind, track) in boxes(moov)? {
        let Some(entry) = (&kind == b"trak")
            .then(|| find(track, &[b"mdia", b"minf", b"stbl", b"stsd"]))
            .flatten()
        else {
            continue;
        };
        // version and flags, count, then the first entry: size, codec, 6 reserved bytes, index,
        // 16 bytes that do not matter, width and height.
        let codec = entry
            .get(12..16)
            .map(|c| String::from_utf8_lossy(c).into_owned());
        let (width, height) = (u16_at(entry, 40), u16_at(entry, 42));
        let is_video = find(track, &[b"mdia", b"minf", b"vmhd"]).is_some();
        if let (true, Some(codec), Some(width), Some(height)) = (is_video, codec, width, height) {
            return Ok(Video {
                codec,
                width: width.into(),
                height: height.into(),
                duration_s: duration as f64 / f64::from(scale),
            });
        }
    }
    Err("it has no video track".to_owned())
}

type Boxes<'a> = Vec<([u8; 4], &'a [u8])>;

/// The boxes in `bytes`, each with its body.
fn boxes(mut bytes: &[u8]) -> Result<Boxes<'_>, String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let broken = || "it is cut off".to_owned();
        let kind: [u8; 4] = bytes
            .get(4..8)
            .and_then(|k| k.try_into().ok())
            .ok_or_else(broken)?;
        let (start, size) = match u32_at(bytes, 0).ok_or_else(broken)? {
            0 => (8, bytes.len() as u64),
            1 => (16, u64_at(bytes, 8).ok_or_else(broken)?),
            size => (8, size.into()),
        };
        let size = usize::try_from(size).map_err(|_| broken())?;
        found.push((kind, bytes.get(start..size).ok_or_else(broken)?));
        bytes = &bytes[size..];
    }
    Ok(found)
}

/// The body of the first box along a path.
fn find<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    let mut body = bytes;
    for name in path {
        body = boxes(body)
            .ok()?
            .into_iter()
            .find(|(kind, _)| kind == *name)?
            .1;
    }
    Some(body)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len() + 8).unwrap();
        [&size.to_be_bytes(), &kind[..], body].concat()
    }

    fn film() -> Vec<u8> {
        let mut mvhd = vec![0; 100];
        mvhd[12..16].copy_from_slice(&1_000u32.to_be_bytes());
        mvhd[16..20].copy_from_slice(&5_800u32.to_be_bytes());
        let mut stsd = vec![0; 60];
        stsd[12..16].copy_from_slice(b"avc1");
        stsd[40..42].copy_from_slice(&1_280u16.to_be_bytes());
        stsd[42..44].copy_from_slice(&720u16.to_be_bytes());
        let stbl = boxed(b"stbl", &boxed(b"stsd", &stsd));
        let minf = boxed(b"minf", &[boxed(b"vmhd", &[0; 12]), stbl].concat());
        let trak = boxed(b"trak", &boxed(b"mdia", &minf));
        let moov = boxed(b"moov", &[boxed(b"mvhd", &mvhd), trak].concat());
        [boxed(b"ftyp", b"isom"), moov, boxed(b"mdat", b"pictures")].concat()
    }

    #[test]
    fn a_whole_film_tells_what_it_is() {
        let video = parse(&film()).unwrap();
        let expected = Video {
            codec: "avc1".to_owned(),
            width: 1_280,
            height: 720,
            duration_s: 5.8,
        };
        assert_eq!(video, expected);
    }

    #[test]
    fn no_cut_or_damage_is_a_panic_and_no_cut_is_a_film() {
        let film = film();
        for length in 0..film.len() {
            assert!(parse(&film[..length]).is_err(), "{length}");
        }
        for at in 0..film.len() {
            let mut damaged = film.clone();
            damaged[at] ^= 0xff;
            let _ = parse(&damaged);
        }
    }
}
