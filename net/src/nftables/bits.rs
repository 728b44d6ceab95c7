//! Which bits of an address have which value.

/// Bits of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits {
    /// Zero where nothing is asked for.
    pub(super) value: Vec<u8>,
    pub(super) mask: Vec<u8>,
}

impl Bits {
    /// The first `prefix` bits of `address`.
    pub(super) fn network(address: &[u8], prefix: u8) -> Self {
        let mask: Vec<u8> = (0..address.len())
            .map(|index| {
                let bits = usize::from(prefix).saturating_sub(index * 8).min(8);
                u8::try_from(0xff00_u32 >> bits & 0xff).unwrap_or(0)
            })
            .collect();
        let value = address.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
        Self { value, mask }
    }

    /// Asks the byte at `index` for what `other` asks its byte at `of` for.
    pub(super) fn take(&mut self, index: usize, other: &Self, of: usize) {
        let own = self.value.get_mut(index).zip(self.mask.get_mut(index));
        if let Some(((value, mask), (wanted, which))) =
            own.zip(other.value.get(of).zip(other.mask.get(of)))
        {
            (*value, *mask) = (*wanted, *which);
        }
    }
}
