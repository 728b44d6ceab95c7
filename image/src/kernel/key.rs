//! Names a kernel by everything that it is made from, so that equal inputs find the kernel that was made before.

use crate::packages::Package;
use crate::packages::cache::sha256_hex;

/// What a kernel is made from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'build> {
    /// The package with its source.
    pub source: &'build Package,
    /// Packages of the tools that build it.
    pub toolchain: &'build [Package],
    /// The fragment, byte by byte.
    pub fragment: &'build str,
    /// Changes whenever the way does in which the same inputs are built.
    pub recipe: u32,
}

impl Inputs<'_> {
    /// The name: 64 hexadecimal digits.
    #[must_use]
    pub fn key(&self) -> String {
        let mut tools: Vec<&str> =
            self.toolchain.iter().map(|package| package.sha256.as_str()).collect();
        tools.sort_unstable();
        let text = format!(
            "recipe {}\nsource {}\ntools {}\nfragment {}\n",
            self.recipe,
            self.source.sha256,
            tools.join(" "),
            sha256_hex(self.fragment.as_bytes())
        );
        sha256_hex(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(sha256: &str) -> Package {
        Package {
            name: "p".to_owned(),
            version: "1".to_owned(),
            architecture: "all".to_owned(),
            sha256: sha256.to_owned(),
            size_bytes: 1,
        }
    }

    #[test]
    fn every_input_counts_and_the_order_of_tools_does_not() {
        let [source, gcc, make] = ["5", "6c", "3a"].map(package);
        let tools = [gcc.clone(), make.clone()];
        let inputs =
            Inputs { source: &source, toolchain: &tools, fragment: "CONFIG_A=y", recipe: 1 };
        let key = inputs.key();
        assert_eq!(key, Inputs { toolchain: &[make.clone(), gcc.clone()], ..inputs }.key());
        assert_ne!(key, Inputs { source: &gcc, ..inputs }.key());
        assert_ne!(key, Inputs { toolchain: &[gcc], ..inputs }.key());
        assert_ne!(key, Inputs { fragment: "CONFIG_A=n", ..inputs }.key());
        assert_ne!(key, Inputs { recipe: 2, ..inputs }.key());
    }
}
