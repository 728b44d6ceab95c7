//! Unified kernel images: a UEFI stub with kernel, initramfs and command line as further sections of its PE file.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 60 | 4 | offset of the PE header `p`, magic `PE\0\0` |
//! | p + 6 | 2 | number of sections |
//! | p + 20 | 2 | size of the optional header `o` |
//! | p + 24 | o | optional header: at 8 size of initialized data, at 32 section alignment, 36 file alignment, 56 size of image, 60 size of headers, 64 checksum |
//! | p + 24 + o | n × 40 | section headers: name, virtual size, address, size and offset in the file, …, flags |
//!
//! Source: UAPI group, "Unified Kernel Image"; Microsoft, "PE Format". Numbers are little endian.

const PE_OFFSET: usize = 60;
const PE_MAGIC: &[u8] = b"PE\0\0";
const SECTION_COUNT: usize = 6;
const OPTIONAL_SIZE: usize = 20;
const OPTIONAL_HEADER: usize = 24;
const INITIALIZED_SIZE: usize = OPTIONAL_HEADER + 8;
const SECTION_ALIGNMENT: usize = OPTIONAL_HEADER + 32;
const FILE_ALIGNMENT: usize = OPTIONAL_HEADER + 36;
const IMAGE_SIZE: usize = OPTIONAL_HEADER + 56;
const HEADERS_SIZE: usize = OPTIONAL_HEADER + 60;
const CHECKSUM: usize = OPTIONAL_HEADER + 64;
const SECTION_HEADER_BYTES: usize = 40;
const SECTION_NAME_BYTES: usize = 8;
const SECTION_FLAGS: u32 =
    object::pe::IMAGE_SCN_CNT_INITIALIZED_DATA.0 | object::pe::IMAGE_SCN_MEM_READ.0;

/// A section to append.
#[derive(Debug, Clone, Copy)]
pub struct Section<'build> {
    /// Name, at most eight bytes.
    pub name: &'static str,
    /// Its bytes.
    pub content: &'build [u8],
}

/// Why sections cannot be appended.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum UkiError {
    #[error("read the stub: it is not a PE file")]
    NotPe,
    #[error("append section {name}: the stub's headers have no room for it")]
    NoRoom { name: &'static str },
    #[error("append section {name}: the image would be larger than the format can say")]
    TooLarge { name: &'static str },
}

/// Appends `sections` to the stub, each at the next free address, in order.
///
/// # Errors
/// The stub is not a PE file or has no room.
pub fn append(stub: &[u8], sections: &[Section<'_>]) -> Result<Vec<u8>, UkiError> {
    let mut image = stub.to_vec();
    let pe = to_usize(word(&image, PE_OFFSET)?)?;
    if image.get(pe..pe + PE_MAGIC.len()) != Some(PE_MAGIC) {
        return Err(UkiError::NotPe);
    }
    let mut count = half(&image, pe + SECTION_COUNT)?;
    let table = pe + OPTIONAL_HEADER + usize::from(half(&image, pe + OPTIONAL_SIZE)?);
    let section_alignment = word(&image, pe + SECTION_ALIGNMENT)?;
    let file_alignment = to_usize(word(&image, pe + FILE_ALIGNMENT)?)?;
    let headers_end = to_usize(word(&image, pe + HEADERS_SIZE)?)?;
    if section_alignment == 0 || file_alignment == 0 {
        return Err(UkiError::NotPe);
    }
    let mut address = word(&image, pe + IMAGE_SIZE)?;
    let mut initialized = word(&image, pe + INITIALIZED_SIZE)?;
    for section in sections {
        let name = section.name;
        let too_large = || UkiError::TooLarge { name };
        let header = table + usize::from(count) * SECTION_HEADER_BYTES;
        if header + SECTION_HEADER_BYTES > headers_end {
            return Err(UkiError::NoRoom { name });
        }
        image.resize(image.len().next_multiple_of(file_alignment), 0);
        let offset = u32::try_from(image.len()).map_err(|_out_of_range| too_large())?;
        image.extend_from_slice(section.content);
        image.resize(image.len().next_multiple_of(file_alignment), 0);
        let end = u32::try_from(image.len()).map_err(|_out_of_range| too_large())?;
        let size = u32::try_from(section.content.len()).map_err(|_out_of_range| too_large())?;
        let start = address.checked_next_multiple_of(section_alignment).ok_or_else(too_large)?;
        let fields = [size, start, end - offset, offset, 0, 0, 0, SECTION_FLAGS];
        put(&mut image, header, &section_header(name, fields))?;
        address = start
            .checked_add(size)
            .and_then(|end| end.checked_next_multiple_of(section_alignment))
            .ok_or_else(too_large)?;
        initialized = initialized.checked_add(end - offset).ok_or_else(too_large)?;
        count += 1;
    }
    put(&mut image, pe + SECTION_COUNT, &count.to_le_bytes())?;
    put(&mut image, pe + IMAGE_SIZE, &address.to_le_bytes())?;
    put(&mut image, pe + INITIALIZED_SIZE, &initialized.to_le_bytes())?;
    put(&mut image, pe + CHECKSUM, &[0; 4])?;
    Ok(image)
}

fn section_header(name: &str, fields: [u32; 8]) -> Vec<u8> {
    let mut header = name.as_bytes().to_vec();
    header.resize(SECTION_NAME_BYTES, 0);
    header.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
    header
}

fn word(image: &[u8], offset: usize) -> Result<u32, UkiError> {
    let bytes = image.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_le_bytes).ok_or(UkiError::NotPe)
}

fn half(image: &[u8], offset: usize) -> Result<u16, UkiError> {
    let bytes = image.get(offset..offset + 2).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u16::from_le_bytes).ok_or(UkiError::NotPe)
}

fn put(image: &mut [u8], offset: usize, bytes: &[u8]) -> Result<(), UkiError> {
    let place = image.get_mut(offset..offset + bytes.len()).ok_or(UkiError::NotPe)?;
    place.copy_from_slice(bytes);
    Ok(())
}

fn to_usize(word: u32) -> Result<usize, UkiError> {
    usize::try_from(word).map_err(|_out_of_range| UkiError::NotPe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object, ObjectSection};

    /// A PE file of headers only, with room for `sections` more of them.
    fn stub(sections: usize) -> Vec<u8> {
        const PE: usize = 64;
        let optional_size = 112_u16;
        let table = PE + OPTIONAL_HEADER + usize::from(optional_size);
        let headers = table + sections * SECTION_HEADER_BYTES;
        let mut stub = vec![0; headers.next_multiple_of(512)];
        stub[..2].copy_from_slice(b"MZ");
        put(&mut stub, PE_OFFSET, &64_u32.to_le_bytes()).unwrap();
        put(&mut stub, PE, PE_MAGIC).unwrap();
        put(&mut stub, PE + 4, &0x8664_u16.to_le_bytes()).unwrap();
        put(&mut stub, PE + OPTIONAL_SIZE, &optional_size.to_le_bytes()).unwrap();
        put(&mut stub, PE + OPTIONAL_HEADER, &0x20b_u16.to_le_bytes()).unwrap();
        put(&mut stub, PE + SECTION_ALIGNMENT, &4096_u32.to_le_bytes()).unwrap();
        put(&mut stub, PE + FILE_ALIGNMENT, &512_u32.to_le_bytes()).unwrap();
        put(&mut stub, PE + IMAGE_SIZE, &4096_u32.to_le_bytes()).unwrap();
        let headers = u32::try_from(headers).unwrap();
        put(&mut stub, PE + HEADERS_SIZE, &headers.to_le_bytes()).unwrap();
        stub
    }

    #[test]
    fn another_reader_finds_the_sections_where_they_belong() {
        let content = vec![7; 5000];
        let sections = [
            Section { name: ".cmdline", content: b"quiet" },
            Section { name: ".linux", content: &content },
        ];
        let image = append(&stub(2), &sections).unwrap();
        let file = object::read::pe::PeFile64::parse(image.as_slice()).unwrap();
        let found: Vec<_> = file
            .sections()
            .map(|section| (section.name().unwrap().to_owned(), section.address(), section.size()))
            .collect();
        assert_eq!(found, [(".cmdline".to_owned(), 4096, 5), (".linux".to_owned(), 8192, 5000)]);
        let linux = file.section_by_name(".linux").unwrap();
        assert_eq!(linux.data().unwrap().get(..5000), Some(content.as_slice()));
        assert_eq!(word(&image, 64 + IMAGE_SIZE), Ok(16384));
    }

    #[test]
    fn a_stub_without_room_and_a_file_that_is_no_stub_are_refused() {
        let sections = [Section { name: ".linux", content: b"x" }];
        assert_eq!(append(&stub(0), &sections), Err(UkiError::NoRoom { name: ".linux" }));
        assert_eq!(append(b"MZ", &sections), Err(UkiError::NotPe));
        assert_eq!(append(&[0; 128], &sections), Err(UkiError::NotPe));
    }
}
